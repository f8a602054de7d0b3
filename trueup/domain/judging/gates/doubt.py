"""Determines when a champion loses the benefit of doubt, and which model then replaces the challenger.

A champion stays if nothing is shown, because it was better once. This ends when a constant or a linear model does
better on the rows since then: the best of challenger, simple model and prior takes over, through all other gates. The
level is low (one-sided 80 %), since a mistake only changes the version, and the same evidence decides afterwards.
"""

from __future__ import annotations

from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, DOUBT, PRIOR, SIMPLE, Case
from trueup.domain.judging.metrics import figure, loss_words

_NAMES = {PRIOR: "a constant", SIMPLE: "the simple model"}


def doubt_words(case: Case) -> str:
    """Why the champion has no benefit of doubt; empty if it has, or without a champion."""
    if not case.doubted:
        return ""
    words = loss_words(case.task)
    named = " and ".join(f"that of {_NAMES[role]}, {figure(case.evidence.mean(role))}" for role in case.doubted)
    return (
        f"the champion's {words}, {figure(case.evidence.mean(CHAMPION))}, is above {named} (one-sided {1 - DOUBT:.0%})"
    )


def contender(case: Case) -> str:
    """Choose the model that is judged in the challenger's place: the challenger, the simple model, or the prior.

    If the champion has no benefit of doubt, the lowest mean loss decides. Without a champion the simple model replaces
    a challenger with a higher mean loss; against a champion it does so only if it is shown to be better. The prior is
    judged only against a champion without benefit of doubt: a first champion has to be better than a constant.
    """
    means = {role: case.evidence.mean(role) for role in (CHALLENGER, SIMPLE, PRIOR) if role in case.evidence.losses}
    if case.doubted:
        return min(means, key=lambda role: means[role])
    if SIMPLE not in means or means[SIMPLE] >= means[CHALLENGER]:
        return CHALLENGER
    return SIMPLE if not case.has_champion or case.shown_worse(CHALLENGER, SIMPLE) else CHALLENGER
