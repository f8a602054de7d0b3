"""Skew: whether the champion was served the features that are computed offline, once their batch has landed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from trueup.adapters.onnx.form import Input, dtypes_of, encode, read_form
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.monitoring.skew import Floats, Skew, compare
from trueup.domain.types import ROW_ID, Batch
from trueup.errors import NoExporter
from trueup.model import Champion, Model
from trueup.stages.features import features


def served_skew(model: Model, batch: Batch, current: Champion, as_of: datetime) -> Skew | None:
    """Compare the features that the champion used for the batch's rows with the offline ones.

    Inputs of columns in `serve.personal` are left out, because they are not logged. None without `serve`, without served
    rows of this version, and for a version without an ONNX form.
    """
    serve, store, name = model.config.serve, model.home.store, model.config.model
    if serve is None or not store.has_served(name, batch.window):
        return None
    key = features(model, batch, as_of, current.features)
    ids = store.read_features([key], columns=[ROW_ID])[ROW_ID]
    none = store.feature_rows([key], [np.empty(0, dtype=np.intp)])
    if (every := inputs_of(model, current, none.frame())) is None:
        return None
    inputs = [column for column in every if column.name not in personal_inputs(current.features, serve.personal)]
    names = [column.name for column in inputs]
    served = store.read_served(name, batch.window, current.version, names).set_index(ROW_ID)
    places = np.flatnonzero(ids.isin(served.index))
    if not len(places) or not names:
        return None

    def pairs() -> Iterator[tuple[Floats, Floats]]:
        for chunk in store.feature_rows([key], [places]).chunks():
            yield served.loc[chunk[ROW_ID]].to_numpy(dtype="float64"), encode(inputs, chunk)

    return compare(pairs(), names, current.version, serve.max_skew)


def inputs_of(model: Model, current: Champion, frame: pd.DataFrame) -> Sequence[Input] | None:
    """The inputs of a version's ONNX form, which is registered with it or made again; None for one that has none.

    `frame` has the version's features, of any rows.
    """
    if (graph := model.home.registry.onnx(current.uri, current.manifest_digest)) is not None:
        return read_form(graph).inputs
    from trueup.adapters.onnx.exporter import to_onnx  # imports onnx

    try:
        return to_onnx(current.load(model.home), dtypes_of(frame), model.config.task).inputs
    except NoExporter:
        return None


def personal_inputs(of: FeaturesConfig, columns: Sequence[str]) -> set[str]:
    """The inputs that show a value of personal columns: the columns themselves, and the parts of a time."""
    parts = {f"{column}_{part}" for column in columns for part in of.calendar.get(column, ())}
    return {*columns, *parts}
