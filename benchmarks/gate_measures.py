"""The value of a promotion rule: gain kept, wrong promotions and refusals, twins and planted worse challengers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.gate_records import LEVELS, MAIN, WORSE, Record
from benchmarks.gate_rules import Champion, Played, Rule, play, successive
from benchmarks.gate_streams import Floats
from trueup.domain.judging.bootstrap import Interval, sums_interval

_COUNTS = 0.01  # of the loss: where less can be gained, the share kept says nothing
_WANTED = 0.97  # of the attainable gain


@dataclass(frozen=True, eq=False)
class Pool:
    """Ten attempts against one champion with its twins: which were promoted, and each twin's gain over all ten periods.

    `worse` has by kind and level which of ten worse challengers were promoted; empty where none is that much worse.
    """

    twins: list[bool]
    gains: list[float]
    worse: dict[tuple[str, float], list[bool]]


@dataclass(frozen=True, eq=False)
class Tried:
    """The results of a rule on a record."""

    record: Record
    played: Played
    pools: list[Pool]


def try_on(record: Record, rule: Rule) -> Tried:
    """Play a rule on a record, with its twins and planted worse challengers."""
    with_pools = rule.kind in {"gates", "before"}
    return Tried(record, play(record, rule), _pools(record, rule) if with_pools else [])


def measure(records: Sequence[Record], rule: Rule) -> dict[str, Any]:
    """Play a rule on all records, and count."""
    return figures([try_on(record, rule) for record in records], rule)


def figures(tried: Sequence[Tried], rule: Rule) -> dict[str, Any]:
    """Count the results of a rule."""
    records, played = [t.record for t in tried], [t.played for t in tried]
    promotions = [p for t in tried for p in _promotions(t.record, t.played)]
    refusals = [p for t in tried for p in _refusals(t.record, t.played)]
    return {
        "rule": rule.name,
        "kept": _kept(records, played),
        "promotions": len(promotions),
        "wrong": sum(d.mean > 0 for d in promotions),
        "wrong_shown": holm([_p_worse(d) for d in promotions]),
        "refusals": len(refusals),
        "refused_wrongly": sum(d.mean < 0 for d in refusals),
        "refused_wrongly_shown": sum(np.isfinite(d.error) and d.error > 0 and d.lower(0.95) < 0 for d in refusals),
        **(_equals([pool for t in tried for pool in t.pools], rule) if rule.kind in {"gates", "before"} else {}),
    }


def summary(measured: dict[str, Any], half: str | None = None) -> dict[str, Any]:
    """The figures of a rule over the streams and tables where the gain counts."""
    kept = [k for k in measured["kept"].values() if k["counts"] and half in {None, k["half"]}]
    shares = [k["kept"] for k in kept]
    return {
        "counted": len(kept),
        "mean": float(np.mean(shares)) if kept else None,
        "least": float(min(shares)) if kept else None,
        "below": sum(k["upper_below"] for k in kept),
    }


def _kept(records: Sequence[Record], played: Sequence[Played]) -> dict[str, Any]:
    """By stream or table, over its seeds: the share of the gain of retraining each period that a rule keeps."""
    kept: dict[str, Any] = {}
    for name in dict.fromkeys(r.name for r in records):
        mine = [(r, p) for r, p in zip(records, played, strict=True) if r.name == name]
        rows, frozen, ungated, gated = (np.concatenate(part) for part in zip(*(_lives(*m) for m in mine), strict=True))
        attainable = sums_interval(frozen - ungated, rows, 0.95)
        loss = float(frozen.sum() / rows.sum())
        least = sums_interval(frozen - gated - _WANTED * (frozen - ungated), rows, 0.95)
        apart = sums_interval(gated - ungated, rows, 0.95)
        kept[name] = {
            "kind": mine[0][0].kind, "half": mine[0][0].half, "seeds": len(mine), "frozen": loss,
            "attainable": attainable.mean / loss,
            "counts": bool(attainable.low > 0 and attainable.mean >= _COUNTS * loss),
            "kept": float((frozen - gated).sum() / (frozen - ungated).sum()),
            "upper_below": bool(least.high < 0),
            "above_ungated": [apart.mean / loss, apart.low / loss, apart.high / loss],
        }  # fmt: skip
    return kept


def _lives(record: Record, played: Played) -> tuple[Floats, Floats, Floats, Floats]:
    """Rows and loss sums by block after the first champion: frozen, retrained each period, and as the rule served."""
    start = int(record.at[record.first])
    always = [(now, (MAIN, now)) for now, _ in played.served]
    rows, frozen = record.rows[start:], record.of(MAIN, record.first)[start:]
    return rows, frozen, _served(record, always), _served(record, played.served)


def _served(record: Record, served: Sequence[tuple[int, Champion]]) -> Floats:
    """Loss sums (blocks,) of the serving models."""
    ends = [now for now, _ in served[1:]] + [record.end]
    parts = [record.of(*who)[_span(record, now, end)] for (now, who), end in zip(served, ends, strict=True)]
    return np.concatenate(parts)


def _promotions(record: Record, played: Played) -> list[Interval]:
    """Each promotion: the new champion's loss less the old one's, while the new one served."""
    ends = [*(now for now, *_ in played.promoted), record.end][1:]
    return [_difference(record, new, old, now, end) for (now, old, new), end in zip(played.promoted, ends, strict=True)]


def _refusals(record: Record, played: Played) -> list[Interval]:
    """Each refusal: the loss of the model that would have served less that of the one that did, until the next attempt."""
    return [
        _difference(record, (MAIN, now), champion, now, min(now + 2, record.end)) for now, champion in played.refused
    ]


def _difference(record: Record, one: Champion, other: Champion, now: int, end: int) -> Interval:
    span = _span(record, now, end)
    return sums_interval((record.of(*one) - record.of(*other))[span], record.rows[span], 0.95)


def _span(record: Record, now: int, end: int) -> slice:
    return slice(int(record.at[now]), int(record.at[end]))


def _p_worse(difference: Interval) -> float:
    """One-sided p-value against "the new one is not worse"."""
    return difference.p_above(0.0) if difference.error > 0 and np.isfinite(difference.error) else 1.0


def holm(p_values: Sequence[float], alpha: float = 0.05) -> int:
    """How many hypotheses fall by Holm's step-down procedure (1979)."""
    ordered = sorted(p_values)
    return next((i for i, p in enumerate(ordered) if p * (len(ordered) - i) >= alpha), len(ordered))


def _pools(record: Record, rule: Rule) -> list[Pool]:
    pools = []
    for cut, twins, worse in zip(record.cuts.tolist(), record.twins, record.worse, strict=True):
        champion = np.where(np.isnan(twins[0]), np.nan, record.of(MAIN, cut))
        gains = 1 - np.nansum(twins, axis=1) / np.nansum(champion)
        planted = {
            (kind, much): successive(record, rule, cut, worse[k, level])
            for k, kind in enumerate(WORSE)
            for level, much in enumerate(LEVELS)
        }
        pools.append(Pool(successive(record, rule, cut, twins), gains.tolist(), planted))
    return pools


def _equals(pools: Sequence[Pool], rule: Rule) -> dict[str, Any]:
    """How often twins and planted worse challengers are promoted: of all attempts, and at all in ten successive ones.

    `no_better` leaves out twins that, by the luck of their seed, are better by `min_gain` or more over the following
    ten periods.
    """
    attempts = [promoted for pool in pools for promoted in pool.twins]
    tens = [any(pool.twins) for pool in pools if len(pool.twins) == len(pool.gains)]
    least = rule.paired.min_gain
    no_better = [f for pool in pools for f, gain in zip(pool.twins, pool.gains, strict=False) if gain < least]
    planted = {(kind, much): [f for pool in pools for f in pool.worse[kind, much]] for kind in WORSE for much in LEVELS}
    return {
        "twins": {
            "per_attempt": _share(attempts), "over_ten": _share(tens), "no_better": _share(no_better),
            "attempts": len(attempts),
        },
        "planted": {
            f"{level:.0%}": _share([p for kind in WORSE for p in planted[kind, level]]) for level in LEVELS
        },
        "planted_by_kind": {
            kind: {f"{level:.0%}": _share(planted[kind, level]) for level in LEVELS} for kind in WORSE
        },
    }  # fmt: skip


def _share(promoted: Sequence[bool]) -> float | None:
    return float(np.mean(promoted)) if promoted else None
