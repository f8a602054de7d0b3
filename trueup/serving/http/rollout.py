"""Both versions of a rollout on the same rows: the canary, and predictions in shadow.

The challenger runs on threads beside the event loop, so that it can neither hold up a request of the champion nor fail
one. Times are compared as CPU seconds of the thread: a thread that waits for Python's lock is not a slow version.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np

from trueup.serving.encoding.encoder import Encoded
from trueup.serving.encoding.mistakes import RowsRefused
from trueup.serving.http.records import NON_FINITE, Context, ModelLog, Predicted, Role, records_of
from trueup.serving.http.side import Side
from trueup.serving.loading.bundle import Bundle, Version
from trueup.serving.metrics import Counts
from trueup.serving.rollout import BUSY, TIMEOUT, Outcome, Routing, row_key

_log: Final = logging.getLogger("trueup.serving")
WAITING: Final = 64  # calls that wait for a thread; further ones are not predicted in shadow

Rows = Sequence[Mapping[str, Any]]


class Split(NamedTuple):
    """Positions of rows: those of the champion, those of the canary, and those of the champion to predict in shadow."""

    champion: list[int]
    canary: list[int]
    sampled: list[int]


class Request(NamedTuple):
    """A request of which both versions see rows."""

    bundle: Bundle
    routing: Routing
    challenger: Version
    rows: Rows
    encoded: Encoded  # by the champion's encoder
    derived: bool
    context: Context
    counts: Counts


class Rollout:
    """Runs the challenger of one model. Its threads begin with the first rollout."""

    def __init__(self, model: str, log: ModelLog) -> None:
        self._model, self._log = model, log
        self._canary: Side | None = None
        self._shadow: Side | None = None
        self._of: Version | None = None

    def split(self, asked: Request) -> Split:
        """Who answers each row, and what is sampled: by the row's key, with times local to the model."""
        split = Split([], [], [])
        encoder = asked.bundle.champion.encoder
        for i, row in enumerate(asked.rows):
            key = row_key({**row, **encoder.times_of(row)}, encoder.key)
            if asked.routing.role(key) == "canary":
                split.canary.append(i)
                continue
            split.champion.append(i)
            if asked.routing.sampled(key):
                split.sampled.append(i)
        return split

    async def by_canary(self, asked: Request, rows: list[int]) -> Predicted:
        """The challenger's predictions of the canary's rows. Has an error where it gives none, or not in time."""
        side, limit = self._threads(asked.challenger)[0], asked.routing.timeout_s
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Predicted] = loop.create_future()

        def job() -> None:
            if not done.cancelled():
                made = _attempt(asked, asked.challenger, rows, "canary")
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(_resolve, done, made)

        if side.busy_s > 0.9 * limit:  # with an earlier call, which nobody waits for any more
            return _nothing(asked, asked.challenger, rows, "canary", TIMEOUT)
        if not side.do(job):
            return _nothing(asked, asked.challenger, rows, "canary", BUSY)
        try:
            return await asyncio.wait_for(done, limit)
        except TimeoutError:  # by a slow call, this one or one before it, or by many calls before it
            why = TIMEOUT if side.busy_s > 0.5 * limit else BUSY
            return _nothing(asked, asked.challenger, rows, "canary", why)

    def afterwards(self, asked: Request, split: Split, champion: Predicted | None, canary: Predicted | None) -> None:
        """After the answer: predict in shadow what is to be compared, and count both versions."""
        side, routing = self._threads(asked.challenger)[1], asked.routing
        stuck = side.busy_s > routing.timeout_s
        rest = sorted(set(split.champion) - set(split.sampled))
        if champion is not None and rest:
            routing.note("shadow", _part(champion, rest), None)
        if champion is not None and split.sampled:
            if stuck:  # with a call before this one
                routing.note("shadow", _part(champion, split.sampled), Outcome(None, None, TIMEOUT))
            elif not side.do(lambda: self._both(asked, split.sampled)):
                routing.dropped("shadow")
        if canary is not None and not side.do(lambda: self._champion_too(asked, canary)):
            routing.dropped("canary")
            routing.note("canary", None, _outcome(canary), fallback=failed(canary))  # the breaker sees it all the same

    def end(self) -> None:
        """Let the threads end, and wait a moment for what they have to do."""
        for side in (self._canary, self._shadow):
            if side is not None:
                side.join(2.0)

    def _threads(self, challenger: Version) -> tuple[Side, Side]:
        """The threads for the canary and for the shadow: new ones for a new challenger, as the old one may hang."""
        if self._canary is None or self._shadow is None or self._of is not challenger:
            for side in (self._canary, self._shadow):
                if side is not None:
                    side.end()
            self._of = challenger
            self._canary, self._shadow = Side("canary", WAITING), Side("shadow", WAITING)
        return self._canary, self._shadow

    def _both(self, asked: Request, rows: list[int]) -> None:
        """Run both versions on rows of the champion, one after the other on this thread, so that times compare."""
        first_challenger = random.getrandbits(1)  # the second one finds warm caches
        made = _attempt(asked, asked.challenger, rows, "shadow") if first_challenger else None
        champion = _attempt(asked, asked.bundle.champion, rows, "shadow")
        made = made or _attempt(asked, asked.challenger, rows, "shadow")
        self._shadowed(asked, made)
        asked.routing.note("shadow", _outcome(champion), _outcome(made))

    def _champion_too(self, asked: Request, canary: Predicted) -> None:
        """Run the champion on rows of the canary; where it answered them, its prediction is logged already."""
        made = _attempt(asked, asked.bundle.champion, canary.rows, "shadow")
        answered = failed(canary)
        if not answered:
            self._shadowed(asked, made)
        asked.routing.note("canary", _outcome(made), _outcome(canary), fallback=answered)

    def _shadowed(self, asked: Request, made: Predicted) -> None:
        """Log and count predictions in shadow."""
        self._log.write_soon(records_of(self._model, made, asked.context))
        if made.predictions is None:
            asked.counts.failed(made.version, made.error or "", len(made.rows))
        else:
            asked.counts.predicted(made.version, "shadow", len(made.rows))


def failed(made: Predicted) -> bool:
    """Whether a version gave no finite prediction of some row."""
    return made.predictions is None or not bool(np.isfinite(made.predictions).all())


def reason_of(made: Predicted) -> str:
    """Why a version failed, in one word."""
    return made.error or NON_FINITE


def _attempt(asked: Request, version: Version, rows: Sequence[int], role: Role) -> Predicted:
    """Run a version on some rows. Never raises: an error is part of what is said."""
    try:
        some = [asked.rows[i] for i in rows]
        encoded = version.encoder.encode(some, derived=asked.derived)
        began, own = time.monotonic(), time.thread_time_ns()
        predictions = version.run(encoded.features)
        latency_us = (time.thread_time_ns() - own) / 1000
        if version is asked.challenger and time.monotonic() - began > asked.routing.timeout_s:
            return _nothing(asked, version, rows, role, TIMEOUT)
        return Predicted(version, role, rows, encoded, predictions, latency_us)
    except RowsRefused:  # by a version that takes other fields
        return _nothing(asked, version, rows, role, RowsRefused.__name__)
    except Exception as error:  # of onnxruntime, or of a function of the user's: whatever it is, it is the version's
        _warn_once(asked, version, error)
        return _nothing(asked, version, rows, role, type(error).__name__)


def _warn_once(asked: Request, version: Version, error: Exception) -> None:
    """Show the challenger's first error of each kind in the server's log: a faulty version has one with every request."""
    kind = type(error).__name__
    if version is asked.challenger and kind not in asked.routing.shown:
        asked.routing.shown.add(kind)
        model, words = asked.bundle.state.model, " ".join(str(error).split())
        _log.warning(
            "%s: the challenger, version %d, raised %s: %s; later ones are counted, and not shown here",
            *(model, version.version, kind, words),
        )


def _nothing(asked: Request, version: Version, rows: Sequence[int], role: Role, error: str) -> Predicted:
    return Predicted(version, role, rows, part_of(asked.encoded, rows, features=False), None, 0.0, error)


def part_of(encoded: Encoded, rows: Sequence[int], *, features: bool = True) -> Encoded:
    """Some rows of what was encoded, by position; without features if another version encodes them."""
    some = encoded.features[list(rows)]
    return Encoded(
        some if features else some[:, :0],
        [encoded.missing[i] for i in rows],
        [encoded.unknown[i] for i in rows],
        [encoded.times[i] for i in rows],
        [encoded.keys[i] for i in rows],
    )


def _part(made: Predicted, rows: Sequence[int]) -> Outcome:
    """What the champion did with some of its rows; its time was of all of them, so it is not known."""
    places = {row: place for place, row in enumerate(made.rows)}
    return Outcome(None if made.predictions is None else made.predictions[[places[row] for row in rows]], None)


def _outcome(made: Predicted) -> Outcome:
    """What a version did, as it is counted."""
    if made.predictions is None:
        return Outcome(None, None, made.error)
    return Outcome(made.predictions, made.latency_us)


def _resolve(done: asyncio.Future[Predicted], made: Predicted) -> None:
    if not done.done():
        done.set_result(made)
