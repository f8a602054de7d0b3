"""Follows a turn of the loop: one wrapper around its stages tells every listener what begins and how it ends.

Seconds by stage, lineage events and traces are listeners. None of them changes or ends a run.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from trueup.domain.types import Batch
from trueup.errors import NotEnoughData
from trueup.handoffs import Attempt, Checked
from trueup.model import Model
from trueup.secrecy import masked

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """A turn of the loop, or a retrain, scoring or monitoring by itself, for a model at `as_of`."""

    model: Model
    what: str
    as_of: datetime


@dataclass(frozen=True)
class Call:
    """A call of a stage. `about` says for what: a batch, or a moment; `repeated` counts the same calls before it."""

    stage: str
    args: tuple[Any, ...]  # without the model
    about: str
    as_of: datetime | None
    batch: Batch | None
    repeated: int
    began: datetime  # wall clock, with offset


@dataclass(frozen=True)
class Ending:
    """The end of a turn or a call: its result or its error. Too little data is no error, and gives no result.

    The error's text has its secrets masked; `aborted` means that the process was told to end.
    """

    at: datetime  # wall clock, with offset
    seconds: float
    result: Any = None
    error: str = ""
    aborted: bool = False


class Listener(Protocol):
    """Hears of a turn. What a listener raises is logged, and ends nothing."""

    def opened(self, turn: Turn) -> None: ...
    def began(self, call: Call) -> None: ...
    def ended(self, call: Call, ending: Ending) -> None: ...
    def closed(self, ending: Ending) -> None: ...


class Followed:
    """The steps of the loop with listeners: each hears of a stage once, whatever retries are within it."""

    def __init__(self, do: Any, model: Model, listeners: Sequence[Listener]) -> None:
        self._do, self._model, self._listeners = do, model, listeners
        self._calls = Counter[tuple[str, str]]()
        self.seconds = dict[str, float]()  # wall seconds by stage
        self.result: Any = None  # of the turn, once it has one

    def __getattr__(self, name: str) -> Any:
        return partial(self._follow, name, getattr(self._do, name))

    def tell(self, what: str, *values: Any) -> None:
        """Let every listener hear of something."""
        for listener in self._listeners:
            try:
                getattr(listener, what)(*values)
            except Exception as problem:  # what is told of a run is not worth the run
                log.warning("%s: %s of %s: %s", type(listener).__name__, what, self._model.config.model, problem)

    def _follow(self, name: str, stage: Callable[..., Any], *args: Any) -> Any:
        call = self._call(name, args[1:])
        self.tell("began", call)
        with _ending(lambda ending: self._ended(call, ending)) as results:
            results.append(stage(*args))
        return results[0]

    def _call(self, name: str, args: tuple[Any, ...]) -> Call:
        about, as_of, batch = _about(args)
        self._calls[name, about] += 1
        return Call(name, args, about, as_of, batch, self._calls[name, about] - 1, datetime.now(UTC))

    def _ended(self, call: Call, ending: Ending) -> None:
        self.seconds[call.stage] = self.seconds.get(call.stage, 0.0) + ending.seconds
        self.tell("ended", call, ending)


@contextmanager
def following(
    do: Any, model: Model, what: str, as_of: datetime, listeners: Callable[[Model], Sequence[Listener]]
) -> Iterator[Any]:
    """Follow a turn: yield its steps with the listeners. Within another turn these are that turn's steps."""
    if isinstance(do, Followed):
        yield do
        return
    followed = Followed(do, model, listeners(model))
    followed.tell("opened", Turn(model, what, as_of))
    with _ending(lambda ending: followed.tell("closed", ending)) as results:
        yield followed
        results.append(followed.result)


def concluded(do: Any, result: T) -> T:
    """Note the result of a turn for the listeners, and return it."""
    if isinstance(do, Followed):
        do.result = result
    return result


def seconds_of(do: Any) -> dict[str, float]:
    """Wall seconds of each stage so far, to the millisecond; none for steps that are not followed."""
    return {name: round(spent, 3) for name, spent in do.seconds.items()} if isinstance(do, Followed) else {}


@contextmanager
def _ending(tell: Callable[[Ending], None]) -> Iterator[list[Any]]:
    """Tell how the block ends; it appends its result to the list. What it raises stays as it is."""
    begun, results = time.monotonic(), list[Any]()

    def ending(**how: Any) -> Ending:
        return Ending(datetime.now(UTC), time.monotonic() - begun, **how)

    try:
        yield results
    except NotEnoughData:  # no error: the stage found too little data
        tell(ending())
        raise
    except BaseException as error:
        words = masked(str(error)) or type(error).__name__
        tell(ending(error=words, aborted=not isinstance(error, Exception)))
        raise
    tell(ending(result=results[0]))


def _about(args: tuple[Any, ...]) -> tuple[str, datetime | None, Batch | None]:
    """What a stage is run for, in words, its `as_of` and its batch, as far as it has them."""
    moments = [a if isinstance(a, datetime) else a.as_of for a in args if isinstance(a, datetime | Attempt)]
    as_of = moments[-1] if moments else None
    for part in args:
        batch = part.batch if isinstance(part, Checked) else part
        if isinstance(batch, Batch):
            return f"{batch.window} r{batch.rows.revision}", as_of, batch
    runs = [found for part in args if isinstance(found := getattr(part, "run_id", None), str)]
    return " ".join([*runs, *([as_of.isoformat()] if as_of is not None else [])]), as_of, None
