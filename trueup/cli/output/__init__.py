"""Prints results on a terminal, and as JSON."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from trueup.errors import TrueupError

_ANSWERED: list[bool] = []
_FIRST_LINE, _BETWEEN_LINES = 30.0, 60.0  # seconds
out = Console(soft_wrap=False)
err = Console(stderr=True)

_COLOURS = {
    **dict.fromkeys(("promoted", "override", "healthy", "pass", "rollout_advanced", "rollout_resumed"), "green"),
    **dict.fromkeys(("rejected", "failed", "rolled_back", "decayed", "data_broken", "fail"), "red"),
    "beats the prior": "green",
    "worse": "red",
    **dict.fromkeys(
        (
            "not shown",
            "held",
            "refused",
            "pending",
            "rollout",
            "rollout_paused",
            "stale",
            "unusual",
            "skewed",
            "estimated_decay",
            "shifted",
            "unknown",
            "inconclusive",
        ),
        "yellow",
    ),
}


_JSON: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_timedelta="float", ser_json_inf_nan="null"))


def plain(value: Any) -> Any:
    """JSON values: NaN becomes null, a span its seconds. Raises ValueError for anything else."""
    return _JSON.dump_python(value, mode="json", by_alias=True, exclude_unset=True, fallback=lambda other: other.item())


def emit(as_json: bool, result: Any, show: Callable[[], None]) -> None:
    """Print a result: as one line of JSON, or as text."""
    if not as_json:
        return show()
    _ANSWERED.append(True)
    sys.stdout.write(json.dumps(plain(result), allow_nan=False) + "\n")


def begin() -> None:
    """Mark the begin of a command without output."""
    _ANSWERED.clear()


def answered() -> bool:
    """Whether the JSON result was printed, even if the run ended with an error later."""
    return bool(_ANSWERED)


def error(problem: TrueupError) -> None:
    """Print an error on stderr."""
    # Arguments may contain invalid text, which a console that cannot write it keeps for its next line.
    text = str(problem).encode("utf-8", "backslashreplace").decode()
    err.print(f"[bold red]trueup:[/] {escape(text)}", highlight=False, soft_wrap=True)


def word(text: str) -> str:
    """A status word in its colour."""
    return f"[{_COLOURS[text]}]{text}[/]" if text in _COLOURS else text


def about(seconds: float) -> str:
    """An estimated span of time, rounded.

    >>> about(38), about(130), about(0.4), about(7_000)
    ('about 40 s', 'about 2 min', 'about 1 s', 'about 2 h')
    """
    if seconds < 90:
        step = 5 if seconds >= 10 else 1
        return f"about {max(step * round(seconds / step), 1)} s"
    return f"about {round(seconds / 60)} min" if seconds < 5_400 else f"about {round(seconds / 3_600)} h"


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], figures: Sequence[str] = ()) -> Table:
    """A table; the columns in `figures` are right-aligned."""
    grid = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for name in columns:
        grid.add_column(
            name, justify="right" if name in figures else "left", no_wrap=name in figures, min_width=len(name)
        )
    for row in rows:
        grid.add_row(*row)
    return grid


def say(text: str) -> None:
    """Print a line without wrapping."""
    out.print(text, highlight=False, soft_wrap=True)


def then(command: str) -> None:
    """Print the next command."""
    say(f"next: {command}")


def lines(reasons: Sequence[str]) -> None:
    """Print remarks, each on an indented line."""
    for reason in reasons:
        say(f"    {escape(reason)}")


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr with the remaining time; without a terminal, a line now and then."""
    if not err.is_terminal:
        yield _now_and_then(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _now_and_then(what: str) -> Callable[[float], None]:
    """Log the progress on stderr: first after half a minute, then at most once a minute."""
    began = time.monotonic()
    due = [began + _FIRST_LINE]

    def report(share: float) -> None:
        now = time.monotonic()
        if now >= due[0]:
            due[0] = now + _BETWEEN_LINES
            left = f", {about((now - began) * (1 - share) / share)} left" if share > 0 else ""
            err.print(f"{what}: {share:.0%} after {about(now - began)}{left}", highlight=False, soft_wrap=True)

    return report
