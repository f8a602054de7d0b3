"""What the lives of several policies say about the policies: losses on the same rows, costs, and which one to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trueup.config.schema import ModelConfig, Task
from trueup.domain.bootstrap import MIN_BLOCKS, Blocks, Interval
from trueup.domain.frontier import Choice, Contest, choose, dominated, split
from trueup.domain.metrics import figure, loss_words
from trueup.domain.types import EVENT_TIME, ROW_ID, Window
from trueup.errors import NotEnoughData
from trueup.replay.play import BATCH, LOSS, RIVAL, Life, Tried
from trueup.replay.policies import Policy, parse

FROZEN = "frozen"


@dataclass(frozen=True)
class Compared:
    """Everything that a report of a replay says, as plain values, and the losses that its pictures are drawn from."""

    facts: dict[str, Any]
    by_batch: pd.DataFrame  # mean loss by batch and policy, and `oracle`


def compare(config: ModelConfig, span: Window, lives: Sequence[Life]) -> Compared:
    """Compare policies on the rows that all of them have scored. Raises NotEnoughData when there are none."""
    e, seed = config.evaluate, config.train.seed
    named = {life.policy.name: life for life in lives}
    rows = _common(config, named)
    blocks = Blocks.of(rows[EVENT_TIME], e.block)
    costs = {name: round(sum(t.cost_s for t in _later(life)), 3) for name, life in named.items()}
    sums = {name: blocks.sums(rows[name]) for name in named}
    contest = Contest(sums, blocks.sums(), costs, e.resamples, e.confidence, seed)
    parts = split(blocks.count)
    choice = choose(contest.part(parts[0]) if parts else contest)
    by_batch = rows.groupby(BATCH, observed=True)[[*named, "oracle"]].mean()
    means = {name: contest.mean(name) for name in named}
    worse = dominated(means, costs)
    told = [_policy(life, contest, worse, rows, named) for life in lives]
    facts = {
        "model": config.model,
        "loss": loss_words(config.task, config.ingest.label.unit),
        "confidence": e.confidence,
        "span": span.to_dict(),
        "judged": {
            "rows": len(rows),
            "from": str(rows[EVENT_TIME].min()),
            "to": str(rows[EVENT_TIME].max()),
            "batches": len(by_batch),
        },
        "policies": told,
        "recommended": choice.recommended,
        "why": _why(config, contest, choice, parts),
        "block": named[choice.recommended].policy.block,
        "judged_apart": _judged_apart(contest, choice, parts),
        "oracle": {
            "loss": float(rows["oracle"].mean()),
            "what": "in each batch the better of all that the policies had at hand when it began",
        },
        "warnings": _warnings(contest, parts, by_batch),
    }
    if config.task is not Task.REGRESSION:
        for policy in told:
            policy.update({f"log_{key}": policy[key] for key in ("loss", "loss_low", "loss_high")})
    return Compared(facts, by_batch)


def _later(life: Life) -> list[Tried]:
    """What came after the first champion, which all policies have alike."""
    return [t for t in life.tried if t.reason != "first"]


def _common(config: ModelConfig, named: Mapping[str, Life]) -> pd.DataFrame:
    """One row a row that all have scored: its moment, its batch, each policy's loss, and the least one could have had."""
    found: pd.DataFrame | None = None
    for name, life in named.items():
        own = life.losses[[ROW_ID, LOSS, RIVAL]].rename(columns={LOSS: name, RIVAL: f"\0{name}"})
        if found is None:
            found = life.losses[[ROW_ID, EVENT_TIME, BATCH]].merge(own, on=ROW_ID)
        else:
            found = found.merge(own, on=ROW_ID)
    if found is None or found.empty:
        raise NotEnoughData(
            f"{config.model}: no rows were scored by all policies; replay a longer span, or policies that see the same history"
        )
    return found.assign(oracle=_oracle(found, list(named)))


def _oracle(rows: pd.DataFrame, names: Sequence[str]) -> pd.Series[Any]:
    """The loss of who, in each batch, serves the better of the models at hand."""
    candidates = [*names, *(f"\0{n}" for n in names)]
    known = [c for c in candidates if rows[c].notna().any()]
    means = rows.groupby(BATCH, observed=True)[known].mean()
    whole = rows.groupby(BATCH, observed=True)[known].count().eq(rows.groupby(BATCH, observed=True).size(), axis=0)
    best = means.where(whole).idxmin(axis=1)
    place = rows[BATCH].map(best).map({c: k for k, c in enumerate(known)}).to_numpy()
    return pd.Series(rows[known].to_numpy()[np.arange(len(rows)), place], index=rows.index)


def _policy(
    life: Life, contest: Contest, worse: set[str], rows: pd.DataFrame, named: Mapping[str, Life]
) -> dict[str, Any]:
    name, tried = life.policy.name, _later(life)
    bounds = contest.interval(name)
    outcomes = [t.outcome for t in tried]
    promoted, rejected = ([t for t in tried if t.outcome == o] for o in ("promoted", "rejected"))
    found = {
        "name": name,
        "changes": life.policy.changes,
        "loss": bounds.mean,
        "loss_low": _finite(bounds, bounds.low),
        "loss_high": _finite(bounds, bounds.high),
        "retrains": len(promoted) + len(rejected),
        "promotions": len(promoted),
        "refusals": len(rejected),
        "held": outcomes.count("held"),
        "held_back": outcomes.count("refused"),
        "wrong_promotions": sum(t.regretted for t in promoted),
        "wrong_promotions_shown": sum(t.regret_shown for t in promoted),
        "missed_promotions": sum(t.regretted for t in rejected),
        "missed_promotions_shown": sum(t.regret_shown for t in rejected),
        "decayed_days": _decayed_days(life),
        "cost_s": contest.costs[name],
        "regret": bounds.mean - float(rows["oracle"].mean()),
        "dominated": name in worse,
        "tried": [t.to_dict() for t in life.tried],
        "looks": life.looks,
    }
    if FROZEN in named and name != FROZEN:
        found["against_frozen"] = _plain(contest.apart(name, FROZEN))
    return found


def _decayed_days(life: Life) -> float:
    """Days whose batch was diagnosed as decayed: the champion that served them had lost its skill."""
    windows = [Window.from_dict(look["window"]) for look in life.looks if look["decayed"]]
    return float(sum((w.end - w.start).total_seconds() for w in windows) / 86_400)


def _finite(bounds: Interval, value: float) -> float | None:
    return value if bounds.enough and np.isfinite(bounds.error) else None


def _plain(apart: Interval) -> dict[str, float | None]:
    return {"difference": apart.mean, "low": _finite(apart, apart.low), "high": _finite(apart, apart.high)}


def _judged_apart(contest: Contest, choice: Choice, parts: tuple[slice, slice] | None) -> dict[str, Any]:
    """What the choice is worth on the rows that it was not made on."""
    if parts is None:
        return {}
    rest = contest.part(parts[1])
    others = [n for n in (FROZEN, choice.best) if n in contest.sums and n != choice.recommended]
    return {
        "loss": rest.mean(choice.recommended),
        **{f"against {n}": _plain(rest.apart(choice.recommended, n)) for n in others},
    }


def _why(config: ModelConfig, contest: Contest, choice: Choice, parts: tuple[slice, slice] | None) -> str:
    """The recommendation in words, with how sure it is. Figures are of the rows on which they were found."""
    loss, own, best = loss_words(config.task, config.ingest.label.unit), choice.recommended, choice.best
    seen, level = contest.part(parts[0]) if parts else contest, len(choice.level)
    where = "On the earlier rows" if parts else "On all rows"
    if own == best:
        said = f"{where} `{own}` lost least ({loss} {figure(seen.mean(own))})"
        said += (
            f", and is the cheapest of {level} that cannot be told apart"
            if level > 1
            else ", and all others are shown to lose more"
        )
    else:
        a = choice.apart
        said = (
            f"{where} `{own}` ({seen.costs[own]:.0f} s of training) is the cheapest of {level} that are not shown to lose more "
            f"than the best, `{best}` ({seen.costs[best]:.0f} s): {loss} {_signed(a.mean)} ({100 * a.confidence:.0f} % "
            f"{_signed(a.low)} to {_signed(a.high)})"
        )
    if parts is None:
        return said + ". It was chosen by the rows that tell of it, so it looks better than it is."
    return f"{said}. {_told_later(contest.part(parts[1]), choice)}"


def _told_later(rest: Contest, choice: Choice) -> str:
    """What the rows say by which it was not chosen."""
    own = choice.recommended
    if own == FROZEN:
        others = [n for n in rest.sums if n != FROZEN]
        better = [n for n in others if rest.apart(n, FROZEN).high < 0]
        told = (
            f"`{better[0]}` is shown to be better on the later rows"
            if better
            else "on the later rows, too, nothing else is shown to be better"
        )
        return f"No retrain was shown to be worth its cost; {told}."
    if FROZEN not in rest.sums:
        return f"On the later rows it loses {figure(rest.mean(own))}; without `{FROZEN}` nothing says what retraining is worth."
    apart = rest.apart(own, FROZEN)
    shown = (
        "is shown to be better"
        if apart.high < 0
        else "is shown to be worse"
        if apart.low > 0
        else "is not shown to be better"
    )
    return (
        f"On the later rows, by which it was not chosen, it {shown} than `{FROZEN}`: {_signed(apart.mean)} "
        f"({100 * apart.confidence:.0f} % {_signed(apart.low)} to {_signed(apart.high)})."
    )


def _signed(value: float) -> str:
    return f"{value:+.4f}" if np.isfinite(value) else "unknown"


def _warnings(contest: Contest, parts: tuple[slice, slice] | None, by_batch: pd.DataFrame) -> list[str]:
    found = []
    if parts is None:
        found.append(
            f"a short history: {len(contest.rows)} blocks of evaluate.block, of which choosing and judging each need {MIN_BLOCKS}; "
            "the choice is told on the rows that it was made on"
        )
    elif len(by_batch) < 6:
        found.append(f"a short history: {len(by_batch)} batches; what a season brings was hardly seen")
    return found


def usual(config: ModelConfig) -> list[Policy]:
    """Policies worth comparing where none are named, from what the config itself says."""
    own = f"{config.promote.min_new_days:g} days"
    texts = [FROZEN, f"every {own}", f"every {own}, no gate", "on decay", "on drift", f"on decay, stale {own}"]
    return [parse(text) for text in texts]
