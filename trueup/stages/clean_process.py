"""Checks the registered files in a second process: predictions, size and speed."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from trueup.adapters import parquet
from trueup.adapters.mlflow.model_files import fresh_process
from trueup.adapters.onnx import ONNX_FILE
from trueup.domain.features.chunks import frame_of
from trueup.domain.judging.gates.budget import Budget, Cost
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Verdict
from trueup.errors import UntrustedModel
from trueup.handoffs import FITTED, Trained, prediction_columns, prediction_of
from trueup.model import Model
from trueup.stages.features import Examples

_NAME = "fresh process"
_TOLERANCE = 1e-9  # tolerance for the order of a sum


def reproduced(model: Model, trained: Trained, *others: tuple[str, str, list[str] | None]) -> Verdict:
    """Load the registered files in a second process and compare its predictions with the recorded ones.

    The recorded ones are the fitted object's predictions for a sample of its training rows before it was written, and
    `others`: path, role and classes of further files of `put_evaluation` with features and predictions. Fails if they
    differ, if a prediction is NaN, and if the files cannot be used there.
    """
    recorded = [(trained.baseline_path, FITTED, trained.classes), *others]
    largest, rows = 0.0, 0
    try:
        with model.home.registry.files(trained.uri) as folder:
            for path, role, classes in recorded:
                frame = model.home.store.read_evaluation(path)
                if absent := [c for c in prediction_columns(role, classes) if c not in frame.columns]:
                    return Verdict.inconclusive(_NAME, f"{path} holds no recorded predictions: {', '.join(absent)}")
                with model.home.files.local(path) as file:
                    there = fresh_process().predict(folder, trained.manifest_digest, file, model.config.task, classes)
                apart = np.abs(there - prediction_of(frame, role, classes))
                largest, rows = float(np.max([largest, np.max(apart)])), rows + len(frame)  # NaN stays NaN
    except UntrustedModel as error:
        return Verdict.failed(_NAME, str(error), manifest_digest=trained.manifest_digest)
    figures = {"rows": rows, "largest_difference": largest, "tolerance": _TOLERANCE}
    # NaN never matches.
    if not largest <= _TOLERANCE:
        plain = {**figures, "largest_difference": largest if np.isfinite(largest) else None}
        reason = f"loaded in a fresh process, the model predicts otherwise than recorded, by up to {figure(largest, 3)}"
        return Verdict.failed(_NAME, reason, **plain)
    return Verdict.passed(_NAME, f"its files alone reproduced the recorded predictions of {rows:,} rows", **figures)


def budget(model: Model, trained: Trained, gate: Examples) -> list[Cost]:
    """Size of a model's files, and the time of the second process for the first gate rows, for each budget gate."""
    costs = []
    for limits in (g for g in model.config.promote.gates if isinstance(g, Budget)):
        rows = frame_of(gate.at(slice(limits.batch)).inputs)
        with model.home.registry.files(trained.uri) as folder, _written(rows) as path:
            # Without the ONNX form, so that turning `export` on changes no verdict.
            size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != ONNX_FILE)
            seconds = fresh_process().time(folder, trained.manifest_digest, path, model.config.task, limits.repeats)
        median, p95 = np.quantile(seconds, [0.5, 0.95]) * 1000
        costs.append(
            Cost(
                batch=limits.batch,
                repeats=limits.repeats,
                rows=len(rows),
                mib=size / 2**20,
                median_ms=float(median),
                p95_ms=float(p95),
                machine=f"{platform.machine()} with {os.cpu_count()} cores, one thread, in a fresh process",
            )
        )
    return costs


@contextmanager
def _written(rows: pd.DataFrame) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows.parquet"
        parquet.write(parquet.to_table(rows), path, durable=False)
        yield path
