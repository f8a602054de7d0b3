"""Compares policies that differ in one setting: the cost and gain of gates, and the effect of swept values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trueup.config.policies import Policy, parse
from trueup.domain.judging.bootstrap import Interval
from trueup.domain.retraining.frontier import Contest
from trueup.errors import UsageError
from trueup.replay.policy_run import PolicyRun, Tried

Plain = dict[str, Any]  # as a report of a replay has it
_NO_GATE = "no gate"
_RANK = ("auc", "auc_ovr")


def plain(of: Interval) -> dict[str, float | None]:
    """A difference with its bounds; below 0 the first of the two is better."""
    low, high = of.bounds
    return {"difference": of.mean, "low": low, "high": high}


def gates(contest: Contest, runs: Sequence[PolicyRun]) -> list[Plain]:
    """Loss saved and seconds spent by the gates of each policy that was played with and without them.

    `difference` is the loss with gates minus that without: below 0 they have saved loss.
    """
    pairs = []
    for run in runs:
        if (bare := _without(run.policy, runs)) is None:
            continue
        refused = [t for t in run.tried if t.outcome == "rejected" and t.later]
        pairs.append(
            {
                "policy": run.policy.name,
                "without": bare.policy.name,
                **plain(contest.apart(run.policy.name, bare.policy.name)),
                "cost_s": round(contest.costs[run.policy.name] - contest.costs[bare.policy.name], 3),
                "refused": len(refused),
                "refused_wrongly": sum(t.regretted for t in refused),
                "refused_wrongly_shown": sum(t.regret_shown for t in refused),
            }
        )
    return pairs


def _without(policy: Policy, runs: Sequence[PolicyRun]) -> PolicyRun | None:
    try:
        changes = parse(f"{policy.name}, {_NO_GATE}").changes
    except UsageError:  # it changes its gate, or has none
        return None
    return next((o for o in runs if o.policy.changes == changes and o.policy.changes != policy.changes), None)


def better_ranked(runs: Sequence[PolicyRun]) -> list[Plain]:
    """Challengers that were rejected although they rank better: a higher AUC than the champion's, and a higher loss.

    Each once, with the policies that tried it against the same champion.
    """
    by_figures: dict[Any, Plain] = {}
    for run in runs:
        for tried in run.tried:
            if tried.outcome == "rejected" and (sides := _ranks_better(tried)):
                row = {"as_of": tried.as_of.isoformat(), "figures": sides, "policies": list[str]()}
                key = (row["as_of"], *((n, s["challenger"], s["champion"]) for n, s in sides.items()))
                by_figures.setdefault(key, row)["policies"].append(run.policy.name)
    return sorted(by_figures.values(), key=lambda row: str(row["as_of"]))


def _ranks_better(tried: Tried) -> dict[str, dict[str, float]]:
    """Loss and AUC of both if one is worse and the other better; else None."""
    rank = next((name for name in _RANK if name in tried.figures), None)
    if rank is None:
        return {}
    loss = next(iter(tried.figures))
    sides = {n: dict(zip(("challenger", "champion"), tried.figures[n], strict=True)) for n in (loss, rank)}
    worse = sides[loss]["challenger"] > sides[loss]["champion"]
    return sides if worse and sides[rank]["challenger"] > sides[rank]["champion"] else {}


def sweeps(contest: Contest, policies: Sequence[Policy]) -> list[Plain]:
    """The effect of the values of each policy in braces, compared with the first value."""
    families: Mapping[str, list[Policy]] = {
        f: [p for p in policies if p.family == f] for f in dict.fromkeys(p.family for p in policies) if f
    }
    return [
        {
            "of": family,
            "values": [
                {
                    "policy": p.name,
                    "loss": contest.mean(p.name),
                    "cost_s": contest.costs[p.name],
                    **({} if p is members[0] else {"against_first": plain(contest.apart(p.name, members[0].name))}),
                }
                for p in members
            ],
        }
        for family, members in families.items()
        if len(members) > 1
    ]
