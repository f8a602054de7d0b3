"""Writes what is usual in a new table as expectations that a person may copy into the config.

The loop learns the same bounds from its landed batches, see `trueup.domain.monitoring.learned_bounds`; these are
learned from the whole table. In a config such a line is a contract, so a person decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from trueup.config.sections.features import FeaturesConfig
from trueup.config.sections.validation import Arguments
from trueup.domain.data.periods import FREQUENCY, Period, period_of
from trueup.domain.data.values import as_text
from trueup.domain.monitoring import learned_bounds
from trueup.domain.monitoring.batch_profile import Profile, partial_ends, profile
from trueup.domain.monitoring.learned_bounds import FEWEST, Earlier

_SET = 50  # with more values a set of allowed ones is a burden


@dataclass(frozen=True)
class Rule:
    """One expectation of Great Expectations, and its origin."""

    type: str
    kwargs: Arguments
    why: str


@dataclass(frozen=True)
class Usual:
    """The rules, the largest usual share of missing values of each feature, and remarks."""

    rules: tuple[Rule, ...]
    max_missing: dict[str, float]
    left_out: tuple[str, ...]


def learn(rows: pd.DataFrame, times: pd.Series[Any], period: Period, features: FeaturesConfig) -> Usual:
    """Learn the usual values of each feature from the batches of landed rows; `times` are their moments.

    There are no rules if there are too few batches for bounds.
    """
    batches = times.dt.to_period(FREQUENCY[period])
    summed = {
        p: profile(rows[batches == p], times[batches == p], features.numeric, features.categorical)
        for p in sorted(batches.unique())
    }
    windows = [period_of(p.start_time.to_pydatetime(), period) for p in summed]
    profiles = list(summed.values())
    head, tail = partial_ends(windows, profiles)
    ends = {0: head, len(profiles) - 1: tail}
    bounds = learned_bounds.learn([Earlier(p, partial=ends.get(i, False)) for i, p in enumerate(profiles)])
    few = () if bounds.batches >= FEWEST else (f"{bounds.batches} batches are too few to tell what is usual",)
    moving = tuple(
        f"{name} moves one way from batch to batch: no fixed range would hold" for name in sorted(bounds.trend)
    )
    return Usual(tuple(_rules(bounds, profiles, rows, features)), dict(sorted(bounds.missing.items())), (*few, *moving))


def _rules(
    bounds: learned_bounds.Usual, profiles: list[Profile], rows: pd.DataFrame, features: FeaturesConfig
) -> list[Rule]:
    rules = list[Rule]()
    if bounds.rows is not None:
        counts = [p.rows for p in profiles]
        kwargs: Arguments = dict(zip(("min_value", "max_value"), bounds.rows, strict=True))
        why = f"batches had {min(counts):,} to {max(counts):,} rows"
        rules.append(Rule("expect_table_row_count_to_be_between", kwargs, why))
    for name in (n for n in features.numeric if n in bounds.range and n not in bounds.trend):
        low, high = bounds.range[name]
        kwargs = {"column": name, "min_value": low, "max_value": high}
        why = f"seen: {rows[name].min():.6g} to {rows[name].max():.6g}"
        rules.append(Rule("expect_column_values_to_be_between", kwargs, why))
    for name in (n for n in features.categorical if n in bounds.new):
        values = sorted(as_text(rows[name]).dropna().unique().tolist())
        if len(values) <= _SET:
            kwargs = {"column": name, "value_set": values}
            rules.append(Rule("expect_column_values_to_be_in_set", kwargs, f"{len(values)} values seen"))
    return rules
