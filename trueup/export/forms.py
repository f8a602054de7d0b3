"""The ONNX form of a registered version, compared with its pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from trueup.adapters.onnx.exporter import to_onnx
from trueup.adapters.onnx.form import Form, differences, dtypes_of, encode, read_form
from trueup.adapters.onnx.judged_rows import judged_rows, parity_rows
from trueup.adapters.onnx.runner import onnx_process, written
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.learning.learning import predict
from trueup.errors import WorkError
from trueup.ledger.canonical import canonical
from trueup.ledger.record import Made
from trueup.model import Model
from trueup.stages.features import features

_SEED: Final = 0
_INFINITE: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}  # JSON has none


@dataclass(frozen=True)
class Judged:
    """A form that predicts like its pipeline, and rows (n, inputs) with the pipeline's predictions (n, k) to test it."""

    form: Form
    parity: pd.DataFrame
    predictions: NDArray[np.float64]
    rows: int  # that were compared
    largest: float  # difference, relative to max(1, |value|)


def judged_form(model: Model, made: Made, of: FeaturesConfig) -> Judged:
    """The form of a version, compared with the pipeline on rows of its training and on rows made from its thresholds.

    `of` are the features that it was trained on. If retention has removed the sample of its training rows, the newest
    batch takes its place.

    Raises UntrustedModel if the version's files are not right, NoExporter if it has no form, and WorkError if the form
    predicts otherwise or cannot be compared.
    """
    fitted, sample = model.home.registry.load(made.uri, made.manifest_digest), _sample(model, made, of)
    form = _registered(model, made) or _made(model, fitted, sample)
    rows = judged_rows(fitted, form, sample, _SEED)
    parity = parity_rows(fitted, form, sample, _SEED)
    largest = max(_difference(model, made, fitted, form, some) for some in (rows, parity))
    return Judged(form, parity, _predictions(model, fitted, parity), len(rows) + len(parity), largest)


def version_form(model: Model, made: Made, of: FeaturesConfig) -> Form:
    """The form of a version, not compared with it: the registered one, or one that is made again.

    Raises UntrustedModel, NoExporter and WorkError as `judged_form` does.
    """
    if (registered := _registered(model, made)) is not None:
        return registered
    return _made(model, model.home.registry.load(made.uri, made.manifest_digest), _sample(model, made, of))


def parity_lines(judged: Judged) -> bytes:
    """The rows with their predictions, one line of JSON each. Missing is null, and infinity is written as text."""
    names = [column.name for column in judged.form.inputs]
    columns = [_values(judged.parity[name]) for name in names]
    lines = [
        canonical({"row": dict(zip(names, values, strict=True)), "prediction": prediction.tolist()})
        for values, prediction in zip(zip(*columns, strict=True), judged.predictions, strict=True)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _registered(model: Model, made: Made) -> Form | None:
    """The form among a version's files; None if it was registered without one."""
    graph = model.home.registry.onnx(made.uri, made.manifest_digest)
    return None if graph is None else read_form(graph)


def _made(model: Model, fitted: Pipeline, sample: pd.DataFrame) -> Form:
    return to_onnx(fitted, dtypes_of(sample), model.config.task)


def _sample(model: Model, made: Made, of: FeaturesConfig) -> pd.DataFrame:
    """The kept sample of a version's training rows, else the newest batch's rows. Raises WorkError without either."""
    try:
        return model.home.store.read_evaluation(made.baseline_path)
    except WorkError as error:
        if (rows := _newest_rows(model, of)) is not None:
            return rows
        raise WorkError(
            f"{model.config.model}: the ONNX form of version {made.version} cannot be compared with it: the sample of its "
            f"training rows is gone ({error}), and no batch has its columns; restore one of the two from a backup"
        ) from None


def _newest_rows(model: Model, of: FeaturesConfig) -> pd.DataFrame | None:
    """The features of the newest batch that has their columns; None without one, and in a home that is only read."""
    if model.home.looks:
        return None
    for batch in reversed(model.usable_batches(datetime.max)):
        if batch.rows.rows and not set(of.columns) - set(model.home.store.columns(batch.rows)):
            return model.home.store.read_features([features(model, batch, batch.window.end, of)])
    return None


def _difference(model: Model, made: Made, fitted: Pipeline, form: Form, rows: pd.DataFrame) -> float:
    """The largest difference of a prediction of the graph. Raises WorkError above the form's tolerance."""
    expected = _predictions(model, fitted, rows)
    with written(form.graph) as graph:
        predicted = onnx_process().predict(graph, encode(form.inputs, rows)).reshape(expected.shape)
    comparable = len(rows) > 0 and np.isfinite(expected).all()
    largest = float(differences(predicted, expected).max()) if comparable else math.nan
    if not largest <= form.tolerance:  # NaN is not, either
        raise WorkError(
            f"{model.config.model}: version {made.version} is not exported: its ONNX form differs from it by up to "
            f"{largest:.3g} on {len(rows):,} rows, allowed is {form.tolerance:g}; report it with the version's recipe"
        )
    return largest


def _predictions(model: Model, fitted: Pipeline, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Predictions of the pipeline (n, k), k = 1 unless the task is multiclass."""
    predicted = predict(fitted, rows, model.config.task)
    return predicted.reshape(len(rows), -1)


def _values(column: pd.Series[Any]) -> list[Any]:
    """The values of a column as JSON has them."""
    return [None if pd.isna(v) else _INFINITE.get(v, v) for v in column.tolist()]
