"""Figures of a server for Prometheus. With several workers they are added up over the files in `PROMETHEUS_MULTIPROC_DIR`.

That variable must be set before this module is imported, because prometheus_client reads it at its own import.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from trueup.serving.drift_files import DriftFiles
from trueup.serving.encoding.encoder import Encoded, joins
from trueup.serving.loading.bundle import Bundle, Version
from trueup.serving.loading.served import Served
from trueup.serving.prediction_log import PredictionLog

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """All figures of this process."""

    def __init__(self) -> None:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self.folder = Path(folder) if folder else None  # that the workers of a server share
        self._drift_files = None if self.folder is None else DriftFiles(self.folder)
        self._registry = CollectorRegistry()
        self._swaps: dict[tuple[str, str], int] = {}
        self._drifting: dict[str, set[str]] = {}  # the inputs with an index so far, by model
        self._counters()
        self._gauges()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(
        self, name: str, text: str, *labels: str, mode: Literal["mostrecent", "livemax", "livesum"] = "mostrecent"
    ) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)

    def _counters(self) -> None:
        counter = self._counter
        self.requests = counter("trueup_requests", "Requests by model and status.", "model", "code")
        self.seconds = Histogram(
            "trueup_request_seconds",
            "Time from a request's first line to its answer.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.predictions = counter("trueup_predictions", "Rows predicted.", "model", "version", "role")
        self.errors = counter("trueup_prediction_errors", "Rows not predicted.", "model", "version", "reason")
        self.missing = counter("trueup_inputs_missing", "Rows in which an input had no value.", "model", "input")
        self.unknown = counter(
            "trueup_inputs_unknown", "Rows in which an input had an unknown category.", "model", "input"
        )
        self.unlogged = counter("trueup_log_unlogged", "Predictions that were answered, but not logged.", "model")
        self.unjoinable = counter(
            "trueup_unjoinable", "Predictions without a whole key or an event time, which join no row.", "model"
        )
        self.fallbacks = counter(
            "trueup_rollout_fallbacks", "Rows of the canary that the champion answered.", "model", "reason"
        )
        self.swaps = counter("trueup_swaps", "New states of a model, by outcome.", "model", "outcome")
        self.unexpected = counter("trueup_unexpected_errors", "Mistakes of the server itself.")

    def _gauges(self) -> None:
        gauge = self._gauge
        self.epoch = gauge("trueup_epoch", "The promotion that made the version the champion.", "model")
        self.version = gauge("trueup_version", "The champion's version.", "model")
        self.age = gauge("trueup_state_age_seconds", "Time since the state that answers was published.", "model")
        self.ledger = gauge("trueup_ledger_reachable", "Whether the home's database answers.", "model")
        self.log_bytes = gauge("trueup_log_bytes", "Predictions that wait to be stored, in bytes.", "model")
        self.log_lag = gauge("trueup_log_lag_seconds", "Age of the oldest prediction that waits to be stored.", "model")
        self.known_until = gauge(
            "trueup_history_known_until_seconds", "Time since the newest outcome that history features know.", "model"
        )
        self.skew = gauge(
            "trueup_skew_share", "Rows of the newest batch whose features were served differently.", "model"
        )
        self.drift = gauge(
            "trueup_drift_psi",
            "Last hour's inputs against training: stability index; NaN with too few requests.",
            *("model", "input"),
        )
        self.phase = gauge("trueup_rollout_step", "Step of the rollout under way; 0 is shadow, -1 is none.", "model")
        self.share = gauge("trueup_rollout_share", "Share of keys that the challenger answers.", "model")
        self.ended = gauge(
            "trueup_rollouts_ended", "Rollouts that have ended, by outcome or exceeded limit.", "model", "reason"
        )
        self.tripped = gauge(
            "trueup_rollout_tripped", "Whether a breaker stopped the canary in a worker.", "model", mode="livemax"
        )
        self.unloaded = gauge(
            "trueup_challenger_unloaded", "Workers that could not load the challenger.", "model", mode="livesum"
        )

    @property
    def shared(self) -> bool:
        """Whether there are other workers, whose figures are added."""
        return self._drift_files is not None

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        if not self.shared:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def refresh(self, served: Served, log: PredictionLog | None, lag: float) -> None:
        """Set the figures that are not counted: those of the state, the log and the drift, for one model."""
        name, bundle = served.name, served.current
        self.ledger.labels(name).set(served.unreachable_since is None)
        if log is not None:
            self.log_bytes.labels(name).set(log.waiting)
            self.log_lag.labels(name).set(lag)
        for outcome, count in served.swaps.items():
            self.swaps.labels(name, outcome).inc(count - self._swaps.get((name, outcome), 0))
            self._swaps[name, outcome] = count
        if bundle is None:
            return
        state, rollout = bundle.state, bundle.state.rollout
        self.epoch.labels(name).set(bundle.champion.epoch)
        self.version.labels(name).set(bundle.champion.version)
        self.age.labels(name).set(max(0.0, time.time() - _seconds(state.published_at)))
        if state.history is not None and state.history.known_until is not None:
            local = datetime.fromisoformat(state.history.known_until).replace(tzinfo=bundle.champion.encoder.zone)
            self.known_until.labels(name).set(max(0.0, time.time() - local.timestamp()))
        if "share" in state.skew:
            self.skew.labels(name).set(state.skew["share"])
        self.phase.labels(name).set(-1 if rollout is None else rollout.step)
        self.share.labels(name).set(0 if rollout is None or rollout.phase == "shadow" else rollout.share)
        for reason, count in state.ended.items():
            self.ended.labels(name, reason).set(count)
        self.tripped.labels(name).set(bundle.routing is not None and bundle.routing.tripped)
        self.unloaded.labels(name).set(bundle.problem is not None)
        self._refresh_drift(name, bundle)

    def _refresh_drift(self, name: str, bundle: Bundle) -> None:
        """Set the indices of the requests to all workers."""
        others = []
        if self._drift_files is not None:
            self._drift_files.write(name, bundle.drift.counted())
            others = self._drift_files.others(name)
        found = bundle.drift.psi(others)
        for column in self._drifting.get(name, set()) - found.keys():
            self.drift.labels(name, column).set(math.nan)  # too few requests in the last hour, so it is not known
        for column, value in found.items():
            self.drift.labels(name, column).set(value)
        self._drifting[name] = self._drifting.get(name, set()) | found.keys()


class Counts:
    """The counters of one model and one bundle, made once, so that a request only counts."""

    def __init__(self, metrics: Metrics, bundle: Bundle) -> None:
        name = bundle.state.model
        self._metrics, self._model = metrics, name
        self._champion = metrics.predictions.labels(name, bundle.champion.version, "champion")
        self._unlogged = metrics.unlogged.labels(name)
        self._unjoinable = metrics.unjoinable.labels(name)
        self._missing = {field.name: metrics.missing.labels(name, field.name) for field in bundle.state.fields}
        self._unknown = {field.name: metrics.unknown.labels(name, field.name) for field in bundle.state.fields}

    def answered(self, encoded: Encoded) -> None:
        """Count the rows of a request that the champion answered."""
        self._champion.inc(len(encoded.times))
        self.inputs(encoded)

    def predicted(self, version: Version, role: str, rows: int) -> None:
        """Count rows that another version, or another role, predicted."""
        self._metrics.predictions.labels(self._model, version.version, role).inc(rows)

    def failed(self, version: Version, reason: str, rows: int) -> None:
        """Count rows that a version did not predict. `reason` is short, and of few kinds."""
        self._metrics.errors.labels(self._model, version.version, reason).inc(rows)

    def fell_back(self, reason: str, rows: int) -> None:
        """Count rows of the canary that the champion answered."""
        self._metrics.fallbacks.labels(self._model, reason).inc(rows)

    def inputs(self, encoded: Encoded) -> None:
        """Count inputs without a value and with an unknown category, and rows whose predictions join nothing."""
        for kind, known, rows in (
            (self._metrics.missing, self._missing, encoded.missing),
            (self._metrics.unknown, self._unknown, encoded.unknown),
        ):
            for name in itertools.chain.from_iterable(rows):
                child = known.get(name) or kind.labels(self._model, name)  # else a derived input that was given
                child.inc()
        if None in encoded.keys or None in encoded.times:
            self._unjoinable.inc(sum(not joins(encoded, row) for row in range(len(encoded.times))))

    def unlogged(self, rows: int) -> None:
        """Count predictions that were answered, but not logged."""
        if rows:
            self._unlogged.inc(rows)


def _seconds(moment: str) -> float:
    parsed = datetime.fromisoformat(moment)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
