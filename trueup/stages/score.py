"""Score: predicts a batch with the champion. The first prediction served counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.adapters.sinks import Sink
from trueup.config.tasks import Task
from trueup.crash import reach
from trueup.domain.features.chunks import Rows
from trueup.domain.learning.learning import predict
from trueup.domain.types import EVENT_TIME, ROW_ID, Batch
from trueup.governance.probation import shadowed
from trueup.governance.rollouts import under_way
from trueup.handoffs import Checked, Scored
from trueup.model import Champion, Model
from trueup.stages.features import features


def score_batch(
    model: Model, checked: Checked, as_of: datetime, before_saving: Callable[[], None] = lambda: None
) -> Scored:
    """Predict the batch's rows that have no prediction yet, and write them to the store and to the user's sink.

    Rows from before the end of the champion's training are left out, because it may have been trained on them.
    `before_saving` is called when all is predicted, to store what was served meanwhile.
    """
    batch, current = checked.batch, model.champion()
    if current is None:
        return Scored(batch.window, None, 0, 0, "no champion yet")
    if (why := left_out(model, checked, current)) is not None:
        return Scored(batch.window, current.version, 0, 0, why)
    made = model.home.ahead.take(batch, current) if model.home.ahead is not None else None
    frame = predictions(model, batch, current, as_of) if made is None else made
    before_saving()
    new = model.home.store.save_predictions(model.config.model, batch.window, frame)
    reach("score.saved")
    if (before := shadowed(model, batch)) is not None:
        shadow(model, batch, before, as_of)
    note = _try_challenger(model, batch, current, as_of)
    if model.config.score.sink is not None:
        served = model.home.store.read_predictions(model.config.model, batch.window)
        # Rows without a key are identified by all their values.
        identifying = model.config.ingest.key or [c for c in model.home.store.columns(batch.rows) if c not in served]
        keys = model.home.store.read(batch.rows, [ROW_ID, *identifying])
        assert isinstance(model.config.score.sink, Sink)
        model.config.score.sink.write(batch.window, keys.merge(served, on=ROW_ID), model.home.configs)
    return Scored(batch.window, current.version, new, len(frame), note)


def left_out(model: Model, checked: Checked, current: Champion) -> str | None:
    """Why the champion predicts nothing of a batch; None if it does."""
    if not checked.usable:
        return "the batch is broken"
    if lacking := current.lacks(model.home, checked.batch):
        return (
            f"the champion needs {', '.join(lacking)}, which the batch lacks; next: trueup retrain {model.config.model}"
        )
    if model.home.store.predictions_removed(model.config.model, checked.batch.window):
        return "the retention of its predictions is over: the first ones served counted, and none are made again"
    return None


def _try_challenger(model: Model, batch: Batch, current: Champion, as_of: datetime) -> str:
    """While a rollout is under way, let both versions predict all rows, so that their losses can be compared.

    The challenger's rows of a canary are predicted by the champion, too. A challenger that cannot predict the batch does
    not stop the champion's predictions. Returns a remark, or an empty text.
    """
    tried = under_way(model)
    if tried is None or tried.state.expected_epoch != current.epoch:
        return ""
    challenger, name = tried.challenger(), f"version {tried.fitted.version}, which is in a rollout,"
    if lacking := challenger.lacks(model.home, batch):
        return f"{name} needs {', '.join(lacking)}, which the batch lacks"
    try:
        shadow(model, batch, challenger, as_of)
    except Exception as error:
        return f"{name} could not predict the batch: {type(error).__name__}: {error}"
    served = model.home.store.read_predictions(model.config.model, batch.window, columns=["model_version"])
    if (served["model_version"] == challenger.version).any():
        shadow(model, batch, current, as_of)
    return ""


def shadow(model: Model, batch: Batch, version: Champion, as_of: datetime) -> str:
    """Predict a batch with another version beside the champion; return its role in the store."""
    role = f"shadow:{version.version}"
    model.home.store.save_predictions(model.config.model, batch.window, predictions(model, batch, version, as_of), role)
    return role


def predictions(model: Model, batch: Batch, current: Champion, as_of: datetime) -> pd.DataFrame:
    """One row per row of the batch: row_id, event_time, the prediction, the model's version and `as_of`.

    A multiclass prediction is the most probable class, with `p_<class>` columns beside it.
    """
    key = features(model, batch, as_of, current.features)
    frame = model.home.store.read_features([key], columns=[ROW_ID, EVENT_TIME])
    places = np.flatnonzero(frame[EVENT_TIME] >= current.trained_until)
    rows, fitted = model.home.store.feature_rows([key], [places]), current.load(model.home)
    return frame.iloc[places].assign(
        **_predicted(model.config.task, fitted, rows), model_version=current.version, predicted_at=pd.Timestamp(as_of)
    )


def _predicted(task: Task, model: Pipeline, rows: Rows) -> dict[str, np.ndarray]:
    p = predict(model, rows, task)
    if p.ndim == 1:
        return {"prediction": p}
    named = {f"p_{c}": p[:, k] for k, c in enumerate(model.classes_)}
    return {"prediction": np.asarray(model.classes_)[p.argmax(axis=1)], **named}
