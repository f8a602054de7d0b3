"""Promotion rules, played on the losses of each model (`gate_records`). The library's own gates decide.

At the start of each period the recipe challenges the champion: it is walked forward through the rows since the
champion's training, in steps of half a period, and the library's gates judge the evidence. The promoted model is the
one fitted there on all known rows, which then serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.gate_records import ATTEMPTS, MAIN, PRIOR, SIMPLE, Record
from benchmarks.gate_streams import Floats
from trueup.config.sections.promotion import PromoteConfig
from trueup.config.sections.training import EvaluateConfig
from trueup.config.tasks import Task
from trueup.domain.judging.evidence import Evidence
from trueup.domain.judging.gates.baseline import Baseline
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, Case
from trueup.domain.judging.gates.doubt import contender
from trueup.domain.judging.gates.paired import Paired
from trueup.domain.types import Burden, Status

_BLOCK = timedelta(days=1)  # what a block is does not matter: only their order does
_EVALUATE = EvaluateConfig(block=_BLOCK)
_SHIPPED = PromoteConfig()
_NONE = pd.DataFrame()

Champion = tuple[str, int]  # role and grid position of its cut-off
Source = Callable[[int], Floats]  # cut-off -> loss sums (blocks,) of the challenger fitted there


@dataclass(frozen=True)
class Rule:
    """When a challenger is promoted. `gates`: as the library judges, with these settings; the others are for comparison.

    `before`: significantly not worse than the champion by .0015 of its loss and better by .003, significantly better
    than the prior and better than the simple model, each on the newest half period only.
    """

    name: str
    kind: Literal["gates", "always", "never", "before"] = "gates"
    paired: Paired = field(default_factory=lambda: Paired())
    folds: int = _SHIPPED.folds
    recency: float = _SHIPPED.recency
    record: bool = True
    burden: Burden = "routine"


@dataclass(frozen=True)
class Played:
    """The results of a rule on a record: which model served from each attempt on, and what it promoted and refused."""

    served: list[tuple[int, Champion]]
    promoted: list[tuple[int, Champion, Champion]]  # grid position, old and new
    refused: list[tuple[int, Champion]]


@dataclass
class Trial:
    """The attempts against one champion."""

    champion: Champion
    attempts: int = 0
    evidence: Evidence | None = None


def play(record: Record, rule: Rule) -> Played:
    """Let a rule decide at the start of each period."""
    trial, played = Trial((MAIN, record.first)), Played([], [], [])
    for now in range(record.first, record.end, 2):
        if now > record.first:
            if (role := _decide(record, rule, trial, now, lambda cut: record.of(MAIN, cut))) is not None:
                played.promoted.append((now, trial.champion, (role, now)))
                trial = Trial((role, now))
            elif rule.kind != "never":
                played.refused.append((now, trial.champion))
        played.served.append((now, trial.champion))
    return played


def successive(record: Record, rule: Rule, cut: int, challengers: Floats) -> list[bool]:
    """Whether each of ten challengers (10, blocks), tried one after the other, is promoted over the champion of a cut-off."""
    trial, promoted = Trial((MAIN, cut)), []
    for attempt in range(min(ATTEMPTS, (record.end - cut) // 2)):
        series = challengers[attempt]
        if np.isnan(series).all():
            return []
        role = _decide(record, rule, trial, cut + 2 * (attempt + 1), lambda _, series=series: series)
        promoted.append(role == MAIN)
    return promoted


def _decide(record: Record, rule: Rule, trial: Trial, now: int, source: Source) -> str | None:
    """The promoted role, or None."""
    if rule.kind in {"always", "never"}:
        return MAIN if rule.kind == "always" else None
    walked = _walk(record, rule, trial.champion, now, source)
    if walked is None:  # no label has come yet
        return None
    if rule.record and trial.evidence is not None:
        walked = walked.carrying(trial.evidence, str(trial.attempts))
    walked = walked.fading(rule.recency, int(record.at[now] - record.at[now - 1]) * _BLOCK)
    trial.attempts += 1
    case = _case(walked, rule, trial.attempts)
    trial.evidence = walked
    return _before(case) if rule.kind == "before" else _judged(case, rule, trial.champion)


def _judged(case: Case, rule: Rule, champion: Champion) -> str | None:
    role = contender(case)
    if (MAIN if role == CHALLENGER else role) != champion[0]:  # another family
        case = replace(case, burden="change")
    if role != CHALLENGER:
        case = replace(case, walked=case.evidence.standing_in(role, CHALLENGER), contender=role)
    gates = (rule.paired, Baseline())
    if any(gate.judge(case).status is not Status.PASS for gate in gates):
        return None
    return MAIN if role == CHALLENGER else role


def _before(case: Case) -> str | None:
    ours, prior, simple = (case.weigh(CHALLENGER, role) for role in (CHAMPION, PRIOR, SIMPLE))
    loss = case.evidence.mean(CHAMPION)
    better = ours.mean <= -0.003 * loss and ours.high < 0.0015 * loss
    return MAIN if ours.enough and better and prior.high < 0 and simple.mean < 0 else None


def _walk(record: Record, rule: Rule, champion: Champion, now: int, source: Source) -> Evidence | None:
    """Gather the losses on the steps that a rule compares; each fit has learned rows that the champion had not."""
    role, cut_of = champion
    newest = int(record.at[now]) - record.delay
    number, losses = list[Floats](), list[list[Floats]]()
    lowest, folds = cut_of + (role == MAIN), 1 if rule.kind == "before" else rule.folds
    for cut in range(now - 1, lowest - 1, -1):
        begin, end = max(int(record.at[cut]), int(record.seen[cut_of])), min(int(record.at[cut + 1]), newest)
        if end <= begin:
            continue
        span = slice(begin, end)
        roles = (source(cut), record.of(role, cut_of), record.of(PRIOR, cut), record.of(SIMPLE, cut))
        losses.insert(0, [values[span] for values in roles])
        number.insert(0, np.arange(begin, end))
        if len(number) == folds:
            break
    if not number:
        return None
    numbers = np.concatenate(number)
    rows, filled = record.rows[numbers], record.rows[numbers] > 0
    sums = [np.concatenate(of)[filled] for of in zip(*losses, strict=True)]
    named = dict(zip((CHALLENGER, CHAMPION, PRIOR, SIMPLE), sums, strict=True))
    return Evidence(_BLOCK, numbers[filled], rows[filled], named, np.ones(filled.sum()))


def _case(evidence: Evidence, rule: Rule, attempt: int) -> Case:
    """A case with this evidence."""
    nothing = np.zeros(1)
    predictions: dict[str, Any] = dict.fromkeys((CHALLENGER, CHAMPION, PRIOR, SIMPLE), nothing)
    return Case(
        Task.REGRESSION, nothing, np.zeros(1, dtype="datetime64[us]"), predictions, {}, {}, _EVALUATE, _NONE, _NONE,
        walked=evidence, burden=rule.burden, attempt=attempt,
    )  # fmt: skip
