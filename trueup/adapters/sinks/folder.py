"""The sink `folder`: Parquet files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from trueup.adapters import parquet
from trueup.adapters.sinks import Sink
from trueup.domain.types import ROW_ID, Window


class FolderSink(Sink):
    """Predictions as Parquet files in a folder, one file per batch."""

    kind: Literal["folder"] = "folder"
    path: str = Field(description="The folder, relative to that of the configs.")

    def write(self, window: Window, frame: pd.DataFrame, root: Path) -> None:
        """Replace a batch's file as a whole; readers see the old one or the new one."""
        table = parquet.to_table(frame.drop_duplicates(ROW_ID))
        parquet.write(table, root / self.path / f"{_moment(window.start)}_{_moment(window.end)}.parquet")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if not (moment.hour or moment.minute or moment.second) else f"{moment:%Y-%m-%dT%H%M%S}"
