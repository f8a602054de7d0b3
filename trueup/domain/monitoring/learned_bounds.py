"""Learns what is usual in a stream's batches, and finds what is unusual in a batch.

A batch is summarised by a `Profile`: its rows, and for each column how many values are missing, how often the most
frequent one occurs, some quantiles of numbers, a sketch of the values of categories and keys. `learn` derives bounds
from the profiles of earlier batches, `unusual` compares another batch with them.

Only what no ordinary change of the world explains is unusual: another unit, a column that became constant or empty,
values far outside of all earlier ones, only new entities, many more missing values, many fewer rows. A moved
distribution is drift, and judged there. The bounds rest on how much the batches differ among themselves, and are wide:
with tens of columns and hundreds of batches, narrow bounds would raise an alarm for every other batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trueup.domain.monitoring.batch_profile import HASHES, Numbers, Profile, Values
from trueup.domain.types import Figures

_SPREADS: Final = ((0.1, 0.9), (0.05, 0.95), (0.01, 0.99))  # the first pair with a positive width is a column's spread

ROWS, MISSING, CONSTANT, UNIT, OUTSIDE, NEW = "rows", "missing", "constant", "unit", "outside", "new"
FEWEST: Final = 4  # batches needed to learn bounds; for daily batches a week and a day
_ENOUGH: Final = 30  # values that a batch needs
_FACTOR: Final = 1.5  # units differ by more than this factor: a kilometre is .62 miles, a kilogram 2.2 pounds
_STEPS: Final = 5.0  # standard deviations between batches
_ROOM: Final = 1.5  # times the width of earlier values: values this far beyond are outside
_ONE_WAY: Final = 0.9  # share of changes of a column's median in one direction that makes a trend
_STEADY: Final = 5  # changes needed for a trend: by chance all have one direction once in 360 times
_LUCK: Final = 1e-4  # chance that a varying column is constant in a batch


@dataclass(frozen=True)
class Earlier:
    """An earlier batch, without its unusual columns, and without the row count if it is `partial`."""

    profile: Profile
    odd: frozenset[str] = frozenset()
    partial: bool = False


@dataclass(frozen=True)
class Usual:
    """Bounds for a batch, by kind and column, as plain values; `batches` is how many they were learned from.

    `rows`: fewest and most. `range`: lowest and highest value of a column that at most a tenth of its values may pass.
    `trend`: the smallest and the largest change of the median of a column with a trend, from batch to batch; its range
    extends to the next change. `missing`: the largest share. `varies`: the least expected share of values other than
    the most frequent one. `unit`: logarithm of a column's size and spread, each with its tolerance and last value.
    `new`: the largest share of rows with a new value, and the sketch of the earlier values.
    """

    batches: int
    rows: tuple[int, int] | None
    range: dict[str, tuple[float, float]]
    trend: dict[str, tuple[float, float]]
    missing: dict[str, float]
    varies: dict[str, float]
    filled: dict[str, float]
    unit: dict[str, _Unit]
    new: dict[str, _EarlierValues]

    def shown(self) -> Figures:
        """The bounds that people may want to see, as plain values."""
        return {
            "batches": self.batches,
            "rows": self.rows,
            "range": self.range,
            "trend": self.trend,
            "size": {name: [_plain(np.exp(b)) for b in unit.bounds] for name, unit in self.unit.items()},
            "missing": {name: round(share, 4) for name, share in self.missing.items()},
            "new": {name: round(values.limit, 4) for name, values in self.new.items()},
        }


@dataclass(frozen=True)
class _Unit:
    """Size and spread (2,) of a column as logarithms: median, tolerance between batches, and the last batch's values."""

    middle: tuple[float, float]
    apart: tuple[float, float]
    last: tuple[float, float]
    pair: tuple[float, float]

    @property
    def bounds(self) -> tuple[float, float]:
        room = max(self.apart[0], float(np.log(_FACTOR)))
        return self.middle[0] - room, self.middle[0] + room


@dataclass(frozen=True)
class _EarlierValues:
    """Hashes of the values in earlier batches, complete below a bound, and how many may be new."""

    hashes: frozenset[int]
    below: int
    limit: float


def learn(earlier: Sequence[Earlier], fewest: int = FEWEST) -> Usual:
    """Learn bounds from earlier batches with rows, in the order of time; none from fewer than `fewest`."""
    used = [e for e in earlier if e.profile.rows]
    columns = {name for e in used for name in e.profile.numbers}
    kinds = {name for e in used for name in e.profile.values}
    numbers = {c: [e.profile.numbers[c] for e in used if c in e.profile.numbers and c not in e.odd] for c in columns}
    values = {c: [e.profile.values[c] for e in used if c in e.profile.values and c not in e.odd] for c in kinds}
    both: dict[str, list[Any]] = {**values, **numbers}
    enough = {c: batches for c, batches in both.items() if len(batches) >= fewest}
    trends = {c: t for c, batches in numbers.items() if c in enough and (t := _trend(batches))}
    whole = [e.profile.rows for e in used if not e.partial and "" not in e.odd]
    return Usual(
        batches=len(used),
        rows=_row_bounds(whole) if len(whole) >= fewest else None,
        range={c: r for c, batches in numbers.items() if c in enough and (r := _range(batches, trends.get(c)))},
        trend=trends,
        missing={
            c: min(2 * max(v.missing / max(v.missing + v.n, 1) for v in batches) + 0.05, 1.0)
            for c, batches in enough.items()
        },
        varies={c: _least_share([(v.n - v.top, v.n) for v in batches if v.n]) for c, batches in enough.items()},
        filled={c: _least_share([(v.n, v.n + v.missing) for v in batches]) for c, batches in enough.items()},
        unit={c: u for c, batches in numbers.items() if c in enough and (u := _unit(batches, fewest))},
        new={c: _earlier_values(batches) for c, batches in values.items() if c in enough},
    )


def _row_bounds(counts: Sequence[int]) -> tuple[int, int]:
    """Bounds of the number of rows, narrower if the batches are similar."""
    least, most = min(counts), max(counts)
    chance = max(float(np.std(counts, ddof=1)), float(np.sqrt(least)))
    low = min(0.7 * least, max(0.4 * least, least - 3 * chance))
    return int(low), int(np.ceil(2.5 * most))


def _range(batches: Sequence[Numbers], trend: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """Bounds far beyond the middle nine tenths of all batches, rounded outwards, without influence of single outliers.

    A column with a trend leaves every earlier range. Its bounds extend from the last batch by the largest change.
    """
    large = [v for v in batches if v.n >= _ENOUGH]
    used, (down, up) = (large, (0.0, 0.0)) if trend is None else (large[-1:], trend)
    for lower, upper in _SPREADS[1:]:
        if used:
            low, high = min(v.at(lower) for v in used), max(v.at(upper) for v in used)
            if (room := _ROOM * (high - low + max(abs(down), abs(up)))) > 0:
                return _outward(low + down - room, -1), _outward(high + up + room, 1)
    return None


def _trend(batches: Sequence[Numbers]) -> tuple[float, float] | None:
    """The smallest and the largest change of a column's median if nine in ten have one direction; else None."""
    steps = np.diff([v.at(0.5) for v in batches if v.n >= _ENOUGH])
    if len(steps) < _STEADY or max((steps > 0).mean(), (steps < 0).mean()) < _ONE_WAY:
        return None
    return _plain(steps.min()), _plain(steps.max())


def _outward(value: float, away: int) -> float:
    """Round away from the seen values to two significant digits.

    >>> _outward(-122.2, -1), _outward(-122.2, 1), _outward(0.0123, 1)
    (-130.0, -120.0, 0.013)
    """
    if value == 0 or not np.isfinite(value):
        return value
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(f"{(np.ceil(value / unit) if away > 0 else np.floor(value / unit)) * unit:.12g}")


def _least_share(counts: Sequence[tuple[int, int]]) -> float:
    """The least share to expect, from (hits, n) of batches: by how they differ, and by the last."""
    if not counts:
        return 0.0
    odds = [float(np.log((hits + 0.5) / (n - hits + 0.5))) for hits, n in counts]
    apart = float(np.std(odds, ddof=1)) if len(odds) > 1 else 1.0
    least = min(float(np.mean(odds)) - 3 * apart, odds[-1] - float(np.log(3)))
    return float(1 / (1 + np.exp(-least)))


def _unit(batches: Sequence[Numbers], fewest: int) -> _Unit | None:
    """Size and spread of a column's batches: another unit changes both by the same factor at once."""
    large = [v for v in batches if v.n >= _ENOUGH and v.size]
    if len(large) < fewest:
        return None
    for pair in _SPREADS:
        logs = np.array([s for v in large if (s := _logs(v, pair)) is not None])
        if 2 * len(logs) > len(large) and len(logs) >= fewest:
            middle, apart = np.median(logs, axis=0), _STEPS * np.std(logs, axis=0, ddof=1)
            return _Unit(_two(middle), _two(apart), _two(logs[-1]), pair)
    return None


def _two(values: Any) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _logs(v: Numbers, pair: tuple[float, float]) -> tuple[float, float] | None:
    width = v.at(pair[1]) - v.at(pair[0])
    return (float(np.log(v.size)), float(np.log(width))) if v.size and width > 0 else None


def _earlier_values(batches: Sequence[Values]) -> _EarlierValues:
    """The earlier values, and how many rows of the later half of the batches had a value that was new then."""
    below = min(v.below for v in batches)
    hashes, shares = set[int](), list[float]()
    for number, v in enumerate(batches):
        if 2 * number >= len(batches):
            shares.append(_new_share(v, hashes, below)[0])
        hashes |= {h for h in v.sketch if h < below}
    most = max(shares)
    return _EarlierValues(frozenset(hashes), below, most + min(0.15, 0.5 * (1 - most)))


def _new_share(v: Values, earlier: set[int] | frozenset[int], below: int) -> tuple[float, int]:
    """The share of rows with a new value, among the values that can be compared; and how many these are."""
    seen = {h: count for h, count in v.sketch.items() if h < min(below, v.below)}
    rows = sum(seen.values())
    return (sum(count for h, count in seen.items() if h not in earlier) / rows if rows else 0.0), len(seen)


# Judging


@dataclass(frozen=True)
class Oddity:
    """One unusual property of a batch; `column` is empty if it concerns the batch as a whole."""

    column: str
    kind: str
    words: str


def unusual(batch: Profile, usual: Usual, partial: bool = False) -> list[Oddity]:
    """List what is unusual in a batch. A partial one, the first or the last of a stream, may have few rows."""
    if not batch.rows:
        return []
    oddities = [] if partial or usual.rows is None else _odd_rows(batch.rows, *usual.rows)
    columns: dict[str, Numbers | Values] = {**batch.values, **batch.numbers}
    for name, v in columns.items():
        # A constant or empty column needs no further check.
        oddities += (_stuck(name, v, usual) or _of_values(name, v, usual))[:1]
    return oddities


def _odd_rows(rows: int, low: int, high: int) -> list[Oddity]:
    if low <= rows <= high:
        return []
    return [Oddity("", ROWS, f"{rows:,} rows; {low:,} to {high:,} are usual")]


def _stuck(name: str, v: Numbers | Values, usual: Usual) -> list[Oddity]:
    total = v.n + v.missing
    if not v.n:
        luck = (1 - usual.filled.get(name, 0.0)) ** total
        return [Oddity(name, MISSING, f"{name} has no values at all; it usually has")] if luck < _LUCK else []
    if v.top == v.n and (1 - usual.varies.get(name, 0.0)) ** v.n < _LUCK:
        return [Oddity(name, CONSTANT, f"{name} has the same value in all rows; it usually varies")]
    return []


def _of_values(name: str, v: Numbers | Values, usual: Usual) -> list[Oddity]:
    oddities, total = list[Oddity](), v.n + v.missing
    if total >= _ENOUGH and name in usual.missing:
        share, limit = v.missing / total, usual.missing[name]
        if share > limit + 3 * np.sqrt(max(limit * (1 - limit), 0.0) / total):
            oddities.append(
                Oddity(name, MISSING, f"{name}: {share:.1%} of the values are missing; up to {limit:.1%} are usual")
            )
    if v.n < _ENOUGH:
        return oddities
    if isinstance(v, Values):
        return oddities + (_newcomers(name, v, usual.new[name]) if name in usual.new else [])
    unit = _other_unit(name, v, usual.unit[name]) if name in usual.unit else []
    return oddities + (unit or (_outside(name, v, *usual.range[name]) if name in usual.range else []))


def _newcomers(name: str, v: Values, usual: _EarlierValues) -> list[Oddity]:
    share, compared = _new_share(v, usual.hashes, usual.below)
    limit = usual.limit
    rows = v.n if usual.below == HASHES else compared  # a sketch is a sample of values, not of rows
    if not compared or limit >= 1 or share <= limit + 3 * np.sqrt(limit * (1 - limit) / rows):
        return []
    return [
        Oddity(
            name,
            NEW,
            f"{name}: {share:.0%} of the rows have a value that was not there before; up to {limit:.0%} are usual",
        )
    ]


def _other_unit(name: str, v: Numbers, unit: _Unit) -> list[Oddity]:
    """Whether size and spread differ from all earlier batches, and from the last, by the same factor."""
    if v.size is None or (logs := _logs(v, unit.pair)) is None:
        return []
    by = np.array(logs) - unit.middle
    since = np.array(logs) - unit.last
    agree = abs(by[0] - by[1]) <= max(np.log(1.35), 0.25 * float(np.abs(by).min()))
    sudden = min(np.sign(by[0]) * since) > np.log(_FACTOR)
    beyond = (np.abs(by) > np.maximum(unit.apart, np.log(_FACTOR))).all()
    if not (agree and sudden and beyond and by[0] * by[1] > 0):
        return []
    factor = float(np.exp(np.abs(by).mean()))
    than = "larger" if by[0] > 0 else "smaller"
    low, high = (float(np.exp(b)) for b in unit.bounds)
    words = f"{name}: values are about {factor:.3g} times {than} than usual, as in another unit: their middle size is"
    return [Oddity(name, UNIT, f"{words} {v.size:.4g}; {low:.4g} to {high:.4g} is usual")]


def _outside(name: str, v: Numbers, low: float, high: float) -> list[Oddity]:
    tenth, ninth = v.at(0.1), v.at(0.9)
    if tenth < low:
        return [
            Oddity(
                name,
                OUTSIDE,
                f"{name}: at least a tenth of the values is at or below {tenth:.4g}; {low:.4g} is usual at least",
            )
        ]
    if ninth > high:
        return [
            Oddity(
                name,
                OUTSIDE,
                f"{name}: at least a tenth of the values is at or above {ninth:.4g}; {high:.4g} is usual at most",
            )
        ]
    return []


def _plain(value: float) -> float:
    return float(f"{float(value):.4g}")
