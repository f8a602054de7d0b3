"""A fleet on a Prefect server: each model's turn is a flow run of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import cloudpickle
from prefect import State, get_run_logger
from prefect.context import hydrated_context, serialize_context
from prefect.states import Completed

from trueup.errors import Busy, TrueupError
from trueup.home import Home
from trueup.loop.turn import Steps
from trueup.orchestration.context import opened
from trueup.orchestration.fleet.here import collect
from trueup.orchestration.fleet.limits import slot_of
from trueup.orchestration.fleet.one_model import Orders, Show, turn, unexpected
from trueup.orchestration.fleet.progress import Progress
from trueup.orchestration.fleet.results import BUSY, Fleet, Turned
from trueup.orchestration.fleet.selection import choose
from trueup.orchestration.fleet.urgency import by_urgency
from trueup.orchestration.fleet.workers import in_workers

One = Callable[[str, Orders], State[Any]]


class Logged(Progress):
    """Logs the progress in the flow run."""

    def ended(self, turn: Turned) -> None:
        get_run_logger().info("%s: %s %s", turn.model, turn.outcome, turn.message)


def fleet_of_flows(home: Home, orders: Orders, tags: Sequence[str], workers: int, one: One) -> Fleet:
    """Call `one`, which runs a flow and returns its state, for each model with any of the tags, the most urgent first.

    It must be picklable. With several workers the flow runs are in processes of their own, and are
    still children of this flow run. Raises UsageError as `choose` does.
    """
    ordered = by_urgency(home, choose(home.configs, tags), orders.as_of)

    def turns(names: list[str], stop: threading.Event) -> Iterator[Turned]:
        if workers > 1:
            # The context has the flow, which only cloudpickle can send.
            work = cloudpickle.dumps((orders, one, serialize_context()))
            return in_workers(names, partial(_in_worker, work=work), workers, stop)
        return (_flow_run(name, orders, one) for name in names if not stop.is_set())

    return collect(home, ordered, turns, Logged())


def turn_in_flow(model: str, orders: Orders, stages: Callable[[], tuple[Steps, Show]]) -> Turned | State[Any]:
    """The body of a model's flow run: its turn, or the state `Busy` if the model's deployment or another run has it.

    `stages` imports the project's tasks, once its folder is on the path.
    """
    begun = time.monotonic()
    with slot_of(f"run/{model}") as free:
        if not free:
            return Completed(name="Busy", message=f"{model}: another run of the deployment run/{model} is at work")
        try:
            with opened(model, orders.as_of) as o:
                do, show = stages()
                return turn(do, o, orders.retrain, begun, show)
        except Busy as busy:
            return Completed(name="Busy", message=str(busy))


def _in_worker(name: str, work: bytes) -> Turned:
    orders, one, context = cloudpickle.loads(work)
    with hydrated_context(context):
        return _flow_run(name, orders, one)


def _flow_run(name: str, orders: Orders, one: One) -> Turned:
    """Run the flow for one model. Its errors are in the result."""
    begun = time.monotonic()
    state = one(name, orders)
    seconds = time.monotonic() - begun
    if state.name == "Busy":
        return Turned(name, BUSY, seconds, state.message or "")
    result = state.result(raise_on_failure=False)
    if isinstance(result, Turned):
        return result
    error = result if isinstance(result, Exception) else RuntimeError(state.message or str(state.name))
    return Turned.failed(name, error if isinstance(error, TrueupError) else unexpected(error), seconds)
