"""The log of one model: what was predicted becomes records, written before the answer."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from trueup.errors import LogFull
from trueup.serving.encoding.encoder import Encoded
from trueup.serving.http.problems import Problem, retry_after
from trueup.serving.loading.bundle import Version
from trueup.serving.log_format import Record, drained_offsets, encoded, log_files, process_name, record_at
from trueup.serving.prediction_log import PredictionLog
from trueup.serving.state import LOG, Serve

Floats = npt.NDArray[np.float64]
Role = Literal["champion", "canary", "shadow"]

NON_FINITE: Final = "non_finite"  # the error of a prediction that is NaN or infinite
_LATER_S: Final = 10.0  # after which a replaced log is closed: requests may still hold it
_RETRY_S: Final = 5.0


class Predicted(msgspec.Struct, frozen=True):
    """What one version did with some rows of a request. `predictions` is None if it raised: then there is an error."""

    version: Version
    role: Role
    rows: Sequence[int]  # positions in the request
    encoded: Encoded  # of these rows, by the version's encoder
    predictions: Floats | None  # (rows, outputs)
    latency_us: float  # of the run alone
    error: str | None = None
    fallback: bool = False  # the champion answers rows that were the challenger's


class Context(msgspec.Struct, frozen=True):
    """What the records of one request have in common."""

    ids: Sequence[str]  # of its rows
    idempotency: str | None
    recorded: bool
    rollout: str | None
    digest: bytes | None = None  # of the request, if it has an idempotency key


def records_of(model: str, made: Predicted, context: Context) -> list[bytes]:
    """The records of some rows, as the log takes them."""
    now, version, rows = time.time_ns() // 1000, made.version, made.encoded
    features = rows.features
    if version.encoder.personal and features.shape[1]:
        features = features.copy()
        features[:, version.encoder.personal] = math.nan
    content, width = features.tobytes(), features.shape[1] * 8
    predictions: list[list[float]] | list[None] = (
        [None] * len(made.rows) if made.predictions is None else made.predictions.tolist()
    )
    records = []
    for i, row in enumerate(made.rows):
        prediction, error = _checked(predictions[i], bool(version.classes), made.error)
        record = Record(
            context.ids[row],
            now,
            model,
            version.version,
            version.epoch,
            made.role,
            rows.keys[i],
            rows.times[i],
            content[i * width : (i + 1) * width] or None,
            prediction,
            error,
            context.idempotency,
            context.recorded,
            round(made.latency_us),
            context.rollout,
            len(rows.missing[i]),
        )
        records.append(encoded(record))
    return records


def _checked(
    values: list[float] | None, several: bool, error: str | None
) -> tuple[float | list[float] | None, str | None]:
    """A row's prediction as the log has it, or the error in its place."""
    if values is None:
        return None, error
    if not all(map(math.isfinite, values)):
        return None, NON_FINITE
    return values if several else values[0], None


class ModelLog:
    """The prediction log of one model, opened anew if its config asks for other durability or size."""

    def __init__(self, model: str, folder: Path, database: str) -> None:
        self._model, self._folder, self._database = model, folder / LOG, database
        self._as: tuple[object, ...] = ()
        self.log: PredictionLog | None = None

    def open(self, serve: Serve) -> PredictionLog:
        """The log as the config asks for it."""
        wanted = (serve.durability, serve.log_mib)
        if self.log is None or wanted != self._as:
            if self.log is not None:
                self._close_later(self.log)
            self.log, self._as = self._made(serve), wanted
        return self.log

    async def write(self, payloads: list[bytes], serve: Serve, *, recorded: bool) -> bool:
        """Log records. Returns whether they are; raises Problem if they must be and cannot."""
        if self.log is None:
            self.open(serve)
        try:
            return await self.append(payloads)
        except LogFull as full:
            if recorded and serve.on_full == "refuse":
                raise Problem(503, "log-full", str(full), headers=(retry_after(_RETRY_S),)) from None
            return False

    async def append(self, payloads: list[bytes]) -> bool:
        """Log records in the open log: all or none. Returns whether anything is logged. Raises LogFull."""
        log = self.log
        if log is None:
            return False
        waiting = log.append(payloads)
        if waiting is not None:
            await waiting
        return log.logs

    def write_soon(self, payloads: list[bytes]) -> bool:
        """Log records from a thread without an event loop. Returns whether there was room."""
        if self.log is None:
            return False
        try:
            self.log.append(payloads)
        except LogFull:
            return False
        return self.log.logs

    def lag(self) -> float:
        """Seconds since the oldest prediction that waits in files was made; 0 without any."""
        drained, oldest = drained_offsets(self._folder), []
        for file in log_files(self._folder):
            with suppress(OSError):  # all of it was stored meanwhile, and the file removed
                if (record := record_at(file, drained.get(file.name, 0))) is not None:
                    oldest.append(record.at)
        return max(0.0, time.time() - min(oldest) / 1e6) if oldest else 0.0

    def close(self) -> None:
        """Write what is queued, and let go of the files."""
        log, self.log = self.log, None
        if log is not None:
            log.close()

    def _made(self, serve: Serve) -> PredictionLog:
        return PredictionLog(self._folder, serve, process_name(), model=self._model, database=self._database)

    def _close_later(self, log: PredictionLog) -> None:
        timer = threading.Timer(_LATER_S, log.close)
        timer.daemon = True
        timer.start()
