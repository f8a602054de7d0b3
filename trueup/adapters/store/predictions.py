"""Predictions: append-only; the first one served for a row counts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trueup.adapters.store.parts import Parts, removed
from trueup.adapters.store.tables import PREDICTIONS, folder_name
from trueup.crash import reach
from trueup.domain.types import Window

CHAMPION = "champion"


class Predictions(Parts):
    """Predictions of a model in a role (`champion`, or `shadow:<version>`), see `Parts`.

    A window with removed predictions is never predicted again.
    """

    def save_predictions(self, model: str, window: Window, frame: pd.DataFrame, role: str = CHAMPION) -> int:
        """Store the predictions of rows of a window that have none yet. Returns their number, 0 for a removed window.

        `frame` has at least `row_id` and `event_time`; every event time is in the window. The first of two
        rows with one id counts.
        """
        folder = f"predictions/{folder_name(model)}/{folder_name(role)}"
        of = {"model": model, "role": role}
        return self._append_part(PREDICTIONS, of, folder, window, frame, lambda: reach("score.file"))

    def read_predictions(
        self, model: str, window: Window, role: str = CHAMPION, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Read the predictions for a window's rows, in the order in which they were served, without removed ones."""
        return self._read_parts(PREDICTIONS, {"model": model, "role": role}, window, columns)

    def predictions_removed(self, model: str, window: Window, role: str = CHAMPION) -> bool:
        """Whether predictions of a window's rows were removed, so that no new ones may be made."""
        return removed(self._parts(PREDICTIONS, {"model": model, "role": role}), window)
