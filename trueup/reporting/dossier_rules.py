"""What each check asks, in a sentence with the figures of the one that was made: why a green word is green."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from trueup.domain.judging.metrics import figure, shortfall

Figures = Mapping[str, Any]


def rule(verdict: Mapping[str, Any]) -> str:
    """The sentence for a verdict; empty for a check that says it itself, or that was not made for want of something."""
    word = verdict["check"].split()[0]
    said = _RULES.get(word)
    try:
        return said(verdict["figures"]) if said else ""
    except (KeyError, TypeError):  # it ended before it had all of its figures
        return ""


def _paired(f: Figures) -> str:
    better = "lower" if shortfall(f["loss"], 0.0) == 0 else "higher"
    asked = (
        f"Passes when it is {better} by at least {figure(f['min_gain'], 3)}, and {better} at all with "
        f"{1 - f['level']:.3g} confidence (attempt {f['attempt']} against this champion)."
    )
    if f["margin"] is not None:
        asked += f" After a change it must not be worse by {figure(f['margin'], 3)}, with the whole interval."
    if f["low"] is not None and f["high"] is not None and f["low"] <= 0 <= f["high"]:
        asked += " The interval holds 0, so that it is better is likely, and not shown."
    return asked


def _fairness(f: Figures) -> str:
    if f["against"] == "champion":
        return f"Passes when no gap between two groups has grown, against the champion's, by more than {figure(f['margin'], 3)}."
    return f"Passes when no gap between two groups is wider than {figure(f['margin'], 3)}."


def _calibration(f: Figures) -> str:
    what = "the error is above the champion's by at most" if "difference" in f else "the error is at most"
    corrected = "; the error is corrected for its upward bias, and so smaller than that of the table of metrics"
    return f"Passes when {what} {figure(f['margin'], 3)}, with its whole interval{corrected if f['metric'] == 'ece' else ''}."


_RULES: Final[Mapping[str, Callable[[Figures], str]]] = {
    "paired": _paired,
    "baseline": lambda _: (
        "A first champion passes when its mean loss is below each of theirs, and below the prior's with 90 % confidence; a "
        "later one when it is not shown to be worse than either."
    ),
    "slices": lambda _: (
        "Passes when for no slice it is shown, taking account of how many there are, that it loses more than the champion "
        "beyond the margin."
    ),
    "fairness": _fairness,
    "calibration": _calibration,
    "refit": lambda f: (
        f"Passes when they moved by at most {100 * f['limit']:.0f} %: what was judged and what serves must be much the same."
    ),
}
