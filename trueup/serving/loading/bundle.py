"""A bundle: everything that answers the requests for one model at one moment. It never changes; another one replaces it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from trueup.errors import OnnxFailed, TrueupError, UntrustedModel, WorkError
from trueup.ledger.signing import Signer
from trueup.serving.drift import Drift
from trueup.serving.encoding.encoder import CustomFeatures, Encoder, history_inputs
from trueup.serving.history import HistoryStore
from trueup.serving.loading.manifest import GRAPH, PARITY, Input, Manifest, read_bundle
from trueup.serving.loading.own_function import own_function
from trueup.serving.rollout import Routing, worker_name
from trueup.serving.state import BUNDLES, COPIES, ServedVersion, State

Floats = NDArray[np.float64]

_OUTPUT: Final = ["prediction"]
_INFINITE: Final = {"Infinity": math.inf, "-Infinity": -math.inf}  # as parity rows write it


@dataclass(frozen=True, slots=True)
class Version:
    """A version that predicts."""

    version: int
    epoch: int
    manifest: Manifest
    manifest_sha256: str
    inputs: tuple[str, ...]
    classes: tuple[str, ...]  # of a multiclass task
    encoder: Encoder
    _session: Any
    damage: str | None = None  # what is wrong with its files, so that their copy was loaded

    def run(self, features: Floats) -> Floats:
        """Predict rows (n, inputs); returns (n, 1), or (n, classes) of a multiclass task."""
        predicted: Floats = self._session.run(_OUTPUT, {"features": features}, None)[0]
        return predicted


@dataclass(frozen=True, slots=True)
class Bundle:
    """The state that was published, and what was loaded of it."""

    state: State
    champion: Version
    challenger: Version | None
    history: HistoryStore | None  # of versions with history features
    routing: Routing | None  # of a rollout with a challenger
    drift: Drift  # of the champion's inputs
    problem: str | None  # why the challenger could not be loaded
    loaded_at: float  # seconds since 1970

    @property
    def damage(self) -> str | None:
        """What is wrong with the files of a version, so that their copy was loaded."""
        versions = (self.champion, self.challenger)
        return next((v.damage for v in versions if v is not None and v.damage is not None), None)


class Loader:
    """Loads what is published about one model.

    `folder` is the model's, `configs` the folder with the configs, beside which the user's own functions are.
    """

    def __init__(self, folder: Path, configs: Path, signer: Signer) -> None:
        self._folder, self._configs, self._signer = folder, configs, signer

    def load(self, state: State, before: Bundle | None = None) -> Bundle:
        """Load what a state names: digests and signatures are checked, the parity rows predicted, the sessions warm.

        Sessions, counts and histograms of `before` that are of the same versions are taken over. Raises UntrustedModel,
        OnnxFailed or UsageError if the champion cannot be loaded; without its challenger a model is still served.
        """
        custom = None if state.serve.features is None else own_function(state.serve.features, self._configs)
        history = self._history(state, before)
        make = partial(self._version, state, partial(_encoder, state, history, custom), before)
        champion = make(state.champion)
        challenger, problem = None, None
        if state.challenger is not None:
            try:
                challenger = make(state.challenger)
            except TrueupError as error:
                problem = str(error)
        drift = Drift(champion.manifest.inputs, state.sketches)
        if before is not None and _same(before.champion, state.champion) and before.state.sketches == state.sketches:
            drift = before.drift
        routing = self._routing(state, before) if challenger is not None else None
        return Bundle(state, champion, challenger, history, routing, drift, problem, time.time())

    def _history(self, state: State, before: Bundle | None) -> HistoryStore | None:
        """The past, read anew if another one was published."""
        if before is not None and before.state.history == state.history:
            return before.history
        return None if state.history is None else HistoryStore.load(self._folder, state.history)

    def _routing(self, state: State, before: Bundle | None) -> Routing | None:
        if state.rollout is None:
            return None
        return Routing(state.rollout, self._folder, worker_name(), None if before is None else before.routing)

    def _version(
        self, state: State, encoder_of: Callable[[Manifest], Encoder], before: Bundle | None, of: ServedVersion
    ) -> Version:
        for known in (before.champion, before.challenger) if before is not None else ():
            if known is not None and _same(known, of):
                return replace(known, epoch=of.epoch, encoder=encoder_of(known.manifest), damage=None)
        place, copy = (self._folder / part / of.bundle for part in (BUNDLES, COPIES))
        try:
            return _fresh(state, encoder_of, of, place, self._signer)
        except UntrustedModel as damage:
            if not copy.is_dir():
                raise
            with suppress(UntrustedModel):
                return replace(_fresh(state, encoder_of, of, copy, self._signer), damage=f"its copy answers: {damage}")
            raise


def _encoder(state: State, history: HistoryStore | None, custom: CustomFeatures | None, manifest: Manifest) -> Encoder:
    """Raises WorkError if the version has history features that the past has not."""
    names = history_inputs(manifest.inputs)
    if names and history is None:
        raise WorkError(
            f"{state.model} version {manifest.version} needs {names[0]}, and no past is published; next: publish the model again"
        )
    plan = None if history is None else history.plan(names)
    return Encoder(manifest.inputs, state, history=plan, custom=custom)


def _same(known: Version, of: ServedVersion) -> bool:
    return (known.version, known.manifest_sha256) == (of.version, of.manifest_sha256)


def _fresh(
    state: State, encoder_of: Callable[[Manifest], Encoder], of: ServedVersion, place: Path, signer: Signer
) -> Version:
    """Load a version from its files."""
    manifest, files, digest = read_bundle(place, signer, of.manifest_sha256)
    if (manifest.model, manifest.version, manifest.task) != (state.model, of.version, state.task):
        raise UntrustedModel(
            f"{place} is of {manifest.model} version {manifest.version}, and the state names {state.model} version "
            f"{of.version}; next: publish the model again"
        )
    version = Version(
        of.version,
        of.epoch,
        manifest,
        digest,
        tuple(column.name for column in manifest.inputs),
        manifest.output.classes,
        encoder_of(manifest),
        _session(files[GRAPH], place / GRAPH),
    )
    _replay(version, files[PARITY], place / PARITY)
    return version


def _session(graph: bytes, where: Path) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # has an effect before the first import only
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads cost more than one row takes
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # its errors are raised too, and a faulty version has one with every request
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return getattr(session, "_sess", session)  # without checks of names and devices that take a third of a run
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        raise OnnxFailed(f"{where} cannot be loaded: {' '.join(str(error).split())}; next: publish it again") from None


class _ParityRow(msgspec.Struct, frozen=True):
    row: dict[str, Any]
    prediction: list[float]


def _replay(version: Version, lines: bytes, where: Path) -> None:
    """Predict the parity rows one by one and all at once, which also warms the session. Raises OnnxFailed."""
    try:
        parity = [msgspec.json.decode(line, type=_ParityRow) for line in lines.split(b"\n") if line]
        if not parity:
            raise OnnxFailed(f"{where} has no rows, so the version cannot be checked; next: publish it again")
        features = version.encoder.encode_inputs([_row(version.manifest.inputs, each.row) for each in parity])
        expected = np.array([each.prediction for each in parity], dtype=np.float64)
        together = version.run(features)
        alone = np.vstack([version.run(features[i : i + 1]) for i in range(len(features))])
    except OnnxFailed:
        raise
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        raise OnnxFailed(f"{where} has a row that cannot be predicted: {error}; next: publish it again") from None
    for predicted in (together, alone):
        if predicted.shape != expected.shape:
            raise OnnxFailed(f"{where}: {predicted.shape[1]} numbers are predicted a row, not {expected.shape[1]}")
        apart = np.abs(predicted - expected) / np.maximum(1.0, np.abs(expected))
        largest = float(apart.max()) if np.isfinite(apart).all() else math.inf
        if not largest <= version.manifest.tolerance:
            raise OnnxFailed(
                f"{where}: a row is predicted otherwise than where the version was made (difference {largest:.3g}, allowed "
                f"{version.manifest.tolerance:g}); install another onnxruntime"
            )


def _row(inputs: Sequence[Input], row: Mapping[str, Any]) -> dict[str, Any]:
    """A parity row with infinity as a number, which JSON has not."""
    numbers = {column.name for column in inputs if column.kind == "number"}
    return {n: _INFINITE.get(v, v) if n in numbers and isinstance(v, str) else v for n, v in row.items()}
