"""Limits on retrains: cooldown, budget, and a stop after rejections. The figures are in `config.sections.retraining`.

All spans are in the model's own clock (`as_of`), so a replay has the same limits as the live loop. A retrain that a
person starts, and the first training, are not limited here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from trueup.config.durations import write_duration
from trueup.config.sections.retraining import RetrainConfig

Rule = Literal["running", "rollout", "past", "future", "cooldown", "budget", "rejections", "same_data"]
AUTOMATIC = frozenset({"decayed", "stale", "shifted", "grown", "schedule"})  # reasons without a person
_FAILURES = frozenset({"rejected", "failed"})
CLEARED: Final = "cleared"  # the kind of ledger entry with which a person clears rejections
_FORGIVEN = frozenset({"promoted", "override", CLEARED})


@dataclass(frozen=True)
class Step:
    """The relevant parts of a ledger entry."""

    kind: str
    as_of: datetime
    run_id: str | None = None  # of the training it decided on
    judged_until: datetime | None = None  # end of the rows that judged it, or would have judged it
    attempt: str | None = None  # digest of everything that the training depended on


@dataclass(frozen=True)
class Refusal:
    """The rule that stops a retrain, and the reason in words."""

    rule: Rule
    reason: str


def before_planning(
    steps: Sequence[Step], as_of: datetime, config: RetrainConfig, latest: datetime = datetime.max
) -> Refusal | None:
    """Check what needs no training data: order, cooldown and budget. `steps` are in the order of the ledger.

    `latest` is the newest moment for which a retrain can have a reason: a later one would block all that come after it.

    >>> done = [Step("rejected", datetime(2013, 3, 1), run_id="a")]
    >>> before_planning(done, datetime(2013, 3, 1, 12), RetrainConfig()).rule
    'cooldown'
    """
    if as_of > latest:
        return Refusal("future", f"as_of {as_of:%Y-%m-%d %H:%M} is after the newest data ({latest:%Y-%m-%d %H:%M})")
    begun = starts(steps)
    if not begun:
        return None
    newest = max(begun)
    if as_of < newest:
        return Refusal("past", f"as_of {as_of:%Y-%m-%d %H:%M} is before the last retrain ({newest:%Y-%m-%d %H:%M})")
    if as_of - newest < config.cooldown:
        return Refusal(
            "cooldown",
            f"the last retrain was as of {newest:%Y-%m-%d %H:%M}, less than `retrain.cooldown` "
            f"({write_duration(config.cooldown)}) ago",
        )
    budget = config.budget
    if len(recent := [s for s in begun if s > as_of - budget.per]) >= budget.starts:
        return Refusal(
            "budget",
            f"{len(recent)} retrains in the last {write_duration(budget.per)}, `retrain.budget` allows {budget.starts}",
        )
    return None


def before_training(
    steps: Sequence[Step], matured_until: datetime, attempt: str, gate_window: timedelta, config: RetrainConfig
) -> Refusal | None:
    """Check what the plan determines: rejections in a row, and whether the same training was tried before."""
    streak = rejections(steps)
    judged = judged_until(steps)
    fresh = judged is None or matured_until - judged >= gate_window
    if streak >= config.max_rejections and not fresh:
        return Refusal(
            "rejections",
            f"{streak} challengers in a row failed (`retrain.max_rejections` is {config.max_rejections}); retrains continue "
            f"after {write_duration(gate_window)} of labels that judged no model, or after `trueup clear`",
        )
    if any(s.attempt == attempt for s in steps):
        return Refusal("same_data", "already tried with identical data, windows and config")
    return None


def rejections(steps: Sequence[Step]) -> int:
    """Count the challengers that failed in a row, at the gates or before, including promotions that were rolled back.

    >>> day = datetime(2013, 3, 1)
    >>> rejections([Step(kind, day) for kind in ("rejected", "promoted", "rolled_back", "rejected")])
    3
    """
    streak = before = 0
    for step in steps:
        if step.kind in _FAILURES:
            streak += 1
        elif step.kind == "rolled_back":
            streak = before + streak + 1
            before = 0
        elif step.kind in _FORGIVEN:
            before = streak if step.kind == "promoted" else 0
            streak = 0
    return streak


def judged_until(steps: Sequence[Step]) -> datetime | None:
    """The end of the newest rows that judged a challenger, or would have judged it; None before the first."""
    return max((s.judged_until for s in steps if s.judged_until is not None), default=None)


def starts(steps: Sequence[Step]) -> list[datetime]:
    """The start of each training; one that was approved later, or promoted again, is still one start."""
    first: dict[str, datetime] = {}
    for step in steps:
        if step.run_id is not None:
            first.setdefault(step.run_id, step.as_of)
    return list(first.values())
