"""How far the inputs of the last hour are from those of training, from histograms: no row is kept."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from trueup.serving.loading.manifest import Input
from trueup.serving.state import Sketch

Floats = NDArray[np.float64]

_SPANS: Final = 12  # histograms, each of
_SECONDS: Final = 300.0
_BUFFER: Final = 256  # rows that are counted at once, at least
_ENOUGH: Final = 200  # rows, below which an index is mostly chance
_LEAST: Final = 1e-4  # share of a bin, so that an empty one has a logarithm


class Counted(msgspec.Struct, frozen=True):
    """The histograms of a worker: `counts` (spans, inputs, bins) of the five minutes in `spans`, as int64."""

    basis: bytes  # digest of the inputs and their sketches: counts on the same ones can be added
    spans: bytes
    counts: bytes


class Drift:
    """The population stability index of each input of one version, over the last hour.

    Rows wait until there are some hundred, and are then counted in one histogram for each five minutes. It is used by
    one thread, and nobody changes the rows meanwhile.
    """

    def __init__(
        self, inputs: Sequence[Input], sketches: Sequence[Sketch], now: Callable[[], float] = time.monotonic
    ) -> None:
        by_name = {sketch.name: sketch for sketch in sketches}
        self._basis = hashlib.blake2b(msgspec.msgpack.encode([inputs, sketches]), digest_size=16).digest()
        self._binned = [
            (position, _Bins(column, by_name[column.name]))
            for position, column in enumerate(inputs)
            if column.name in by_name
        ]
        width = max((bins.size for _, bins in self._binned), default=0)
        self._counts = np.zeros((_SPANS, len(self._binned), width), dtype=np.int64)
        self._spans = np.full(_SPANS, -1, dtype=np.int64)  # the five minutes that each histogram is of
        self._waiting: list[Floats] = []  # rows that are not counted yet
        self._rows = 0  # in them
        self._now = now

    def add(self, features: Floats) -> None:
        """Count rows (n, inputs), encoded as the graph takes them."""
        self._waiting.append(features)
        self._rows += len(features)
        if self._rows >= _BUFFER:
            self._count()

    def counted(self) -> Counted:
        """The histograms so far, for another worker to add."""
        self._count()
        return Counted(self._basis, self._spans.tobytes(), self._counts.tobytes())

    def psi(self, others: Iterable[Counted] = ()) -> dict[str, float]:
        """The index of each input with at least 200 rows in the last hour: .1 is small, beyond .25 is large.

        `others` are the histograms of other workers on this machine, whose rows count, too; those of other inputs or
        another training are left out.
        """
        self._count()
        counts = self._recent(self._spans, self._counts)
        for other in others:
            if other.basis == self._basis:
                theirs = np.frombuffer(other.counts, dtype=np.int64).reshape(self._counts.shape)
                counts = counts + self._recent(np.frombuffer(other.spans, dtype=np.int64), theirs)
        return {
            bins.name: bins.index(of_input[: bins.size])
            for (_, bins), of_input in zip(self._binned, counts, strict=True)
            if of_input.sum() >= _ENOUGH
        }

    def _recent(self, spans: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The counts (inputs, bins) of the last hour. Spans are of the system's clock, which all processes share."""
        recent: NDArray[np.int64] = counts[spans > self._span() - _SPANS].sum(axis=0)
        return recent

    def _span(self) -> int:
        return int(self._now() // _SECONDS)

    def _count(self) -> None:
        if not self._rows:
            return
        span = self._span()
        place = span % _SPANS
        if self._spans[place] != span:
            self._counts[place] = 0
            self._spans[place] = span
        rows = np.concatenate(self._waiting)
        for number, (position, bins) in enumerate(self._binned):
            self._counts[place, number, : bins.size] += bins.count(rows[:, position])
        self._waiting, self._rows = [], 0


class _Bins:
    """The bins of one input, and the shares of training in them. The last two are unknown and missing values."""

    def __init__(self, column: Input, sketch: Sketch) -> None:
        self.name = column.name
        self.size = len(sketch.shares)
        self._edges = np.array(sketch.edges)
        self._category = column.kind == "category"
        self._missing = math.nan if column.missing is None else column.missing
        self._unknown = math.nan if column.unknown is None else column.unknown
        self._expected = self._as_encoded(np.array(sketch.shares))

    def count(self, values: Floats) -> NDArray[np.int64]:
        """The number of values (n,) in each bin."""
        nan = np.isnan(values)
        places = self._codes(values, nan) if self._category else np.searchsorted(self._edges, values, side="left")
        places = np.where(nan, self._of_nan, places)
        return np.bincount(places, minlength=self.size)[: self.size]

    def index(self, counts: NDArray[np.int64]) -> float:
        """The population stability index of counts."""
        there = np.maximum(counts / counts.sum(), _LEAST)
        expected = np.maximum(self._expected, _LEAST)
        return float(((there - expected) * np.log(there / expected)).sum())

    @property
    def _of_nan(self) -> int:
        """The bin of NaN: where both mean it, missing and unknown values cannot be distinguished."""
        return self.size - 2 if self._category and math.isnan(self._unknown) else self.size - 1

    def _codes(self, values: Floats, nan: NDArray[np.bool_]) -> NDArray[np.int64]:
        whole = np.where(nan, -1, values).astype(np.int64)
        inside = (whole >= 0) & (whole < self.size - 2)
        outside = np.where(values == self._missing, self.size - 1, self.size - 2)
        return np.where(inside, whole, outside)

    def _as_encoded(self, shares: Floats) -> Floats:
        """Shares of training, with missing and unknown values in the bins where the encoded ones are."""
        moved = np.zeros(self.size)
        moved[: self.size - 2] = shares[: self.size - 2]
        for share, encoded in ((shares[-2], self._unknown), (shares[-1], self._missing)):
            if share:
                moved += share * (self.count(np.array([encoded])) > 0)
        return moved
