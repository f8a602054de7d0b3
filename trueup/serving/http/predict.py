"""Predicts the rows of requests for one model: encoded, answered, and logged before the answer goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs

from trueup.serving.encoding.encoder import Encoded
from trueup.serving.http.answers import answer_of, written
from trueup.serving.http.once import Counted, Once, request_digest
from trueup.serving.http.problems import Problem, retry_after
from trueup.serving.http.records import Context, ModelLog, Predicted, records_of
from trueup.serving.http.rollout import Request, Rollout, failed, part_of, reason_of
from trueup.serving.http.rows import read_rows
from trueup.serving.http.together import (
    Then,
    Together,
    Waiting,
    Write,
    by_champion,
    context_of,
    encoded_by_champion,
)
from trueup.serving.loading.bundle import Bundle, Version
from trueup.serving.loading.served import Served
from trueup.serving.metrics import Counts, Metrics
from trueup.serving.rollout import Routing
from trueup.serving.tokens import Grant

_SOON: Final = retry_after(1)


class Asked(msgspec.Struct, frozen=True):
    """A request for predictions."""

    grant: Grant
    key: str | None = None  # the header Idempotency-Key
    history: bool = False  # also answer the history features
    test: bool = False  # never of record, whatever the token's scope: the page asks so
    derived: bool = False  # rows may have derived inputs, see `Encoder`

    @property
    def recorded(self) -> bool:
        """Whether its predictions count as those of their rows."""
        return self.grant.records and not self.test


class Answered(NamedTuple):
    """The content of an answer, what is to be done after it was sent, and whether it repeats an earlier one."""

    content: bytes
    then: Then
    again: bool = False


class Predictor:
    """Answers the requests for one model of this process."""

    def __init__(
        self, served: Served, metrics: Metrics, new_id: Callable[[], str], database: str, counted: Counted
    ) -> None:
        self.served = served
        self.log = ModelLog(served.name, served.folder, database)
        self.held = 0  # requests that are not answered yet
        self._metrics, self._new_id = metrics, new_id
        self._once, self._counted = Once(), counted
        self._rollout = Rollout(served.name, self.log)
        self._bound: tuple[Bundle, Counts] | None = None
        self._together = Together(served.name, self.log)

    def close(self) -> None:
        """Do what is left to do, and let go of the log."""
        self._rollout.end()
        self.log.close()

    def bundle(self) -> Bundle:
        """What answers now. Raises Problem if nothing is loaded."""
        if (bundle := self.served.current) is None:
            why = self.served.failure or "nothing is published for it yet"
            raise Problem(503, "not-ready", f"{self.served.name} cannot answer: {why}", headers=(_SOON,))
        return bundle

    async def predict(self, body: bytes, asked: Asked) -> Answered:
        """Answer the body of a request. Raises Problem."""
        bundle = self.bundle()
        rows, key = read_rows(body, bundle.state.serve.max_rows)
        return await self.predict_rows(bundle, rows, asked, asked.key or key, body, written)

    async def predict_rows(
        self,
        bundle: Bundle,
        rows: Sequence[dict[str, Any]],
        asked: Asked,
        key: str | None,
        body: bytes,
        write: Write,
    ) -> Answered:
        """Answer rows, as `write` has it; with an idempotency key once for each body. Raises Problem."""
        if key is None:
            context = self._context(bundle, rows, asked, None, None)
            return Answered(*await self._answer(bundle, rows, asked, context, write))
        later: list[Then] = []
        whole = body + bytes([asked.history, asked.test])
        context = self._context(bundle, rows, asked, key, request_digest(self.served.name, asked.grant.id, key, whole))

        async def make() -> bytes:
            content, then = await self._answer(bundle, rows, asked, context, write)
            later.append(then)
            return content

        content, again = await self._once.answer(asked.grant.id, key, whole, make)
        return Answered(content, later[0] if later else _nothing, again)

    def _context(
        self, bundle: Bundle, rows: Sequence[object], asked: Asked, key: str | None, digest: bytes | None
    ) -> Context:
        rollout = None if bundle.state.rollout is None else bundle.state.rollout.id
        return Context([self._new_id() for _ in rows], key, asked.recorded, rollout, digest)

    async def _answer(
        self, bundle: Bundle, rows: Sequence[dict[str, Any]], asked: Asked, context: Context, write: Write
    ) -> tuple[bytes, Then]:
        """Predict rows with a bundle, and log them: the answer, and what is to be done after it was sent."""
        if bundle.routing is not None and bundle.challenger is not None:
            return await self._by_rollout(bundle, bundle.routing, bundle.challenger, rows, asked, context, write)
        done: asyncio.Future[tuple[bytes, Then]] = asyncio.get_running_loop().create_future()
        counts = self._counts(bundle)
        self._together.answer(Waiting(bundle, counts, rows, context, asked.derived, asked.history, write, done))
        return await done

    async def _by_rollout(
        self,
        bundle: Bundle,
        routing: Routing,
        challenger: Version,
        rows: Sequence[dict[str, Any]],
        asked: Asked,
        context: Context,
        write: Write,
    ) -> tuple[bytes, Then]:
        """The same during a rollout: by the champion or by the challenger."""
        counts = self._counts(bundle)
        encoded = encoded_by_champion(bundle, rows, derived=asked.derived)
        request = Request(bundle, routing, challenger, rows, encoded, asked.derived, context, counts)
        made, more, then = await self._by_both(request)
        logged = await self._log([*made, *more], bundle, context)
        counts.inputs(encoded)
        return write(answer_of(self.served.name, made, context, logged=logged, history=asked.history)), then

    async def _by_both(self, request: Request) -> tuple[list[Predicted], list[Predicted], Then]:
        """Predictions of all rows, failed ones that are logged only, and what is to be done after the answer."""
        bundle, encoded, context, counts = request.bundle, request.encoded, request.context, request.counts
        split = self._rollout.split(request)
        made: list[Predicted] = []
        champion = canary = None
        if split.champion:
            rows = part_of(encoded, split.champion) if split.canary else encoded
            champion = await self._by_champion(bundle, rows, split.champion, context, counts)
            made.append(champion)
            counts.predicted(champion.version, "champion", len(split.champion))
        more: list[Predicted] = []
        if split.canary:
            canary = await self._rollout.by_canary(request, split.canary)
            if failed(canary):
                more.append(canary)
                counts.failed(canary.version, reason_of(canary), len(split.canary))
                counts.fell_back(reason_of(canary), len(split.canary))
                rows = part_of(encoded, split.canary)
                answered = await self._by_champion(bundle, rows, split.canary, context, counts)
                made.append(structs.replace(answered, fallback=True))
                counts.predicted(answered.version, "champion", len(split.canary))
            else:
                made.append(canary)
                counts.predicted(canary.version, "canary", len(split.canary))

        def then() -> None:
            bundle.drift.add(encoded.features)
            if context.digest is None or self._counted.first(context.digest):  # else another worker has counted it
                self._rollout.afterwards(request, split, champion, canary)

        return made, more, then

    async def _by_champion(
        self, bundle: Bundle, encoded: Encoded, rows: Sequence[int], context: Context, counts: Counts
    ) -> Predicted:
        """The champion's predictions, all finite. Raises Problem if they are not, and what the version raises."""
        made, failure = by_champion(bundle, encoded, rows, counts)
        if failure is not None:
            await self._log([made], bundle, context_of(made, failure, context))
            raise failure
        return made

    async def _log(self, parts: Sequence[Predicted], bundle: Bundle, context: Context) -> bool:
        state = bundle.state
        if state.serve.durability == "off":
            return False
        payloads = [payload for part in parts for payload in records_of(state.model, part, context)]
        logged = await self.log.write(payloads, state.serve, recorded=context.recorded)
        if not logged:
            self._counts(bundle).unlogged(len(payloads))
        return logged

    def _counts(self, bundle: Bundle) -> Counts:
        """The counters of a bundle; those of the newest one are kept."""
        if self._bound is None or self._bound[0] is not bundle:
            self.log.open(bundle.state.serve)
            self._bound = bundle, Counts(self._metrics, bundle)
        return self._bound[1]


def _nothing() -> None:
    """What is to be done after a repeated answer."""
