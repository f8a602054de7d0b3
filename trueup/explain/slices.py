"""How well the model was calibrated in the row's slices, on the gate rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.data.values import as_text
from trueup.domain.judging.bootstrap import paired_interval
from trueup.domain.judging.gates import CHALLENGER
from trueup.domain.types import EVENT_TIME, LABEL
from trueup.errors import FilesUnavailable, WorkError
from trueup.explain.case import Case, Made
from trueup.explain.explanation import SliceCalibration
from trueup.handoffs import prediction_of


def slices(case: Case) -> Made:
    """The mean prediction beside the mean outcome in each declared slice with the row in it. Raises WorkError."""
    columns = case.model.config.evaluate.slices
    if not columns:
        return {}, ()
    path = case.version.made.evaluation_path
    try:
        gate = case.model.home.store.read_evaluation(path)
    except FilesUnavailable:
        raise
    except WorkError as error:
        raise WorkError(f"the predictions for the gate rows are gone ({path})") from error
    made = tuple(_calibration(case, gate, column) for column in columns if column in gate and column in case.row)
    refit = case.version.judged != case.version.number
    note = f"the slices are those of version {case.version.judged}, which was judged; version {case.version.number} is its refit"
    return {"slices": tuple(each for each in made if each is not None)}, (note,) if refit and made else ()


def _calibration(case: Case, gate: pd.DataFrame, column: str) -> SliceCalibration | None:
    """One slice; None if no gate row is in it."""
    e, task, classes = case.model.config.evaluate, case.model.config.task, case.version.classes
    own = as_text(pd.Series([case.row[column]], dtype=object)).iloc[0]
    texts = as_text(gate[column])
    rows = gate[(texts.isna() if own is None else texts == own).to_numpy()]
    if rows.empty or (classes is not None and case.known.target not in classes):
        return None
    predicted, label = prediction_of(rows, CHALLENGER, classes), rows[LABEL]
    if task is Task.MULTICLASS and classes is not None:
        predicted, label = predicted[:, classes.index(str(case.known.target))], label.astype(str) == case.known.target
    observed = label.to_numpy(dtype=np.float64)
    bounds: tuple[float, float] | tuple[None, None] = (None, None)
    if len(rows) >= e.min_slice_rows:
        # Of the residuals: they vary less than the outcomes, and a calibrated model's are 0 on average.
        bounds = paired_interval(observed - predicted, rows[EVENT_TIME], e.block, e.confidence).bounds
    mean = float(predicted.mean())
    low, high = (None if bound is None else mean + bound for bound in bounds)
    value = case.privacy.shown(column, "missing" if own is None else own)
    return SliceCalibration(f"{column}={value}", len(rows), mean, float(observed.mean()), low, high, e.confidence)
