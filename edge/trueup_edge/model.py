"""A loaded model: predictions from plain dicts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from trueup_edge.bundle import Bundle, open_bundle
from trueup_edge.device import installed_bundle, is_device
from trueup_edge.errors import InputError, SelfTestFailed
from trueup_edge.inputs import Encoder, Floats, Row
from trueup_edge.manifest import MODEL, Manifest
from trueup_edge.trust import read_anchor

Prediction = float | dict[str, float]  # one number, or the probability of each class

_OUTPUT: Final = ["prediction"]


class Model:
    """Predicts with one verified bundle. It never changes, and may be shared by threads.

    `manifest` has what was signed: version, epoch, when the manifest expires, the inputs and their units.
    """

    def __init__(self, bundle: Bundle, *, ignore_unknown: bool = False) -> None:
        self.manifest: Manifest = bundle.manifest
        self._encoder = Encoder(bundle.manifest, ignore_unknown=ignore_unknown)
        self._session = _session(bundle.files[MODEL])
        self._classes = bundle.manifest.classes
        self._width = len(self._classes) or 1
        self._check_shape()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The model's version in the registry of its home."""
        return self.manifest.version

    @property
    def epoch(self) -> int:
        """The number of the promotion that put the version into service; 0 if it never served."""
        return self.manifest.epoch

    @property
    def fields(self) -> frozenset[str]:
        """The fields that a row may have: the inputs, and the time columns of which they are parts."""
        return self._encoder.names

    def predict(self, row: Row) -> Prediction:
        """Predict one row.

        `row` has the inputs by name: numbers (int, float, bool), text for categories; None, NaN or absent if missing.
        Calendar inputs may be given as their time column, a datetime or its ISO text: with an offset it is converted to
        the model's time zone, without one it counts as a time there.

        Returns the predicted value (regression), the probability of the positive class (binary), or the probability of
        each class by name (multiclass). Raises InputError, naming the field.
        """
        prediction = self._run(self._encoder.encode_one(row))
        if self._classes:
            return dict(zip(self._classes, prediction[0].tolist(), strict=True))
        return prediction.item()

    def predict_many(self, rows: Sequence[Row]) -> list[Prediction]:
        """Predict several rows in one call, which is faster than one by one. Otherwise like `predict`."""
        if isinstance(rows, dict):
            raise InputError("predict_many takes a list of rows; use predict for one")
        values = self._run(self._encoder.encode(rows)).tolist()
        if self._classes:
            return [dict(zip(self._classes, of_row, strict=True)) for of_row in values]
        return [float(of_row[0]) for of_row in values]

    def local_time(self, value: datetime | str) -> str:
        """Write a time as ISO 8601 text in the model's time zone, without an offset. Raises InputError for no time."""
        time = self._encoder.time(value, "event_time")
        if time is None:
            raise InputError("event_time is missing; give a datetime or its ISO text")
        return time.replace(tzinfo=None).isoformat()

    def expired(self, now: datetime | None = None) -> bool:
        """Whether the manifest has expired by now; a process that runs for long may ask from time to time."""
        return (now or datetime.now(timezone.utc)) >= self.manifest.expires

    def _run(self, features: Floats) -> Floats:
        return self._session.run(_OUTPUT, {"features": features})[0]  # type: ignore[no-any-return]

    def _check_shape(self) -> None:
        given, outputs = self._session.get_inputs(), self._session.get_outputs()
        width = len(self.manifest.inputs)
        if [(i.name, i.type, i.shape[1:]) for i in given] != [("features", "tensor(double)", [width])] or [
            (o.name, o.type, o.shape[1:]) for o in outputs
        ] != [("prediction", "tensor(double)", [self._width])]:
            raise SelfTestFailed(
                f"{MODEL} does not take {width} features or does not return {self._width} predictions, as the manifest says; "
                "export the bundle anew"
            )

    def __repr__(self) -> str:
        return f"<trueup_edge.Model {self.manifest}>"


def load(
    folder: str | os.PathLike[str],
    trust: str | os.PathLike[str],
    *,
    ignore_unknown: bool = False,
    allow_expired: bool = False,
) -> Model:
    """Verify a bundle against the trust anchor, and load its model.

    `folder` is that of a bundle, or of a device that `pull` updates: then the bundle in use is loaded, or the last good one
    before it if its files are damaged (with a warning in the log `trueup_edge`). `trust` is the trust anchor's file, installed apart from it. With `ignore_unknown`
    fields that are not inputs are ignored, not refused. With `allow_expired` the manifest's time is not checked.

    Raises NotTrusted, AnotherModel or Expired, SelfTestFailed if onnxruntime cannot run the model, and UsageError if a file
    is missing. See `trueup_edge.errors`.
    """
    opening = installed_bundle if is_device(Path(folder)) else open_bundle
    bundle = opening(Path(folder), read_anchor(Path(trust)), allow_expired=allow_expired)
    return Model(bundle, ignore_unknown=ignore_unknown)


def _session(graph: bytes) -> Any:
    # onnxruntime 1.29 and later report each model to Microsoft; this has an effect before the first import only
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime  # here, so that an update needs no working onnxruntime in its own process
    except Exception as error:  # of its libraries, too
        raise SelfTestFailed(f"onnxruntime cannot be imported ({error}); install onnxruntime 1.21 or later") from None

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads cost more than one row takes
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        reason = " ".join(str(error).split())
        raise SelfTestFailed(
            f"onnxruntime {onnxruntime.__version__} cannot load {MODEL}: {reason}; install onnxruntime 1.21 or later, or "
            "export the bundle anew"
        ) from None
