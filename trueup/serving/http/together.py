"""Predicts the rows of waiting requests by the champion, a step at a time for all of them.

Each step then finds its code and data in the processor's caches, and the log takes one write: with eight connections a
request costs about half the time of one by one. Each request is still predicted by a run of its own, so its numbers do not
depend on the others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import structs

from trueup.errors import LogFull
from trueup.serving.encoding.encoder import Encoded, Floats
from trueup.serving.encoding.mistakes import LIMIT, Mistake, RowsRefused
from trueup.serving.http.answers import Answer, answer_of
from trueup.serving.http.problems import Problem, refused_rows
from trueup.serving.http.records import NON_FINITE, Context, ModelLog, Predicted, records_of
from trueup.serving.loading.bundle import Bundle
from trueup.serving.metrics import Counts

_FEW: Final = 16  # numbers

Then = Callable[[], None]
Write = Callable[[Answer], bytes]


class Attempt(NamedTuple):
    """What the champion did with some rows, and what is raised instead of an answer."""

    made: Predicted
    failure: Exception | None = None


class Waiting(msgspec.Struct, eq=False):
    """A request that waits for its answer."""

    bundle: Bundle
    counts: Counts
    rows: Sequence[dict[str, Any]]
    context: Context
    derived: bool
    history: bool
    write: Write
    done: asyncio.Future[tuple[bytes, Then]]
    made: Predicted | None = None
    failure: Exception | None = None
    payloads: list[bytes] = msgspec.field(default_factory=list)
    logged: bool = False


class Together:
    """Answers the requests of one model. For one event loop."""

    def __init__(self, model: str, log: ModelLog) -> None:
        self._model, self._log = model, log
        self._waiting: list[Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, waiting: Waiting) -> None:
        """Answer a request soon, with those that come before the event loop's next turn: sets `done`."""
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            task = asyncio.get_running_loop().create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        predicted = _each(waiting, self._predict)
        try:
            await self._write(predicted)
        except Exception as error:  # whatever it is, nobody may wait for ever
            for one in predicted:
                one.failure = one.failure or error
        _each(predicted, self._answer)

    def _predict(self, one: Waiting) -> None:
        encoded = encoded_by_champion(one.bundle, one.rows, derived=one.derived)
        one.made, one.failure = by_champion(one.bundle, encoded, range(len(one.rows)), one.counts)
        if one.bundle.state.serve.durability != "off":
            one.payloads = records_of(self._model, one.made, context_of(one.made, one.failure, one.context))

    async def _write(self, ones: Sequence[Waiting]) -> None:
        """Log all together; when that is too much, each alone by the rules of its model."""
        payloads = [payload for one in ones for payload in one.payloads]
        if not payloads:
            return
        try:
            logged = await self._log.append(payloads)
            for one in ones:
                one.logged = logged
        except LogFull:
            for one in ones:
                await self._write_alone(one)

    async def _write_alone(self, one: Waiting) -> None:
        serve, recorded = one.bundle.state.serve, one.context.recorded and one.failure is None
        try:
            one.logged = await self._log.write(one.payloads, serve, recorded=recorded)
        except Problem as problem:
            one.failure = one.failure or problem

    def _answer(self, one: Waiting) -> None:
        made = one.made
        assert made is not None
        one.counts.unlogged(0 if one.logged else len(one.payloads))
        if one.failure is not None:
            raise one.failure
        one.counts.answered(made.encoded)
        answer = answer_of(self._model, [made], one.context, logged=one.logged, history=one.history)
        content = one.write(answer)
        if not one.done.done():  # its request was cancelled
            one.done.set_result((content, partial(one.bundle.drift.add, made.encoded.features)))


def _each(ones: Sequence[Waiting], step: Callable[[Waiting], None]) -> list[Waiting]:
    """Do a step for all; those for which it raised are answered with that."""
    well = []
    for one in ones:
        try:
            step(one)
        except Exception as error:
            if not one.done.done():
                one.done.set_exception(error)
        else:
            well.append(one)
    return well


def encoded_by_champion(bundle: Bundle, rows: Sequence[dict[str, Any]], *, derived: bool) -> Encoded:
    """Rows as the champion takes them. Raises Problem with the mistakes of all rows."""
    try:
        return bundle.champion.encoder.encode(rows, derived=derived)
    except RowsRefused as refused:
        raise refused_rows(refused.mistakes) from None


def by_champion(bundle: Bundle, encoded: Encoded, rows: Sequence[int], counts: Counts) -> Attempt:
    """The champion's predictions. It fails if they are not all finite, and with what the version raises."""
    champion = bundle.champion
    began = time.perf_counter()
    try:
        predictions = champion.run(encoded.features)
    except Exception as error:  # of onnxruntime: it has no common class but this
        counts.failed(champion, type(error).__name__, len(rows))
        return Attempt(Predicted(champion, "champion", rows, encoded, None, 0.0, type(error).__name__), error)
    made = Predicted(champion, "champion", rows, encoded, predictions, (time.perf_counter() - began) * 1e6)
    return Attempt(made) if _all_finite(predictions) else Attempt(made, _no_prediction(made, predictions, counts))


def context_of(made: Predicted, failure: Exception | None, context: Context) -> Context:
    """How predictions are logged: those that nobody is given do not count as those of their rows."""
    return context if failure is None or made.predictions is None else structs.replace(context, recorded=False)


def _no_prediction(made: Predicted, predictions: Floats, counts: Counts) -> Problem:
    wrong = np.flatnonzero(~np.isfinite(predictions).all(axis=1))
    counts.failed(made.version, NON_FINITE, len(wrong))
    step = "check its values; the model has no answer to them"
    return Problem(
        422,
        "no-prediction",
        f"version {made.version.version} predicts no finite number for {len(wrong)} of {len(made.rows)} rows",
        errors=[Mistake(f"rows[{made.rows[i]}]", "has no finite prediction", step) for i in wrong[:LIMIT].tolist()],
    )


def _all_finite(predictions: Floats) -> bool:
    """Whether all numbers are finite; for few of them without what numpy takes to begin."""
    if predictions.size <= _FEW:
        return all(map(math.isfinite, predictions.ravel().tolist()))
    return bool(np.isfinite(predictions).all())
