"""Who deserves the benefit of doubt: a champion does not that is worse than a constant or than a simple model.

What keeps a champion when nothing can be shown is that it was shown to be good once. Where a model that knows nothing of
a row, or a linear one, does better on the rows that came since, that has ended: the best of challenger, simple model and
prior takes over, through all other gates. The level is low on purpose, for a mistake costs a change of version, and the
evidence that decides afterwards is the same.
"""

from __future__ import annotations

from trueup.domain.gates.case import CHALLENGER, CHAMPION, PRIOR, SIMPLE, Case
from trueup.domain.metrics import figure, loss_words

LEVEL = 0.2  # one-sided

_NAMES = {PRIOR: "a constant", SIMPLE: "the simple model"}


def shown_worse(case: Case, role: str, other: str) -> bool:
    """Whether a role's mean loss is above another's, one-sided at `LEVEL`, over enough blocks to tell."""
    if role not in case.evidence.losses or other not in case.evidence.losses:
        return False
    difference = case.weigh(role, other)
    return difference.enough and difference.lower(LEVEL) > 0


def no_benefit(case: Case) -> str:
    """Why the champion has no benefit of doubt, in words; empty where it has, or where there is none."""
    if not case.has_champion:
        return ""
    better = [role for role in (PRIOR, SIMPLE) if shown_worse(case, CHAMPION, role)]
    if not better:
        return ""
    words = loss_words(case.task)
    named = " and ".join(f"that of {_NAMES[role]}, {figure(case.evidence.mean(role))}" for role in better)
    return (
        f"the champion's {words}, {figure(case.evidence.mean(CHAMPION))}, is above {named} (one-sided {1 - LEVEL:.0%})"
    )


def contender(case: Case) -> str:
    """Which model is judged in the challenger's place: the challenger, or a simple model or the prior that does better.

    Where a champion deserves the benefit of doubt the simple model takes the challenger's place only when it is shown to
    be better; where it does not, and where there is no champion, the lowest mean loss decides. The prior is judged only
    against a champion that is worse than it: a first champion has to know something of a row.
    """
    means = {role: case.evidence.mean(role) for role in (CHALLENGER, SIMPLE, PRIOR) if role in case.evidence.losses}
    if no_benefit(case):
        return min(means, key=lambda role: means[role])
    if SIMPLE not in means or means[SIMPLE] >= means[CHALLENGER]:
        return CHALLENGER
    return SIMPLE if not case.has_champion or shown_worse(case, CHALLENGER, SIMPLE) else CHALLENGER
