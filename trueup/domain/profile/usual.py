"""What is usual: expectations learned from the early batches and tested on the later ones.

A rule that a clean later batch breaks cries wolf. Such a rule is widened once by what the later batches hold, and left
out if that makes it say nothing. Bounds about single rows are wide, for they send rows to quarantine; bounds about a
batch rest on how much the batches differ among themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from trueup.config.schema import FeaturesConfig
from trueup.domain.periods import Period

_EARLY = 0.6  # share of the batches that rules are learned from
_ENOUGH = 6  # batches from which it is known how much they differ
_SET = 50  # with more values than this a set of allowed ones is a burden
_MOSTLY = 0.95
_STEPS = 8.0  # a batch's mean lies within so many standard deviations of the batches' means; its spread likewise
_STUCK = 0.05  # of the least spread of a batch
_ROWS_STEPS = 3.0  # the like for rows, where batches had steadily as many


@dataclass(frozen=True)
class Rule:
    """One expectation, in Great Expectations' words, and where it comes from."""

    type: str
    kwargs: dict[str, Any]
    why: str
    severity: str = "critical"


@dataclass(frozen=True)
class Usual:
    """The rules, the largest share of missing values of each feature, and what was not made a rule, with the reason."""

    rules: tuple[Rule, ...]
    max_missing: dict[str, float]
    left_out: tuple[str, ...]


def learn(rows: pd.DataFrame, times: pd.Series[Any], period: Period, features: FeaturesConfig) -> Usual:
    """Learn from the early batches what each feature is like, and test it on the rest.

    `rows` are landed rows, `times` their moments. With fewer than four batches all of them are early, and nothing is
    tested; bounds are then as wide as they get.
    """
    batch = times.dt.to_period({"day": "D", "week": "W-SUN", "month": "M"}[period])
    whole = batch.value_counts().sort_index()
    names = list(whole.index)
    cut = max(int(len(names) * _EARLY), 1)
    early = batch.isin(names[:cut]) if len(names) >= 4 else pd.Series(True, index=rows.index)
    rules: list[Rule] = [_count(whole)]
    left: list[str] = []
    for name in features.numeric:
        rules += _between(name, rows[name], early)
        for figure in ("mean", "stdev"):
            rules += _figure(figure, name, rows[name], batch, names, cut, left)
    for name in features.categorical:
        rules += _members(name, rows[name], batch, early, left)
    missing = {n: share for n in [*features.numeric, *features.categorical] if (share := _missing(rows[n], batch)) < 1}
    return Usual(tuple(rules), missing, tuple(left))


def _count(whole: pd.Series[Any]) -> Rule:
    """Rows a batch; the first and the last may be parts of one."""
    inner = whole.iloc[1:-1] if len(whole) > 3 else whole
    least = int(inner.min())
    chance = max(float(inner.std()) if len(inner) > 1 else least, np.sqrt(least))
    low, high = int(max(least * 0.4, least - _ROWS_STEPS * chance)), int(whole.max() * 2.5)
    why = f"batches had {int(inner.min()):,} to {int(whole.max()):,} rows"
    return Rule("expect_table_row_count_to_be_between", {"min_value": max(low, 1), "max_value": high}, why)


def _between(name: str, values: pd.Series[Any], early: pd.Series[Any]) -> Iterator[Rule]:
    """Bounds of single values: half a range beyond what was seen, and no negative ones where there never was one."""
    learned, rest = values[early].dropna(), values[~early].dropna()
    if learned.empty:
        return
    low, high = _bounds(learned)
    why = f"seen: {learned.min():.6g} to {learned.max():.6g}"
    if len(rest) and ((rest < low) | (rest > high)).any():
        low, high = _bounds(values.dropna())
        why = f"seen: {values.min():.6g} to {values.max():.6g}; wider in the later batches"
    yield Rule("expect_column_values_to_be_between", {"column": name, "min_value": low, "max_value": high}, why)


def _bounds(values: pd.Series[Any]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = (high - low) or abs(high) or 1.0
    down = low - 0.5 * room
    return _round(0.0 if low >= 0 > down else down, -1), _round(high + 0.5 * room, 1)


def _round(value: float, away: int) -> float:
    """Two significant digits of the value's size, away from what was seen."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    rounded = float(f"{(np.ceil(value / unit) if away > 0 else np.floor(value / unit)) * unit:.12g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _figure(
    figure: Literal["mean", "stdev"],
    name: str,
    values: pd.Series[Any],
    batch: pd.Series[Any],
    names: Sequence[Any],
    cut: int,
    left: list[str],
) -> Iterator[Rule]:
    """Bounds of a batch's mean or spread, from how much the early batches differ; none for what moves with the season."""
    if len(names) < _ENOUGH:
        return
    sizes = values.notna().groupby(batch).sum()
    enough = sizes.index[sizes.to_numpy(int) >= 30]
    grouped = values.groupby(batch)
    found = (grouped.mean() if figure == "mean" else grouped.std()).reindex(enough).dropna()
    is_early = found.index.isin(list(names[:cut]))
    learned, rest = found[is_early], found[~is_early]
    if len(learned) < 3:
        return
    # Few batches tell little of how much batches differ; what one batch's own rows say is the least it can be.
    own = float(values.std() / np.sqrt(max(sizes.median(), 1) * (1 if figure == "mean" else 2)))
    step = max(float(learned.std()), own) * _STEPS
    low, high = float(learned.mean()) - step, float(learned.mean()) + step
    if figure == "stdev":  # of a column that is stuck it is nothing
        low = max(low, _STUCK * float(found.min()))
    vague = figure == "mean" and low <= values.quantile(0.01) and high >= values.quantile(0.99)
    if step == 0 or np.isnan(step) or vague:  # of a vague one nothing would ever fall outside
        return
    called = "mean" if figure == "mean" else "standard deviation"
    if ((rest < low) | (rest > high)).any():
        left.append(f"{name}: its {called} moves between batches; no rule about it")
        return
    yield Rule(
        f"expect_column_{figure}_to_be_between",
        {"column": name, "min_value": float(f"{low:.4g}"), "max_value": float(f"{high:.4g}")},
        f"{called}s of batches: {found.min():.4g} to {found.max():.4g}",
    )


def _members(
    name: str, values: pd.Series[Any], batch: pd.Series[Any], early: pd.Series[Any], left: list[str]
) -> Iterator[Rule]:
    """A set that most values of a batch belong to."""
    known = values.dropna()
    seen = sorted(known[early].unique().tolist(), key=str)
    if len(seen) > _SET:
        left.append(f"{name}: {len(seen)} values, no set of allowed ones (new ones are watched as drift)")
        return
    outside = (~known.isin(seen)).groupby(batch).mean()
    if len(outside) and outside.max() > (1 - _MOSTLY) / 2:
        seen = sorted(known.unique().tolist(), key=str)
        if len(seen) > _SET:
            left.append(f"{name}: new values keep coming; no set of allowed ones")
            return
    why = f"{len(seen)} values seen; a batch may have {1 - _MOSTLY:.0%} others"
    yield Rule("expect_column_values_to_be_in_set", {"column": name, "value_set": seen, "mostly": _MOSTLY}, why)


def _missing(values: pd.Series[Any], batch: pd.Series[Any]) -> float:
    """A limit for the share of missing values: twice the most of any batch, and a twentieth."""
    most = float(values.isna().groupby(batch).mean().max())
    return min(round(2 * most + 0.05, 2), 1.0)
