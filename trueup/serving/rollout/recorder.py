"""Counts the calls of a rollout in one worker, and writes them to its file once a second."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from trueup.errors import WorkError
from trueup.files import whole
from trueup.serving.rollout.figures import (
    BINS,
    BUSY,
    LATENCY_BINS,
    TIMEOUT,
    Difference,
    Figures,
    Floats,
    Outcome,
    Output,
    Paired,
    RowsOf,
    Scale,
    Side,
)

_REASONS = 20  # different errors that are counted by name
_OTHER = "other"
_BUFFERED = 256  # calls that are counted together, as one by one takes five times as long
_SECONDS = 1.0  # between two writings
_CALLS, _FAILURES = 40, 20  # of the breaker: it trips when so many of the challenger's last calls failed


class _Call(NamedTuple):
    step: int
    rows_of: RowsOf
    champion: Outcome | None
    challenger: Outcome | None
    fallback: bool


class Recorder:
    """The counts of one rollout in this worker. Safe in any thread."""

    def __init__(self, rollout: str, file: Path, scale: Scale) -> None:
        self._file, self._scale = file, scale
        self._figures = Figures(rollout=rollout)
        self._buffer: list[_Call] = []
        self._failures: deque[bool] = deque(maxlen=_CALLS)
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._changed = True  # an empty file says that this worker takes part
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write_always, name="rollout figures", daemon=True)
        self._thread.start()

    @property
    def tripped(self) -> bool:
        """Whether the breaker stopped the canary in this worker."""
        return self._figures.tripped > 0

    def note(
        self, step: int, rows_of: RowsOf, champion: Outcome | None, challenger: Outcome | None, fallback: bool
    ) -> None:
        """Count one call, and trip the breaker if the challenger failed too often of late."""
        alone = champion is None or not champion.failed  # what both fail at says nothing about the challenger
        with self._lock:
            self._buffer.append(_Call(step, rows_of, champion, challenger, fallback))
            self._changed = True
            if challenger is not None and challenger.error != BUSY:
                failed = challenger.failed and alone
                self._failures.append(failed)
                if failed and not self.tripped and sum(self._failures) >= _FAILURES:
                    self._trip(step, rows_of)
            if len(self._buffer) >= _BUFFERED:
                self._count()

    def _trip(self, step: int, rows_of: RowsOf) -> None:
        failed, calls = sum(self._failures), len(self._failures)
        self._figures.tripped = 1
        self._figures.trips = [f"{failed} of the challenger's last {calls} calls failed, in step {step} ({rows_of})"]

    def dropped(self, step: int, rows_of: RowsOf) -> None:
        """Count a call whose other version was not asked."""
        with self._lock:
            self._figures.step(step, rows_of).dropped += 1
            self._changed = True

    def copy(self) -> Figures:
        """Return a copy of the counts."""
        with self._lock:
            self._count()
            content = msgspec.json.encode(self._figures)
        return msgspec.json.decode(content, type=Figures)

    def write(self) -> None:
        """Write the counts, if they have changed. Raises WorkError when that fails; the counts are kept."""
        with self._writing:  # an older content never replaces a newer one
            with self._lock:
                if not self._changed:
                    return
                self._count()
                self._figures.updated_at = datetime.now(UTC).isoformat()
                content, self._changed = msgspec.json.encode(self._figures), False
            try:
                with whole(self._file, durable=False) as stream:
                    stream.write(content)
            except WorkError:
                self._changed = True
                raise

    def close(self) -> None:
        """End the thread, which writes a last time."""
        self._end.set()
        self._thread.join()

    def _write_always(self) -> None:
        ended = False
        while not ended:
            ended = self._end.wait(_SECONDS)
            with suppress(WorkError):  # the disk is full: tried again in a second, and the file keeps its older counts
                self.write()

    def _count(self) -> None:
        """Move the buffered calls into the figures."""
        calls, self._buffer = self._buffer, []
        for place in dict.fromkeys((call.step, call.rows_of) for call in calls):
            here, step = [c for c in calls if (c.step, c.rows_of) == place], self._figures.step(*place)
            step.fallbacks += sum(call.fallback for call in here)
            _count_side(step.champion, [c.champion for c in here if c.champion], self._scale)
            _count_side(step.challenger, [c.challenger for c in here if c.challenger], self._scale)
            both = [(c.champion, c.challenger) for c in here if c.champion and c.challenger]
            _count_pairs(step.paired, both, self._scale)


def _count_side(side: Side, outcomes: Sequence[Outcome], scale: Scale) -> None:
    side.calls += len(outcomes)
    for outcome in outcomes:
        if outcome.predictions is None:
            reason = outcome.error or _OTHER
            if reason not in side.errors and len(side.errors) >= _REASONS and reason != TIMEOUT:
                reason = _OTHER
            side.errors[reason] = side.errors.get(reason, 0) + 1
        else:
            side.rows += len(outcome.predictions)
            side.non_finite += outcome.failed
    _add_to(side.latency, _latency_bins([o.latency_us for o in outcomes if o.latency_us is not None]))
    for predictions in _by_width(o.predictions for o in outcomes if o.predictions is not None):
        _count_outputs(side.outputs, predictions[np.isfinite(predictions).all(axis=1)], scale)


def _by_width(arrays: Iterable[Floats]) -> list[Floats]:
    """Concatenate the arrays of each width."""
    each = list(arrays)
    return [np.concatenate([a for a in each if a.shape[1] == k]) for k in dict.fromkeys(a.shape[1] for a in each)]


def _count_outputs(outputs: list[Output], values: Floats, scale: Scale) -> None:
    while len(outputs) < values.shape[1]:
        outputs.append(Output())
    places = np.clip((values - scale.low) * (BINS / (scale.high - scale.low)), 0, BINS - 1).astype(np.int64)
    for output, column, bins in zip(outputs, values.T, places.T, strict=False):
        output.n += len(column)
        output.sum += float(column.sum())
        output.sum_sq += float(np.square(column).sum())
        _add_to(output.histogram, np.bincount(bins, minlength=BINS).tolist())


def _count_pairs(paired: Paired, both: Sequence[tuple[Outcome, Outcome]], scale: Scale) -> None:
    paired.calls += len(both)
    comparable = []
    for champion, challenger in both:
        known = champion if champion.predictions is not None else challenger
        paired.rows += 0 if known.predictions is None else len(known.predictions)
        _count_failures(paired, champion, challenger)
        _count_times(paired, champion, challenger, scale)
        if champion.failed or challenger.failed or champion.predictions is None or challenger.predictions is None:
            continue
        if champion.predictions.shape == challenger.predictions.shape:
            comparable.append((champion.predictions, challenger.predictions))
        else:
            paired.unlike += 1
    for width in dict.fromkeys(ours.shape[1] for ours, _ in comparable):
        _count_differences(paired.differences, [pair for pair in comparable if pair[0].shape[1] == width], scale)


def _count_failures(paired: Paired, champion: Outcome, challenger: Outcome) -> None:
    if challenger.failed and champion.failed:
        paired.both_failed += 1
    elif challenger.predictions is None:
        paired.failed_alone += 1
    elif challenger.failed:
        paired.non_finite_alone += 1


def _count_times(paired: Paired, champion: Outcome, challenger: Outcome, scale: Scale) -> None:
    if challenger.error == TIMEOUT:
        paired.timed += 1
        paired.slower += 1
    elif champion.latency_us is not None and challenger.latency_us is not None:
        paired.timed += 1
        paired.slower += challenger.latency_us > scale.ratio * champion.latency_us


def _count_differences(differences: list[Difference], pairs: Sequence[tuple[Floats, Floats]], scale: Scale) -> None:
    lengths = np.array([len(ours) for ours, _ in pairs])
    raw = np.concatenate([theirs - ours for ours, theirs in pairs]) / scale.unit
    clipped = np.clip(raw, -scale.clip, scale.clip)
    means = np.add.reduceat(clipped, np.cumsum(lengths) - lengths, axis=0) / lengths[:, None]
    while len(differences) < raw.shape[1]:
        differences.append(Difference())
    for difference, column, beyond in zip(differences, means.T, (clipped != raw).sum(axis=0), strict=False):
        difference.n += len(column)
        difference.sum += float(column.sum())
        difference.sum_sq += float(np.square(column).sum())
        difference.clipped += int(beyond)


def _latency_bins(latencies: Sequence[float]) -> list[int]:
    bins = np.floor(4 * np.log2(np.maximum(np.array(latencies, dtype=np.float64), 1.0)))
    counts: list[int] = np.bincount(
        np.minimum(bins, LATENCY_BINS - 1).astype(np.int64), minlength=LATENCY_BINS
    ).tolist()
    return counts


def _add_to(counts: list[int], more: Sequence[int]) -> None:
    counts[:] = map(int.__add__, counts, more)
