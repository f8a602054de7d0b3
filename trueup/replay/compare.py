"""Compares policies: losses on the same rows, costs, and the recommended policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from trueup.config.policies import block
from trueup.config.schema import ModelConfig
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Blocks, sums_interval
from trueup.domain.judging.metrics import loss_words
from trueup.domain.records import to_plain
from trueup.domain.retraining.frontier import Choice, Contest, choose, confirmed, dominated, split
from trueup.domain.types import EVENT_TIME, ROW_ID, Window
from trueup.errors import NotEnoughData
from trueup.replay import paired_policies, phrases
from trueup.replay.paired_policies import Plain, plain
from trueup.replay.policy_run import BATCH, LOSS, RIVAL, PolicyRun, Tried
from trueup.replay.yardsticks import WHAT


@dataclass(frozen=True)
class Compared:
    """The content of a replay's report as plain values, and the losses for its pictures."""

    facts: Plain
    by_batch: pd.DataFrame  # mean loss by batch and policy, and `oracle`


def compare(config: ModelConfig, span: Window, runs: Sequence[PolicyRun], known_then: bool = False) -> Compared:
    """Compare policies on the rows that all of them have scored. Raises NotEnoughData without such rows."""
    e = config.evaluate
    by_name = {run.policy.name: run for run in runs}
    rows = common_rows(config, runs)
    blocks = Blocks.of(rows[EVENT_TIME], e.block)
    costs = {name: round(sum(t.cost_s for t in _later(run)), 3) for name, run in by_name.items()}
    sums = {name: blocks.sums(rows[name]) for name in by_name}
    policies = [run.policy for run in runs]
    frozen = next((p.name for p in policies if p.frozen), None)
    contest = Contest(sums, blocks.sums(), costs, e.confidence, frozen)
    parts = split(blocks.count)
    choice = choose(contest.part(parts[0]) if parts else contest)
    if parts:
        choice = confirmed(choice, contest.part(parts[1]))
    by_batch = rows.groupby(BATCH, observed=True)[[*by_name, "oracle"]].mean()
    worse = dominated({name: contest.mean(name) for name in by_name}, costs)
    rows_of_policies = [_policy(run, contest, worse, rows) for run in runs]
    facts = {
        "model": config.model,
        "loss": loss_words(config.task, config.ingest.label.unit),
        "confidence": e.confidence,
        "span": to_plain(span),
        "known_then": known_then,
        "judged": {
            "rows": len(rows),
            "from": str(rows[EVENT_TIME].min()),
            "to": str(rows[EVENT_TIME].max()),
            "batches": len(by_batch),
        },
        "policies": rows_of_policies,
        "to_beat": (measured := _to_beat(config, contest, rows, choice.recommended)),
        "frozen": frozen,
        "recommended": choice.recommended,
        "withdrawn": choice.withdrawn,
        "why": phrases.why(config, contest, choice, parts),
        "block": block(config, by_name[choice.recommended].policy),
        "judged_apart": _judged_apart(contest, choice, parts),
        "oracle": {
            "loss": float(rows["oracle"].mean()),
            "what": "in each batch the better of all that the policies had at hand when it began",
        },
        "batches": _batches(rows, by_batch, config),
        "gates": paired_policies.gates(contest, runs),
        "better_ranked": paired_policies.better_ranked(runs),
        "sweeps": paired_policies.sweeps(contest, policies),
        "warnings": [
            *phrases.warnings(contest, parts, by_batch),
            *phrases.unbeaten(choice.recommended, measured),
            *phrases.assumed(policies),
        ],
    }
    if (price := config.replay.price) is not None:
        facts["currency"] = price.currency
        for policy in rows_of_policies:
            policy["cost_money"] = round(policy["cost_s"] / 3600 * price.per_hour, 4)
    if config.task is not Task.REGRESSION:
        for policy in rows_of_policies:
            policy.update({f"log_{key}": policy[key] for key in ("loss", "loss_low", "loss_high")})
    return Compared(facts, by_batch)


def _later(run: PolicyRun) -> list[Tried]:
    """Retrains after the first champion, which all policies share."""
    return [t for t in run.tried if t.later]


def common_rows(config: ModelConfig, runs: Sequence[PolicyRun]) -> pd.DataFrame:
    """The rows that all policies have scored, with their losses and the least possible one. Raises NotEnoughData."""
    common: pd.DataFrame | None = None
    for run in runs:
        name = run.policy.name
        own = run.losses[[ROW_ID, LOSS, RIVAL]].rename(columns={LOSS: name, RIVAL: f"\0{name}"})
        if common is None:
            common = run.losses.reindex(columns=[ROW_ID, EVENT_TIME, BATCH, *WHAT]).merge(own, on=ROW_ID)
        else:
            common = common.merge(own, on=ROW_ID)
    if common is None or common.empty:
        raise NotEnoughData(
            f"{config.model}: no rows were scored by all policies; replay a longer span, or policies that see the same history"
        )
    return common.assign(oracle=_oracle(common, [run.policy.name for run in runs]))


def _oracle(rows: pd.DataFrame, names: Sequence[str]) -> pd.Series[Any]:
    """The loss of a policy that serves, in each batch, the better of the available models."""
    candidates = [*names, *(f"\0{n}" for n in names)]
    scored = [c for c in candidates if rows[c].notna().any()]
    means = rows.groupby(BATCH, observed=True)[scored].mean()
    whole = rows.groupby(BATCH, observed=True)[scored].count().eq(rows.groupby(BATCH, observed=True).size(), axis=0)
    best = means.where(whole).idxmin(axis=1)
    place = rows[BATCH].map(best).map({c: k for k, c in enumerate(scored)}).to_numpy()
    return pd.Series(rows[scored].to_numpy()[np.arange(len(rows)), place], index=rows.index)


def _policy(run: PolicyRun, contest: Contest, worse: set[str], rows: pd.DataFrame) -> Plain:
    name, tried = run.policy.name, _later(run)
    bounds = contest.interval(name)
    outcomes = [t.outcome for t in tried]
    promoted, rejected = ([t for t in tried if t.outcome == o] for o in ("promoted", "rejected"))
    decayed = [look.window for look in run.looks if look.decayed]
    row = {
        "name": name,
        "changes": run.policy.changes,
        "loss": bounds.mean,
        "loss_low": bounds.bounds[0],
        "loss_high": bounds.bounds[1],
        "retrains": len(promoted) + len(rejected),
        "promotions": len(promoted),
        "refusals": len(rejected),
        "held": outcomes.count("held"),
        "held_back": outcomes.count("refused"),
        "wrong_promotions": sum(t.regretted for t in promoted),
        "wrong_promotions_shown": sum(t.regret_shown for t in promoted),
        "missed_promotions": sum(t.regretted for t in rejected),
        "missed_promotions_shown": sum(t.regret_shown for t in rejected),
        "decayed_days": sum((w.end - w.start).total_seconds() for w in decayed) / 86_400,
        "cost_s": contest.costs[name],
        "regret": bounds.mean - float(rows["oracle"].mean()),
        "dominated": name in worse,
        "tried": [to_plain(t) for t in run.tried],
        "looks": [to_plain(look) for look in run.looks],
    }
    if contest.frozen not in {None, name}:
        apart = contest.apart(name, contest.frozen)
        row["against_frozen"] = plain(apart)
        row["area_saved"] = -apart.mean * len(rows)
    return row


def _to_beat(config: ModelConfig, contest: Contest, rows: pd.DataFrame, recommended: str) -> list[Plain]:
    """The yardsticks' losses, and the recommended policy's difference, on the rows that the yardsticks could predict."""
    measured = []
    for name, what in WHAT.items():
        of = rows[rows[name].notna()]
        if of.empty:
            continue
        part = Blocks.of(of[EVENT_TIME], config.evaluate.block)
        sums = {name: part.sums(of[name].astype(float)), recommended: part.sums(of[recommended])}
        same = replace(contest, sums=sums, rows=part.sums(), costs={})
        own, apart = same.interval(name), same.apart(recommended, name)
        bounds = dict(zip(("loss_low", "loss_high"), own.bounds, strict=True))
        measured.append(
            {"name": name, "what": what, "rows": len(of), "loss": own.mean, **bounds, "apart": plain(apart)}
        )
    return measured


def _batches(rows: pd.DataFrame, by_batch: pd.DataFrame, config: ModelConfig) -> list[Plain]:
    e, batches = config.evaluate, []
    for start, of in rows.groupby(BATCH, observed=True):
        part = Blocks.of(of[EVENT_TIME], e.block)
        spans = {name: sums_interval(part.sums(of[name]), part.sums(), e.confidence) for name in by_batch.columns}
        losses = {n: {"loss": s.mean, "low": s.bounds[0], "high": s.bounds[1]} for n, s in spans.items()}
        batches.append({"start": str(start), "rows": len(of), "losses": losses})
    return batches


def _judged_apart(contest: Contest, choice: Choice, parts: tuple[slice, slice] | None) -> Plain:
    """The value of the choice on the rows that did not make it."""
    if parts is None:
        return {}
    rest = contest.part(parts[1])
    others = [n for n in (contest.frozen, choice.best) if n is not None and n != choice.recommended]
    return {
        "loss": rest.mean(choice.recommended),
        **{f"against {n}": plain(rest.apart(choice.recommended, n)) for n in others},
    }
