"""Limits on retrains: cooldown, budget, and a stop after rejections. The figures are those of `config.sections.retraining`.

All spans are of the model's own clock (`as_of`), so a replay is held back where the live loop was. What a person asks
for, and the first training, are not held back here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from trueup.config.durations import write_duration
from trueup.config.sections.retraining import RetrainConfig

Rule = Literal["running", "past", "future", "cooldown", "budget", "rejections", "same_data"]
AUTOMATIC = frozenset({"decayed", "stale", "shifted", "grown", "schedule"})  # reasons behind which no person stands
_FAILURES = frozenset({"rejected", "failed"})
CLEARED: Final = "cleared"  # the kind of a ledger entry by which a person forgets rejections
_FORGIVEN = frozenset({"promoted", "override", CLEARED})


@dataclass(frozen=True)
class Step:
    """An entry of the ledger, as far as it matters here."""

    kind: str
    as_of: datetime
    run_id: str | None = None  # of the training that it decided on
    judged_until: datetime | None = None  # end of the rows that judged it, or would have
    attempt: str | None = None  # digest of all that the training depended on


@dataclass(frozen=True)
class Refusal:
    """Why a retrain does not start: the rule, and the reason in words."""

    rule: Rule
    reason: str


def before_planning(
    steps: Sequence[Step], as_of: datetime, config: RetrainConfig, latest: datetime = datetime.max
) -> Refusal | None:
    """Look at what needs no training data: order, cooldown and budget. `steps` are in the order of the ledger.

    `latest` is the newest moment that there can be reason to ask about: were a later one let through, it would hold back
    all that come after it.

    >>> done = [Step("rejected", datetime(2013, 3, 1), run_id="a")]
    >>> before_planning(done, datetime(2013, 3, 1, 12), RetrainConfig()).rule
    'cooldown'
    """
    if as_of > latest:
        return Refusal(
            "future", f"asked as of {as_of:%Y-%m-%d %H:%M}, but nothing is known after {latest:%Y-%m-%d %H:%M}"
        )
    begun = starts(steps)
    if not begun:
        return None
    newest = max(begun)
    if as_of < newest:
        return Refusal("past", f"asked as of {as_of:%Y-%m-%d %H:%M}, but as of {newest:%Y-%m-%d %H:%M} it was decided")
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
    """Look at what the plan tells: rejections in a row, and whether just this was tried before."""
    streak = rejections(steps)
    judged = judged_until(steps)
    fresh = judged is None or matured_until - judged >= gate_window
    if streak >= config.max_rejections and not fresh:
        return Refusal(
            "rejections",
            f"{streak} challengers in a row failed (`retrain.max_rejections` is {config.max_rejections}); it goes on "
            f"after {write_duration(gate_window)} of labels that judged nobody, or after `trueup clear`",
        )
    if any(s.attempt == attempt for s in steps):
        return Refusal("same_data", "the same data, windows and config were tried before and decided")
    return None


def rejections(steps: Sequence[Step]) -> int:
    """Count the challengers that failed in a row, at the gates or before; a promotion that was rolled back is one.

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
    """The end of the newest rows that judged a challenger, or would have; None before the first."""
    return max((s.judged_until for s in steps if s.judged_until is not None), default=None)


def starts(steps: Sequence[Step]) -> list[datetime]:
    """When each training was started; one that was approved later, or put back in office, is still one start."""
    found: dict[str, datetime] = {}
    for step in steps:
        if step.run_id is not None:
            found.setdefault(step.run_id, step.as_of)
    return list(found.values())
