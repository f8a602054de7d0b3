"""What a model depends on outside of it: the packages that run it, and the columns of its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NAMED: Final = 5  # changes of a kind that are named


@dataclass(frozen=True)
class Dependencies:
    """Versions of installed packages by name, and types of the source's columns; a column that no config uses has none."""

    packages: dict[str, str]
    columns: dict[str, str]


def changes(before: Dependencies, now: Dependencies) -> list[str]:
    """The differences in words, one sentence for the packages and one for the columns; none without any.

    >>> changes(Dependencies({"numpy": "2.4.0"}, {"x": "double"}), Dependencies({"numpy": "2.4.1"}, {"x": "double", "y": ""}))
    ['packages: numpy 2.4.0 is now 2.4.1', 'columns of the source: y is new']
    """
    parts = {
        "packages": _differences(before.packages, now.packages),
        "columns of the source": _differences(before.columns, now.columns),
    }
    return [f"{name}: {_shortened(words)}" for name, words in parts.items() if words]


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    new = [f"{name} {now[name]} is new".replace("  ", " ") for name in sorted({*now} - {*before})]
    gone = [f"{name} is gone" for name in sorted({*before} - {*now})]
    other = [
        f"{name} {before[name]} is now {now[name]}"
        for name in sorted({*now} & {*before})
        if _differ(before[name], now[name])
    ]
    return [*other, *new, *gone]


def _differ(before: str, now: str) -> bool:
    """Whether two versions or types differ; that of an unused column is not known."""
    return before != now and bool(before) and bool(now)


def _shortened(words: list[str]) -> str:
    more = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f", and {more} more" if more > 0 else "")
