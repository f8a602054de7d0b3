"""Export: makes the ONNX form of a fitted model, and checks that it predicts the same, is small enough and fast enough.

The checks run in a process without scikit-learn, so that what is judged is what will run. A check that could not be
completed is inconclusive, never a pass.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.adapters.onnx import ONNX_FILE
from trueup.adapters.onnx.form import differences, dtypes_of, encode, read_form
from trueup.adapters.onnx.judged_rows import judged_rows
from trueup.adapters.onnx.runner import onnx_process, written
from trueup.domain.judging.metrics import figure
from trueup.domain.learning.learning import predict
from trueup.domain.types import Verdict
from trueup.errors import NoExporter, RegistryUnavailable, UntrustedModel
from trueup.handoffs import Evaluation, Exported, OnnxForm, Trained
from trueup.model import Model

FORM, PARITY, SIZE, SPEED = "export form", "export parity", "export size", "export speed"
_REPEATS = 200  # timed predictions of one row
_TIMED_ROWS = 64


def export(model: Model, judged: Trained, evaluation: Evaluation) -> Exported:
    """Check the ONNX form of a challenger that passed its gates, on a sample of the gate rows and on made-up rows.

    The caller has `export` in its config. Raises RegistryUnavailable. Any other error of a check is an inconclusive
    verdict, because a form that only informs must not end a retrain.
    """
    begun = time.perf_counter()
    try:
        fitted = model.home.registry.load(judged.uri, judged.manifest_digest)
        rows = model.home.store.read_evaluation(evaluation.sample_path)
    except UntrustedModel as error:
        return Exported(judged.form, (Verdict.failed(FORM, str(error)),), 0.0)
    except RegistryUnavailable:
        raise
    except Exception as error:
        return Exported(judged.form, (_unchecked(FORM, error),), 0.0)
    read = time.perf_counter() - begun
    done = checked_form(model, judged, fitted, rows)
    return replace(done, seconds=round(done.seconds + read, 3))


def make_form(model: Model, fitted: Pipeline, X: pd.DataFrame) -> tuple[OnnxForm | None, dict[str, bytes]]:
    """Make the ONNX form of a fitted pipeline, and return its description and its file by name.

    `X` is the feature frame that it was fitted on. Returns None and no file if the config has no `export`. A pipeline
    without an exporter has no file, and the description has the reason as a verdict.
    """
    if model.config.export is None:
        return None, {}
    begun = time.perf_counter()
    from trueup.adapters.onnx.exporter import to_onnx  # imports onnx, which only an export needs

    try:
        graph = to_onnx(fitted, dtypes_of(X), model.config.task).graph
    except NoExporter as error:
        return OnnxForm(missing=Verdict.failed(FORM, str(error))), {}
    except Exception as error:  # the model itself is sound, and may serve without a form
        why = f"the ONNX form could not be made: {type(error).__name__}: {error}"
        return OnnxForm(missing=Verdict.inconclusive(FORM, why)), {}
    seconds = round(time.perf_counter() - begun, 3)
    return OnnxForm(hashlib.sha256(graph).hexdigest(), len(graph), seconds), {ONNX_FILE: graph}


def checked_form(model: Model, trained: Trained, fitted: Pipeline, rows: pd.DataFrame, of: str = "") -> Exported:
    """Check the registered ONNX form of a model against its pipeline as it was loaded.

    `rows` is a feature frame, which may have further columns; `of` is added to the names of the verdicts. Raises
    RegistryUnavailable; any other error is an inconclusive verdict.
    """
    begun = time.perf_counter()
    try:
        made = list(_verdicts(model, trained, fitted, rows))
    except RegistryUnavailable:
        raise
    except Exception as error:  # no room for a copy of the file, for example
        made = [_unchecked(FORM, error)]
    verdicts = tuple(replace(v, check=v.check + of) for v in made)
    seconds = round(time.perf_counter() - begun + (trained.form.seconds if trained.form else 0.0), 3)
    return Exported(trained.form, verdicts, seconds)


def _verdicts(model: Model, trained: Trained, fitted: Pipeline, rows: pd.DataFrame) -> Iterator[Verdict]:
    settings, made = model.config.export, trained.form
    assert settings is not None
    if made is None or made.missing is not None:
        yield made.missing if made and made.missing else Verdict.inconclusive(FORM, "no ONNX form was made")
        return
    try:
        graph = model.home.registry.onnx(trained.uri, trained.manifest_digest)
    except UntrustedModel as error:
        yield Verdict.failed(FORM, str(error), sha256=made.sha256)
        return
    if graph is None or hashlib.sha256(graph).hexdigest() != made.sha256:
        yield Verdict.failed(FORM, f"the registered {ONNX_FILE} is not the one that was made", sha256=made.sha256)
        return
    with written(graph) as path:
        yield _attempt(PARITY, lambda: _parity(model, trained, fitted, path, graph, rows))
        yield _size(len(graph), settings.max_kib)
        yield _attempt(SPEED, lambda: _speed(path, graph, rows, settings.max_time_ratio))


def _attempt(name: str, check: Callable[[], Verdict]) -> Verdict:
    """The verdict of a check; a fail if the form is broken, inconclusive if the check could not be completed."""
    try:
        return check()
    except NoExporter as error:
        return Verdict.failed(name, str(error))
    except Exception as error:
        return _unchecked(name, error)


def _unchecked(name: str, error: Exception) -> Verdict:
    return Verdict.inconclusive(name, f"it could not be checked: {str(error) or type(error).__name__}")


def _parity(model: Model, trained: Trained, fitted: Pipeline, path: Path, graph: bytes, rows: pd.DataFrame) -> Verdict:
    """Compare the predictions of the ONNX form with those of the pipeline, relative to max(1, |value|)."""
    form, task = read_form(graph), model.config.task
    if list(form.classes) != (trained.classes or []):
        return Verdict.failed(PARITY, "the ONNX form has other classes than the model")
    compared = judged_rows(fitted, form, rows, model.config.train.seed)
    expected = predict(fitted, compared, task, trained.classes)
    there = onnx_process().predict(path, encode(form.inputs, compared))
    by_row = differences(there, expected)
    differing = int((~(by_row <= form.tolerance)).sum())  # NaN never matches
    largest = float(by_row.max())
    figures = {
        "rows": len(compared),
        "differing": differing,
        "largest_difference": largest if np.isfinite(largest) else None,
        "tolerance": form.tolerance,
    }
    tolerance = f"the tolerance is {form.tolerance:g}"
    if differing:
        why = f"without scikit-learn, {differing:,} of {len(compared):,} rows are predicted otherwise, by up to {figure(largest, 3)}; {tolerance}"
        return Verdict.failed(PARITY, why, **figures)
    why = f"without scikit-learn, all {len(compared):,} rows are predicted the same: they differ by at most {figure(largest, 3)}; {tolerance}"
    return Verdict.passed(PARITY, why, **figures)


def _size(length: int, limit: float) -> Verdict:
    kib = length / 1024
    figures = {"kib": round(kib, 3), "max_kib": limit}
    if kib > limit:
        return Verdict.failed(SIZE, f"{kib:,.1f} KiB are above {limit:,g} KiB", **figures)
    return Verdict.passed(SIZE, f"{kib:,.1f} KiB are within {limit:,g} KiB", **figures)


def _speed(path: Path, graph: bytes, rows: pd.DataFrame, limit: float) -> Verdict:
    """Time single rows against a small reference graph, in the same process and in turns."""
    one, reference = onnx_process().time(path, encode(read_form(graph).inputs, rows.head(_TIMED_ROWS)), _REPEATS)
    ratio = one / reference
    figures = {"row_us": one * 1e6, "reference_us": reference * 1e6, "ratio": ratio, "max_time_ratio": limit}
    words = f"one row takes {figure(ratio, 3)} times as long as a small graph ({figure(one * 1e6, 3)} µs)"
    if not ratio <= limit:  # NaN is not within a limit
        return Verdict.failed(SPEED, f"{words}, above {limit:g} times", **figures)
    return Verdict.passed(SPEED, f"{words}, within {limit:g} times", **figures)
