"""Score: predicts a batch with the champion. The first prediction served counts."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.adapters.sinks import Sink
from trueup.config.tasks import Task
from trueup.crash import reach
from trueup.domain.learning.learning import predict
from trueup.domain.types import EVENT_TIME, ROW_ID, Batch
from trueup.governance.probation import shadowed
from trueup.handoffs import Checked, Scored
from trueup.model import Champion, Model
from trueup.stages.features import features


def score(model: Model, checked: Checked, as_of: datetime) -> Scored:
    """Predict the batch's rows that have no prediction yet, and write them to the store and to the user's sink.

    Rows from before the end of the champion's training are left out, because it may have been trained on them.
    """
    batch, current = checked.batch, model.champion()
    if current is None:
        return Scored(batch.window, None, 0, 0, "no champion yet")
    if not checked.usable:
        return Scored(batch.window, current.version, 0, 0, "the batch is broken")
    if lacking := current.lacks(model.home, batch):
        why = (
            f"the champion needs {', '.join(lacking)}, which the batch lacks; next: trueup retrain {model.config.model}"
        )
        return Scored(batch.window, current.version, 0, 0, why)
    if model.home.store.predictions_removed(model.config.model, batch.window):
        why = "the retention of its predictions is over: the first ones served counted, and none are made again"
        return Scored(batch.window, current.version, 0, 0, why)
    frame = predictions(model, batch, current, as_of)
    new = model.home.store.save_predictions(model.config.model, batch.window, frame)
    reach("score.saved")
    if (before := shadowed(model, batch)) is not None:
        shadow(model, batch, before, as_of)
    if model.config.score.sink is not None:
        served = model.home.store.read_predictions(model.config.model, batch.window)
        # Rows without a key are identified by all their values.
        identifying = model.config.ingest.key or [c for c in model.home.store.columns(batch.rows) if c not in served]
        keys = model.home.store.read(batch.rows, [ROW_ID, *identifying])
        assert isinstance(model.config.score.sink, Sink)
        model.config.score.sink.write(batch.window, keys.merge(served, on=ROW_ID), model.home.configs)
    return Scored(batch.window, current.version, new, len(frame))


def shadow(model: Model, batch: Batch, version: Champion, as_of: datetime) -> str:
    """Predict a batch with another version beside the champion; return its role in the store."""
    role = f"shadow:{version.version}"
    model.home.store.save_predictions(model.config.model, batch.window, predictions(model, batch, version, as_of), role)
    return role


def predictions(model: Model, batch: Batch, current: Champion, as_of: datetime) -> pd.DataFrame:
    """One row per row of the batch: row_id, event_time, the prediction, the model's version and `as_of`.

    A multiclass prediction is the most probable class, with `p_<class>` columns beside it.
    """
    frame = model.home.store.read_features([features(model, batch, as_of, current.features)])
    frame = frame[frame[EVENT_TIME] >= current.trained_until]
    fitted = current.load(model.home)
    return frame[[ROW_ID, EVENT_TIME]].assign(
        **_predicted(model.config.task, fitted, frame), model_version=current.version, predicted_at=pd.Timestamp(as_of)
    )


def _predicted(task: Task, model: Pipeline, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    p = predict(model, frame, task)
    if p.ndim == 1:
        return {"prediction": p}
    named = {f"p_{c}": p[:, k] for k, c in enumerate(model.classes_)}
    return {"prediction": np.asarray(model.classes_)[p.argmax(axis=1)], **named}
