"""Suggestions for mistyped names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Final

_LONGEST: Final = 200  # characters of a name that somebody may have mistyped; longer ones take long to compare


def did_you_mean(
    name: str, names: Iterable[str], otherwise: str = "", shown: Callable[[str], str] = str, cutoff: float = 0.6
) -> str:
    """Name the known name that is closest, as `shown` writes it; `otherwise` if no name is close.

    >>> did_you_mean("margn", ["margin", "metric"], "it has margin, metric")
    'did you mean margin?'
    """
    close = get_close_matches(name, list(names), 1, cutoff) if len(name) <= _LONGEST else []
    return f"did you mean {shown(close[0])}?" if close else otherwise
