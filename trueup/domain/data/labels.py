"""Outcomes from a separate table, matched to rows by key.

A table of outcomes is read once and looked up by key. A key may repeat: as a correction, or as a withdrawal (an empty
outcome). The last outcome known at a moment counts, ordered by the moment at which it became known or, without
that, by its place in the table. Later outcomes do not hide earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.config.sections.ingest import IngestConfig, LabelConfig
from trueup.config.tasks import Task
from trueup.domain.data.cleaning import cleaned
from trueup.domain.data.landing import key_values, require_flat
from trueup.domain.data.moments import parse_times
from trueup.domain.data.outcome_values import (
    LandedFacts,
    Unknown,
    label_values,
    odd_outcomes,
    require_known,
    require_newest_known,
    unknown_of,
)
from trueup.domain.data.sentinels import sentinels_of
from trueup.domain.data.values import key_hash
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Facts

_TIME_UNIT: Final = "datetime64[us]"
_NONE: Final = -1


@dataclass(frozen=True)
class Outcomes:
    """A table of outcomes as known at a moment, by key.

    `keys`: the distinct keys' hashes, sorted. `now` and `later`: per key the position of the last outcome known by the
    moment, and of the first to become known after it; -1 without one. `values` and `known_at`: per position; `known_at`
    is NaT if that moment is unknown. With `delay` there is no `known_at`: a row's outcome counts from its time plus the
    delay.
    """

    keys: npt.NDArray[np.int64]
    now: npt.NDArray[np.intp]
    later: npt.NDArray[np.intp]
    several: npt.NDArray[np.bool_]
    values: pd.Series[Any]
    known_at: npt.NDArray[np.datetime64]
    delay: timedelta | None
    unknown: Unknown
    facts: Facts = field(default_factory=dict)

    def of(self, rows: pd.DataFrame, key: Sequence[str]) -> tuple[pd.DataFrame, Facts]:
        """Return the labels of landed rows, like `landing.Landing`, and counts of oddities among these rows.

        `rows` has `row_id`, `event_time` and the key columns. An outcome that was known before a row's time does not
        belong to that row, because a key may repeat. Such a row has no label until another outcome arrives.
        """
        times = rows[EVENT_TIME].to_numpy().astype(_TIME_UNIT)
        places = self.places(rows, key)
        now, later = (
            np.where(places == _NONE, _NONE, of[places]) if len(of) else places for of in (self.now, self.later)
        )
        fits, fits_later = self._fits(now, times), self._fits(later, times)
        chosen = np.where(fits, now, np.where(fits_later, later, _NONE))
        has = chosen != _NONE
        labels = pd.DataFrame(
            {
                ROW_ID: rows[ROW_ID].to_numpy()[has],
                EVENT_TIME: times[has],
                LABEL: self.values.to_numpy()[chosen[has]],
                KNOWN_AT: self._known_moments(chosen[has], times[has]),
            }
        )
        before = (now != _NONE) & ~fits & ~has
        before[before] = self.values.notna().to_numpy()[now[before]]
        facts = {
            "labels": int(has.sum()),
            "no_outcome": int((~has).sum()),
            "known_before_row": int(before.sum()),
            "known_at_missing": int(labels[KNOWN_AT].isna().sum()),
            "several_outcomes": int((self.several[places[has]]).sum()) if has.any() else 0,
        }
        return labels, facts

    def require_known(self, rows: pd.DataFrame, key: Sequence[str], which: str) -> None:
        """Check the outcomes of some rows separately. Raises SourceError if more than a small share is unknown."""
        if self.unknown.texts.empty:
            return
        places = self.places(rows, key)
        now = self.now[places[places != _NONE]]
        now = now[now != _NONE]
        require_known(self.unknown, now, int(self.values.notna().to_numpy()[now].sum()), which)

    def places(self, rows: pd.DataFrame, key: Sequence[str]) -> npt.NDArray[np.intp]:
        """Positions of rows' keys in `keys`; -1 for those without an outcome."""
        places = np.full(len(rows), _NONE, dtype=np.intp)
        named = rows[list(key)].notna().all(axis=1).to_numpy()
        if not len(self.keys) or not named.any():
            return places
        hashes = key_hash(rows.loc[named, list(key)])
        at = np.minimum(np.searchsorted(self.keys, hashes), len(self.keys) - 1)
        places[named] = np.where(self.keys[at] == hashes, at, _NONE)
        return places

    def _fits(self, positions: npt.NDArray[np.intp], times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        """Whether there is an outcome at a position that is not from before the row."""
        fits: npt.NDArray[np.bool_] = positions != _NONE
        at = positions[fits]
        fits[fits] = self.values.notna().to_numpy()[at]
        if self.delay is None:
            fits[fits] = ~(self.known_at[positions[fits]] < times[fits])  # NaT compares false
        return fits

    def _known_moments(
        self, positions: npt.NDArray[np.intp], times: npt.NDArray[np.datetime64]
    ) -> npt.NDArray[np.datetime64]:
        return (
            self.known_at[positions]
            if self.delay is None
            else times + np.timedelta64(self.delay).astype("timedelta64[us]")
        )


@dataclass(frozen=True)
class Table:
    """A label source: per line the key and its hash, the outcome, and when it became known.

    `lines` are its positions in the source. Lines without a complete key are left out.
    """

    named: pd.DataFrame  # the key columns, named as in the rows
    keys: npt.NDArray[np.int64]
    values: pd.Series[Any]
    known_at: npt.NDArray[np.datetime64]  # all NaT with `known_after`
    lines: npt.NDArray[np.intp]
    delay: timedelta | None
    unknown: Unknown
    facts: Facts

    def at(self, moment: datetime) -> Outcomes:
        """Determine which outcome of each key counts at a moment, and which one comes next."""
        order = np.arange(len(self.keys))
        past = self.known_at <= np.datetime64(moment) if self.delay is None else np.ones(len(order), dtype=bool)
        # The later line counts among equal moments, before and after that moment.
        by_known = np.lexsort((order, self.known_at)) if self.delay is None else order
        first_to_come = np.lexsort((-order, self.known_at)) if self.delay is None else order
        keys, place, lines = np.unique(self.keys, return_inverse=True, return_counts=True)
        now, later = (np.full(len(keys), _NONE, dtype=np.intp) for _ in range(2))
        last = by_known[past[by_known]]
        now[place[last]] = last  # the last assignment to a place wins
        following = first_to_come[~past[first_to_come]][::-1]
        later[place[following]] = following
        return Outcomes(keys, now, later, lines > 1, self.values, self.known_at, self.delay, self.unknown, self.facts)


def key_names(config: IngestConfig) -> dict[str, str]:
    """The names of the key columns in the label source, in the key's order."""
    return {name: config.label.key.get(name, name) for name in config.key}


def label_columns(config: IngestConfig) -> list[str]:
    """The columns to read from the label source."""
    label = config.label
    return list(dict.fromkeys(c for c in (*key_names(config).values(), label.column, label.known_at) if c is not None))


def table(raw: pd.DataFrame, config: IngestConfig, task: Task, landed: LandedFacts = LandedFacts()) -> Table:  # noqa: B008  frozen
    """Read a label source's table; `landed` is what landing fixed: the kinds of the rows' keys, and the outcomes.

    Raises SourceError for outcomes or times that cannot be read, and for keys that have lost digits.
    """
    label = config.label
    require_flat(raw, label_columns(config), "ingest.label.source")
    keys = key_values(raw, config, key_names(config), "ingest.label.key", landed.kinds)
    named = keys.notna().all(axis=1).to_numpy()
    facts: Facts = {"coerced": {}, "infinite_outcomes": 0, "outcomes_read": len(raw), "null_keys": int((~named).sum())}
    chosen, keys = raw[named].reset_index(drop=True), keys[named].reset_index(drop=True)
    outcome, count = chosen[label.column], 0
    if sentinels_of(label.column, config):
        typed = task is Task.REGRESSION or label.above is not None
        outcome, count = cleaned(outcome, label.column, config, label.source or config.source, typed)
    facts["sentinel_outcomes"] = count
    values = label_values(outcome, config, task, facts, landed.outcomes)
    known_at, unknown = _moments(chosen, config, label), unknown_of(outcome, values, label)
    require_newest_known(unknown, values, np.lexsort((np.arange(len(values)), known_at)))
    hashes = key_hash(keys) if len(keys) else np.empty(0, dtype=np.int64)
    return Table(keys, hashes, values, known_at, np.flatnonzero(named), label.known_after, unknown, facts)


def _moments(chosen: pd.DataFrame, config: IngestConfig, label: LabelConfig) -> npt.NDArray[np.datetime64]:
    if label.known_at is None:
        return np.full(len(chosen), np.datetime64("NaT"), dtype=_TIME_UNIT)
    moments = parse_times(chosen[label.known_at], config.timezone, "ingest.label.known_at", config.time_format)
    return moments.to_numpy().astype(_TIME_UNIT)


def known_span(labels: pd.DataFrame) -> Facts:
    """The fact `known`: between which moments the labels of a batch become known (ISO 8601); None without any.

    A label counts as known at the earliest a microsecond after the row's own time.
    """
    known = labels.loc[labels[KNOWN_AT].notna(), [EVENT_TIME, KNOWN_AT]]
    if known.empty:
        return {"known": None}
    moments = known[KNOWN_AT].where(known[KNOWN_AT] > known[EVENT_TIME], known[EVENT_TIME] + timedelta(microseconds=1))
    return {"known": [moments.min().isoformat(), moments.max().isoformat()]}


def changes(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, int] | None:
    """Count changes of a window's landed labels by row; None without changes.

    `labels_changed` counts labels with another value, `labels_withdrawn` those without an outcome now.
    """
    if len(before) == len(after) and all(_equal(before[name], after[name]) for name in (ROW_ID, LABEL, KNOWN_AT)):
        return None
    both = before[[ROW_ID, LABEL]].merge(after[[ROW_ID, LABEL]], on=ROW_ID, how="inner", suffixes=("", "_after"))
    return {
        "labels_new": len(after) - len(both),
        "labels_changed": int((both[LABEL].astype(object) != both[f"{LABEL}_after"].astype(object)).sum()),
        "labels_withdrawn": len(before) - len(both),
    }


def _equal(a: pd.Series[Any], b: pd.Series[Any]) -> bool:
    one, other = a.astype(object).to_numpy(), b.astype(object).to_numpy()
    return bool(((one == other) | (pd.isna(one) & pd.isna(other))).all())


_ODD: Final = {  # messages for the counts of a join
    "labels_changed": "{:,} labels have another value than the one landed before",
    "labels_withdrawn": "{:,} labels were withdrawn: the label source has no outcome of these rows any more",
    "known_before_row": "{:,} rows have only outcomes that were known before the row's time; these are not the rows'",
    "known_at_missing": "{:,} outcomes have no time at which they became known, and do not count",
    "sentinel_outcomes": "{:,} outcomes have a value that means missing (ingest.missing)",
    "infinite_outcomes": "{:,} outcomes are infinite and do not count",
    "rounded_outcomes": "{:,} outcomes have more digits than a floating-point number holds, and are rounded",
    "null_keys": "{:,} outcomes without a key were left out",
    "orphans": "{:,} keys of the label source match no landed row",
    "keys_again": "{:,} keys name rows of several batches, which share an outcome; add a column that distinguishes them to ingest.key",
}


def oddities(facts: Facts) -> tuple[str, ...]:
    """Describe what was odd when outcomes were joined to rows."""
    odd = [words.format(facts[name]) for name, words in _ODD.items() if facts.get(name)]
    return (*odd, *odd_outcomes(facts))
