"""Shows the progress of a fleet on stderr, and its summary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rich.progress
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from trueup.cli import output
from trueup.orchestration.fleet.progress import Progress
from trueup.orchestration.fleet.results import MONITORED, NOTHING_NEW, Fleet, Turned

_QUIET = {NOTHING_NEW, MONITORED}  # outcomes that the summary only counts


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on a terminal, else one line for each model."""
    if not output.err.is_terminal:
        yield Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with rich.progress.Progress(*columns, console=output.err, transient=True) as bar:
        yield Bar(bar)


class Lines(Progress):
    """Prints one line for each model that has ended."""

    def __init__(self) -> None:
        self._ended = self._models = 0

    def begins(self, models: int) -> None:
        self._models = models

    def ended(self, turn: Turned) -> None:
        self._ended += 1
        line = f"{self._ended} of {self._models}: {turn.model} {turn.outcome} ({turn.seconds:.1f} s)"
        output.err.print(line, highlight=False, markup=False, soft_wrap=True)

    def stops(self) -> None:
        output.err.print(_STOPS, highlight=False)


class Bar(Progress):
    """Moves a bar."""

    def __init__(self, bar: rich.progress.Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("models", total=None)

    def begins(self, models: int) -> None:
        self._bar.update(self._task, total=models)

    def ended(self, turn: Turned) -> None:
        self._bar.update(self._task, advance=1, description=f"{turn.model} {turn.outcome}")

    def stops(self) -> None:
        self._bar.console.print(_STOPS, highlight=False)


_STOPS = "interrupted: the current models end, no further one begins; Ctrl-C again ends at once"


def summary(done: Fleet) -> None:
    """Print the counts, and each model with a decision or a problem."""
    shown = [turn for turn in done.models if turn.outcome not in _QUIET]
    if shown:
        rows = [
            [turn.model, output.word(turn.outcome), f"{turn.seconds:.1f}", escape(_first_line(turn.message))]
            for turn in shown
        ]
        output.out.print(output.table(["model", "outcome", "seconds", "why"], rows, figures=["seconds"]))
    counted = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in done.counts.items())
    output.say(f"{len(done.models)} models in {done.seconds:.1f} s: {counted or 'none'}")


def _first_line(text: str) -> str:
    """A message in one line."""
    return " ".join(text.split())
