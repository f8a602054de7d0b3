"""The section `score`: sinks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trueup.config.section import Section


class FolderSink(Section):
    """Predictions as Parquet files in a folder, one file a batch."""

    kind: Literal["folder"]
    path: str


class SqlSink(Section):
    """Predictions in a SQL table, one row a key."""

    kind: Literal["sql"]
    url: str
    table: str = Field(pattern=r"^[A-Za-z_]\w*$")


class ScoreConfig(Section):
    """Where predictions go besides the store."""

    sink: Annotated[FolderSink | SqlSink, Field(discriminator="kind")] | None = None
