"""A fleet without a Prefect server: chooses and orders the models, and turns the loop of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from trueup.errors import TrueupError
from trueup.home import Home
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.context import sound_config
from trueup.orchestration.fleet.interrupt import stopping
from trueup.orchestration.fleet.one_model import Explain, Orders, turned, turned_in_worker, unexpected
from trueup.orchestration.fleet.progress import Progress
from trueup.orchestration.fleet.results import NOT_RUN, Fleet, Turned
from trueup.orchestration.fleet.selection import Chosen, choose
from trueup.orchestration.fleet.urgency import by_urgency
from trueup.orchestration.fleet.workers import in_workers


def run_fleet(
    orders: Orders,
    tags: Sequence[str] = (),
    workers: int = 1,
    progress: Progress | None = None,
    explain: Explain = unexpected,
) -> Fleet:
    """Turn the loop of every model with any of the tags once, the most urgent first.

    One failing model stops no other. The first Ctrl-C lets the current models end; the others are `not_run`. Raises
    UsageError as `choose` does.
    """
    home = Home()
    home.actor = of_this_run()
    try:
        ordered = by_urgency(home, choose(home.configs, tags), orders.as_of)
        configs = {chosen.name: chosen.config for chosen in ordered}

        def turns(names: list[str], stop: threading.Event) -> Iterator[Turned]:
            if workers > 1:
                turn = partial(turned_in_worker, orders=orders, actor=home.actor, explain=explain)
                return in_workers(names, turn, workers, stop)
            return (turned(home, n, orders, explain, configs[n]) for n in names if not stop.is_set())

        return collect(home, ordered, turns, progress or Progress())
    finally:
        home.close()


def collect(
    home: Home,
    ordered: Sequence[Chosen],
    turns: Callable[[list[str], threading.Event], Iterable[Turned]],
    progress: Progress,
) -> Fleet:
    """Run `turns` with the names of the models and an event that stops it, and summarise their results in order."""
    begun, ends = time.monotonic(), dict[str, Turned]()

    def end(turn: Turned) -> None:
        ends[turn.model] = turn
        progress.ended(turn)

    progress.begins(len(ordered))
    for chosen in ordered:
        if chosen.error is not None:
            end(Turned.failed(chosen.name, _with_all_mistakes(home, chosen, chosen.error)))
    with stopping(progress.stops) as stop:
        for turn in turns([chosen.name for chosen in ordered if chosen.error is None], stop):
            end(turn)
    listed = [ends.get(chosen.name, Turned(chosen.name, NOT_RUN, exit_code=1)) for chosen in ordered]
    return Fleet.of(listed, time.monotonic() - begun)


def _with_all_mistakes(home: Home, chosen: Chosen, error: TrueupError) -> TrueupError:
    """The error of a config with the mistakes that only libraries know."""
    try:
        sound_config(home.configs, chosen.name)
    except TrueupError as whole:
        return whole
    return error
