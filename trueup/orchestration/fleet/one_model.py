"""One model's turn in a fleet. An error ends this turn only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from trueup.config.schema import ModelConfig
from trueup.domain.types import Actor, Retrain
from trueup.errors import TrueupError, WorkError
from trueup.handoffs import Decided
from trueup.home import Home
from trueup.loop.retrying import Retrying
from trueup.loop.turn import Steps, cycle
from trueup.model import Model
from trueup.orchestration.context import Opened, opened_in
from trueup.orchestration.fleet.results import Turned
from trueup.orchestration.hooks import notify_people

Explain = Callable[[Exception], TrueupError]
Show = Callable[[Model, Decided], None]
_WORK = frozenset({"validate", "score", "monitor"})  # a turn without these found nothing new


@dataclass(frozen=True)
class Orders:
    """What each model of a fleet is to do. It can be sent to another process."""

    as_of: datetime | None = None
    retrain: Retrain = "inline"


def unexpected(error: Exception) -> TrueupError:
    """An error that nobody foresaw, in one line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return WorkError(f"{type(error).__name__}: {first}" if first else type(error).__name__)


class Watched:
    """Steps of the loop that remember whether there was work."""

    def __init__(self, do: Any) -> None:
        self._do = do
        self.worked = False

    def __getattr__(self, name: str) -> Any:
        self.worked = self.worked or name in _WORK
        return getattr(self._do, name)


def turn(do: Steps, o: Opened, retrain: Retrain, begun: float, show: Show | None = None) -> Turned:
    """Turn the loop of an opened model once, and `show` its decision. Raises Busy while another run of it is at work.

    `begun` is a moment of the monotonic clock.
    """
    watched = Watched(do)
    done = cycle(watched, o.model, o.as_of, retrain, wait=False)
    if show is not None:
        show(o.model, done.decided)
    return Turned.of(done, watched.worked, time.monotonic() - begun)


def turned(
    home: Home, name: str, orders: Orders, explain: Explain = unexpected, config: ModelConfig | None = None
) -> Turned:
    """Turn the loop of a model once, in a home that stays open. Errors are in the result, and people are notified.

    `config` is the model's, if it was read before: that takes as long as a turn without news.
    """
    begun = time.monotonic()
    try:
        with opened_in(home, name, orders.as_of, config) as o:
            return turn(Retrying(), o, orders.retrain, begun)
    except Exception as error:
        told = error if isinstance(error, TrueupError) else explain(error)
        end = Turned.failed(name, told, time.monotonic() - begun)
        if end.exit_code:
            notify_people(f"run {name} failed", end.message)
        return end
    finally:
        home.forget()


@lru_cache(maxsize=1)
def _home() -> Home:
    """The home of a worker process, open to its end."""
    return Home()


def turned_in_worker(name: str, orders: Orders, actor: Actor, explain: Explain) -> Turned:
    """Turn the loop of a model in the home of a worker process."""
    _home().actor = actor
    return turned(_home(), name, orders, explain)
