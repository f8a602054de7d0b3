"""Estimates how the champion performs on a batch from its predictions, before labels come."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.data.digest import digest_of
from trueup.domain.judging.gates import CHALLENGER
from trueup.domain.judging.predictions import prediction_in
from trueup.domain.monitoring.drift import MIN_ROWS, sample_places
from trueup.domain.monitoring.estimates.cbpe import Cbpe
from trueup.domain.monitoring.estimates.dle import Dle
from trueup.domain.monitoring.estimates.estimate import Estimate, EstimateCheck, EstimateLook
from trueup.domain.monitoring.estimates.words import doubts_of
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Batch
from trueup.errors import WorkError
from trueup.handoffs import prediction_of
from trueup.model import MONITOR, Champion, Model
from trueup.reporting.jobs import SAMPLE_ROWS
from trueup.stages.features import features, features_of

Estimator = Cbpe | Dle

MOST_ROWS = 50_000  # of a batch, and of the gate: more of them make no narrower interval worth their seconds
_P = f"p_{CHALLENGER}"  # column of the judged version's predictions, or its beginning
_LOOKED_BACK = 24  # results in which earlier checks of the same champion are looked for
_KEPT = 8  # fitted estimators of a process


@dataclass(frozen=True)
class Estimated:
    """An estimate, or the reason why there is none."""

    estimate: Estimate | None = None
    reason: str = ""


def estimated(
    model: Model, batch: Batch, current: Champion, as_of: datetime, matured: pd.DataFrame | None
) -> Estimated:
    """Estimate the champion's performance on the batch's rows that it predicted itself.

    `matured` are its predictions with labels, if they are enough to compare the estimate with; else None. What prevents
    an estimate never fails the batch: it is the result's reason.
    """
    if not model.config.monitor.estimate.enabled:
        return Estimated(reason="monitor.estimate.enabled is false")
    if batch.window.end <= current.promoted_as_of:
        return Estimated(
            reason=f"the batch had ended when version {current.version} was promoted, which its labels judged"
        )
    served = _own_predictions(model, batch, current)
    if len(served) < MIN_ROWS:
        return Estimated(reason=f"{len(served)} predictions of version {current.version}; {MIN_ROWS} are needed")
    fitted = _estimator(model, current)
    if isinstance(fitted, str):
        return Estimated(reason=fitted)
    used = _Rows(model, batch, current, as_of, fitted)
    try:
        made = used.estimate(served)
        check = used.check(matured) if matured is not None and len(matured) else None
    except ValueError as error:
        return Estimated(reason=str(error))
    return Estimated(replace(made, check=check, doubts=_doubts(model, batch, current)))


@dataclass(frozen=True)
class _Rows:
    """The champion's estimator, and what it needs of a batch's rows."""

    model: Model
    batch: Batch
    current: Champion
    as_of: datetime
    fitted: Estimator

    def estimate(self, served: pd.DataFrame) -> Estimate:
        """The estimate from predictions of the batch."""
        rows = _thinned(served)
        if isinstance(self.fitted, Dle):
            return self.fitted.estimate(rows["prediction"], self._inputs(rows), rows[EVENT_TIME])
        return self.fitted.estimate(self._probabilities(rows, self.fitted), rows[EVENT_TIME])

    def check(self, matured: pd.DataFrame) -> EstimateCheck | None:
        """The estimate beside the labels, on the rows that have one."""
        rows = _thinned(matured)
        y = rows[LABEL].to_numpy()
        if isinstance(self.fitted, Dle):
            return self.fitted.check(y, rows["prediction"], self._inputs(rows), rows[EVENT_TIME])
        return self.fitted.check(y, self._probabilities(rows, self.fitted), rows[EVENT_TIME])

    def _probabilities(self, rows: pd.DataFrame, fitted: Cbpe) -> Any:
        return prediction_in(self.model.config, rows, fitted.classes)

    def _inputs(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The features of rows, in their order."""
        key = features(self.model, self.batch, self.as_of, self.current.features)
        found, back = features_of(self.model, key, rows[ROW_ID])
        return found.take(back)


def _own_predictions(model: Model, batch: Batch, current: Champion) -> pd.DataFrame:
    """The champion's predictions of the batch's rows that count."""
    served = model.home.store.read_predictions(model.config.model, batch.window)
    if served.empty:
        return served
    own = served[served["model_version"] == current.version]
    own = own[own[ROW_ID].isin(model.home.store.effective(batch.rows, [ROW_ID])[ROW_ID])]
    return own


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_ROWS rows, spread evenly."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.intp)]


def _estimator(model: Model, current: Champion) -> Estimator | str:
    """The champion's estimator, fitted once in a process on the rows that judged it; or why it has none.

    The file has the predictions of the judged version, which was not trained on these rows, also if the champion is its
    refit.
    """
    e, settings = model.config.evaluate, model.config.monitor.estimate
    key = digest_of([current.evaluation_path, settings.model_dump(mode="json"), str(e.block), e.confidence])
    kept: OrderedDict[str, Estimator | str] = model.home.estimators
    if key not in kept:
        try:
            kept[key] = _fit(model, current)
        except ValueError as error:
            kept[key] = str(error)
        except WorkError as error:
            kept[key] = f"the rows that judged version {current.version} cannot be read: {error}"
        while len(kept) > _KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def _fit(model: Model, current: Champion) -> Estimator:
    """Raises ValueError if the rows do not suffice, WorkError if they cannot be read."""
    gate = model.home.store.read_evaluation(current.evaluation_path)
    e, seed, least = model.config.evaluate, model.config.train.seed, model.config.monitor.estimate.min_change
    if model.config.task is Task.REGRESSION:
        rows, at = _with_features(model, current, gate)
        inputs, p = rows.drop(columns=[LABEL, _P]), rows[_P].to_numpy()
        return Dle.fit(
            rows[LABEL].to_numpy(), p, inputs, at, block=e.block, confidence=e.confidence, seed=seed, min_change=least
        )
    gate, classes = _thinned(gate), None
    if model.config.task is Task.MULTICLASS:
        classes = [c.removeprefix(f"{_P}_") for c in gate.columns if c.startswith(f"{_P}_")]
    return Cbpe.fit(
        model.config.task,
        gate[LABEL].to_numpy(),
        prediction_of(gate, CHALLENGER, classes),
        gate[EVENT_TIME],
        classes=classes,
        block=e.block,
        confidence=e.confidence,
        resamples=e.resamples,
        seed=seed,
        min_change=least,
    )


def _with_features(model: Model, current: Champion, gate: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """The stored sample of the gate's rows with their features as they were then, and their times.

    The sample has no times. It was drawn by the seed from the rows of the file beside it, and is looked up there again.
    Raises ValueError if both do not belong together.
    """
    rows = model.home.store.read_evaluation(current.sample_path)
    drawn = sample_places(len(gate), SAMPLE_ROWS, model.config.train.seed)
    places = np.arange(len(gate)) if drawn is None else drawn
    if len(rows) != len(places) or not np.array_equal(rows[_P], gate[_P].to_numpy()[places]):
        raise ValueError(
            f"the features of the rows that judged version {current.version} were drawn with another train.seed; its next "
            "version has estimates again"
        )
    return rows, gate[EVENT_TIME].iloc[places]


def _doubts(model: Model, batch: Batch, current: Champion) -> str:
    """What the champion's earlier estimates, compared with their labels, say against this one."""
    looks = model.home.store.newest_results(model.config.model, MONITOR, EstimateLook, _LOOKED_BACK)
    newest = {
        r.window: r.body.estimate for r in looks if r.body.champion == current.version and r.window < batch.window
    }
    return doubts_of([e.check for e in newest.values() if e is not None and e.check is not None])
