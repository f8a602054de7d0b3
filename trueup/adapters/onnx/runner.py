"""Runs ONNX files in a process of numpy and onnxruntime alone, so that what is judged is what will run elsewhere."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trueup.adapters.onnx import METADATA, ONNX_FILE
from trueup.adapters.parser_race import read_again
from trueup.adapters.second_process import SecondProcess, Shared, answer_all
from trueup.errors import OnnxFailed

_ELSEWHERE = ("sklearn", "pandas", "scipy", "skops", "mlflow")  # what a device does not have
_WARM_UP = 20

Floats = NDArray[np.float64]


class OnnxProcess(SecondProcess):
    """A second process that loads an ONNX file with onnxruntime, on one thread, without scikit-learn or pandas."""

    serves = "trueup.adapters.onnx.runner:_serve"

    def predict(self, model: Path, rows: Floats, timeout: float = 300.0) -> Floats:
        """The predictions of the file `model` for `rows` (n, inputs) as `encode` makes them.

        Returns (n,) for a binary or regression task, (n, k) for a multiclass one. Raises OnnxFailed if onnxruntime
        cannot load or run the file, or not within `timeout` seconds.
        """
        return self._answer(model, rows, timeout)

    def time(self, model: Path, rows: Floats, repeats: int, timeout: float = 300.0) -> tuple[float, float]:
        """Median seconds of one row: of the file `model`, and of the reference graph.

        The two alternate `repeats` times after a warm-up, each time with the next of `rows` (n, inputs). Raises like
        `predict`.
        """
        from trueup.adapters.onnx.reference import COLUMNS, reference_graph  # needs onnx, the second process does not

        with tempfile.TemporaryDirectory(prefix="trueup-onnx-") as private:
            reference = Path(private) / "reference.onnx"
            reference.write_bytes(reference_graph())
            about = {"reference": str(reference), "columns": COLUMNS, "repeats": repeats}
            of_model, of_reference = self._answer(model, rows, timeout, **about)
        return float(of_model), float(of_reference)

    def _answer(self, model: Path, rows: Floats, timeout: float, **more: object) -> Floats:
        with tempfile.TemporaryDirectory(prefix="trueup-onnx-") as private:
            questions, answer = Path(private) / "rows.npy", Path(private) / "answer.npy"
            np.save(questions, np.asarray(rows, dtype=np.float64), allow_pickle=False)
            about = {"model": str(model), "rows": str(questions), "answer": str(answer)}
            if (error := self.ask({**about, **more}, timeout)) is not None:
                raise OnnxFailed(f"onnxruntime could not run the ONNX form: {' '.join(error.split())}")
            result: Floats = read_again(lambda: np.load(answer, allow_pickle=False))
            return result


onnx_process = Shared(OnnxProcess)  # for all models


@contextmanager
def written(graph: bytes) -> Iterator[Path]:
    """A private copy of a form's checked bytes, for the other process."""
    with tempfile.TemporaryDirectory(prefix="trueup-onnx-") as private:
        path = Path(private) / ONNX_FILE
        path.write_bytes(graph)
        yield path


def _serve() -> None:
    answer_all(_import, _answer)


def _import() -> None:
    """Import onnxruntime while nobody waits, without its reports to Microsoft about each model."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # has an effect before the import only
    import onnxruntime  # noqa: F401


def _answer(request: dict[str, Any]) -> None:
    if loaded := [name for name in _ELSEWHERE if name in sys.modules]:
        raise RuntimeError(f"{', '.join(loaded)} is loaded in the process that must do without")
    rows = np.load(request["rows"], allow_pickle=False)
    session = _session(Path(request["model"]))
    if repeats := request.get("repeats"):
        one_row = np.ones((1, request["columns"]))
        result = _medians(session, rows, _session(Path(request["reference"])), one_row, repeats)
    else:
        result = session.run(None, {"features": rows})[0]
        about = json.loads(session.get_modelmeta().custom_metadata_map.get(METADATA, "{}"))
        result = result if about.get("classes") else result[:, 0]
    np.save(request["answer"], result, allow_pickle=False)


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])


def _medians(session: Any, rows: Floats, reference: Any, one_row: Floats, repeats: int) -> Floats:
    seconds = np.empty((_WARM_UP + repeats, 2))
    for turn in range(len(seconds)):
        place = turn % len(rows)
        for which, (runs, row) in enumerate(((session, rows[place : place + 1]), (reference, one_row))):
            begun = time.perf_counter()
            runs.run(None, {"features": row})
            seconds[turn, which] = time.perf_counter() - begun
    medians: Floats = np.median(seconds[_WARM_UP:], axis=0)
    return medians
