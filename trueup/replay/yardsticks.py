"""References for every policy on the same rows: the last known value, and a linear model refitted for each batch.

Both use only what was known when a batch began, and cost next to nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.learning import SIMPLE_ROWS, Floats, all_classes, predict, simple_model
from trueup.domain.types import ROW_ID, Batch
from trueup.errors import NotEnoughData
from trueup.model import Model
from trueup.stages.baselines import declared
from trueup.stages.features import Examples, examples, reference_examples

LAST, LINEAR = "as last time", "plain linear"
WHAT = {
    LAST: "the value one period before, of the same categories, or the shares of the newest period that was known",
    LINEAR: "a linear model of the columns alone, refitted for each batch",
}


def yardsticks(model: Model, until: datetime) -> pd.DataFrame:
    """The loss of each labelled row: row_id, and a column for each yardstick, without rows before any known label."""
    parts_of_batches = [_of_batch(model, batch, until) for batch in model.usable_batches(until)]
    if parts := [part for part in parts_of_batches if part is not None]:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame({ROW_ID: np.array([], np.int64), **{name: np.array([], np.float64) for name in WHAT}})


def _of_batch(model: Model, batch: Batch, until: datetime) -> pd.DataFrame | None:
    start, task, seed = batch.window.start, model.config.task, model.config.train.seed
    try:
        before = reference_examples(model, start, until)
        rows = examples(model, batch.window, until)
    except NotEnoughData:
        return None
    plain = simple_model(declared(model.config, before.schema), task, seed)
    fitted = model.home.fits.fit(plain, before.X, before.y, SIMPLE_ROWS, seed)
    classes = all_classes(task, [fitted], before.y, rows.y)
    predictions = {
        LAST: as_last_time(task, before, rows, batch.window.end - start, classes),
        LINEAR: predict(fitted, rows.X, task, classes),
    }
    losses = {name: row_losses(task, rows.y.to_numpy(), p, classes) for name, p in predictions.items()}
    return pd.DataFrame({ROW_ID: rows.row_id.to_numpy(), **losses})


def as_last_time(task: Task, before: Examples, rows: Examples, period: timedelta, classes: list[str] | None) -> Floats:
    """Predict rows (n,) or (n, k) by what was known before them.

    A regression uses the newest value up to one period earlier, of a row with the same categories, or of any. Other
    tasks use the classes' shares in the newest known period, each class counted once more, so that none is impossible.
    """
    if task is not Task.REGRESSION:
        y = before.y[(before.event_time > before.event_time.max() - period).to_numpy()]
        positive = float((y.astype(float) == 1).sum()) if classes is None else 0.0
        counted = [len(y) - positive, positive] if classes is None else [(y.astype(str) == c).sum() for c in classes]
        counts = np.array(counted, dtype=np.float64) + 1.0
        shares = counts / counts.sum()
        return np.full(len(rows.y), shares[1]) if classes is None else np.tile(shares, (len(rows.y), 1))
    kinds = [c for c in rows.schema.categorical if c in before.X]
    groups, wanted = (
        e.X[kinds].astype(str).apply("\0".join, axis=1) if kinds else pd.Series("", index=e.X.index)
        for e in (before, rows)
    )
    left = pd.DataFrame({"at": rows.event_time.to_numpy() - np.timedelta64(period), "kind": wanted.to_numpy()})
    right = pd.DataFrame({"at": before.event_time.to_numpy(), "kind": groups.to_numpy(), "y": before.y.to_numpy(float)})
    left, right = (
        left.reset_index(names="place").sort_values("at", kind="stable"),
        right.sort_values("at", kind="stable"),
    )
    same = pd.merge_asof(left, right, on="at", by="kind").set_index("place")["y"]
    some = pd.merge_asof(left, right.drop(columns="kind"), on="at").set_index("place")["y"]
    newest = same.fillna(some).fillna(float(right["y"].mean())).sort_index()
    return newest.to_numpy(np.float64)
