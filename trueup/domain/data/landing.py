"""Lands what a source returns: rows without outcome, labels separately, and counts of everything odd.

A value reads the same in every batch, whatever type it arrives as. A column may arrive as integers one month and, with
missing values, as floats the next, and both must identify the same row and the same category. So each column is
converted to the kind that it has for the dataset's whole life (see `values`), never to that of a single batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.sections.ingest import IngestConfig
from trueup.config.tasks import Task
from trueup.domain.data.cleaning import cleaned
from trueup.domain.data.column_kinds import (
    bring,
    carried,
    coerce,
    declared_kinds,
    examples,
    finer,
    first_kinds,
    is_mixed,
    nested,
    rewritten,
)
from trueup.domain.data.moments import TIME_UNIT, event_moments, parse_moments
from trueup.domain.data.outcome_values import LandedFacts, label_values
from trueup.domain.data.row_ids import numbered
from trueup.domain.data.sentinels import sentinels_of
from trueup.domain.data.time_formats import naming, no_such_time
from trueup.domain.data.values import ColumnKind, as_text, canonical_text, key_hash, lost_digits, rounded, settled
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Facts, Window
from trueup.errors import SourceError


@dataclass(frozen=True)
class Landing:
    """The result of landing one read of a source.

    `rows`: `row_id`, `event_time` and the wanted columns that exist; one row per key, sorted by time and id,
    RangeIndex. `labels`: `row_id`, `event_time`, `label`, `known_at` of the rows that have an outcome; `known_at` is
    never before `event_time`, and NaT while it is not known. None with a separate label source, see `outcomes`.
    `facts`: counts and names of oddities, as plain JSON values.
    """

    rows: pd.DataFrame
    labels: pd.DataFrame
    facts: Facts


def split(
    raw: pd.DataFrame,
    config: IngestConfig,
    task: Task,
    columns: Sequence[str],
    numeric: Sequence[str],
    batch: Window | None = None,
    landed: LandedFacts = LandedFacts(),  # noqa: B008  frozen
) -> Landing:
    """Split what a source returned into rows and labels. The caller should keep no reference to `raw`: it is let go here.

    `columns` are the wanted input columns, `numeric` those that must be numeric. `batch` is part of a row's id, because
    a key may repeat in another batch for another row. `landed` is what earlier landings fixed; `facts["kinds"]` and
    `facts["outcomes"]` return it with this batch's additions. The facts record missing columns, extra columns under the
    policy `fail`, and values of another kind, for validation to judge. Rows without a key or a time are left out and
    counted; of several rows with the same key the last stays.

    Raises SourceError if the data cannot be landed: columns of key, time or label missing, a duplicate column, times or
    outcomes that cannot be read, keys that have lost digits.
    """
    facts = _check_columns(raw, config, columns)
    apart = config.label.source is not None
    require_flat(raw, [*columns, *([] if apart else [config.label.column])], "ingest.source")
    as_read, declared = raw, settled(declared_kinds(config, numeric), landed.kinds)
    raw = _without_sentinels(raw, config, columns, declared, facts)
    kinds = first_kinds(raw, [*config.key, *columns], declared, landed)
    times, second = event_moments(raw[config.time], config, "ingest.time")
    moments = naming(times, second)
    if len(raw) and times.isna().all():
        raise SourceError(f"ingest.time: the column '{config.time}' is empty; name another, or fill it in the source")
    keys = _keys(raw, moments, config, kinds) if config.key else _numbered(as_read, moments, config, kinds)
    positions, row_ids = _unique_rows(keys, moments, times, batch, facts)
    facts |= _changes_of_clocks(raw[config.time], times, second, config.timezone)
    facts |= {"rows_read": len(raw)}
    wanted = [c for c in columns if c in raw.columns]
    outcomes = [] if apart else [c for c in (config.label.column, config.label.known_at) if c is not None]
    named = pd.DataFrame({ROW_ID: row_ids, EVENT_TIME: times.to_numpy()[positions]})
    # Column by column: selecting, then taking rows would copy everything twice.
    chosen = ((name, pd.Series(raw[name].array.take(positions), name=name, copy=False)) for name in wanted)
    inputs = _inputs(chosen, config, kinds, declared, facts)
    outcome = pd.DataFrame({name: raw[name].array.take(positions) for name in outcomes}, copy=False)
    del raw, as_read, keys, times, moments
    if config.time in inputs:
        inputs[config.time] = named[EVENT_TIME]
    rows = pd.DataFrame({ROW_ID: named[ROW_ID], EVENT_TIME: named[EVENT_TIME], **inputs}, copy=False)
    facts |= {"rows": len(rows), "kinds": carried(landed.kinds, kinds) | facts["kinds"]}
    if apart:
        none = named.head(0)
        return Landing(rows, none.assign(**{LABEL: none[ROW_ID].astype(np.float64), KNOWN_AT: none[EVENT_TIME]}), facts)
    labels = _labels(outcome, named, second[positions], config, task, facts, landed)
    facts |= {"labels": len(labels)}
    return Landing(rows, labels, facts)


def _check_columns(raw: pd.DataFrame, config: IngestConfig, columns: Sequence[str]) -> Facts:
    """Refuse data that cannot be landed; list missing and extra columns."""
    present = [str(c) for c in raw.columns]
    if twice := sorted({c for c in present if present.count(c) > 1}):
        raise SourceError(f"the source has {', '.join(twice)} more than once; rename one in the source or its query")
    needed = {config.time: "ingest.time", **dict.fromkeys(config.key, "ingest.key")}
    if config.label.source is None:
        needed |= {config.label.column: "ingest.label.column"}
        needed |= {config.label.known_at: "ingest.label.known_at"} if config.label.known_at is not None else {}
    if absent := [f"{column} ({place})" for column, place in needed.items() if column not in present]:
        raise SourceError(
            f"the source lacks {', '.join(absent)}; it has {', '.join(present) or 'no columns'}. "
            "Name columns that exist in the config, or select these in the source's query"
        )
    own = {ROW_ID, EVENT_TIME, LABEL, KNOWN_AT} - ({EVENT_TIME} if config.time == EVENT_TIME else set())
    if reserved := sorted(own & set(columns)):
        raise SourceError(f"{', '.join(reserved)}: names that Trueup adds itself; rename them in the source's query")
    extra = [c for c in present if c not in {*columns, *needed, config.label.column}]
    fails = config.extra_columns == "fail"
    return {
        "missing": [c for c in columns if c not in present],
        "extra": [] if fails else extra,
        "extra_failed": extra if fails else [],
    }


def require_flat(raw: pd.DataFrame, columns: Sequence[str], place: str) -> None:
    """Refuse columns of lists or structs. Raises SourceError."""
    if nested_columns := [c for c in dict.fromkeys(columns) if c in raw and nested(raw[c])]:
        raise SourceError(
            f"{place}: {', '.join(map(repr, nested_columns))} hold lists, structs or maps, and a column of rows holds single values; "
            "extract the parts in the source's query, or remove the columns from the config"
        )


def _without_sentinels(
    raw: pd.DataFrame, config: IngestConfig, columns: Sequence[str], kinds: Mapping[str, ColumnKind], facts: Facts
) -> pd.DataFrame:
    """Turn values that mean "missing" into missing ones and count them; convert remaining text of numeric columns."""
    label = config.label
    facts["sentinels"] = {}
    if not config.missing:
        return raw
    changed: dict[str, pd.Series[Any]] = {}
    for name in dict.fromkeys([*columns, *config.key, label.column, *([label.known_at] if label.known_at else [])]):
        if name not in raw or not sentinels_of(name, config):
            continue
        # Only CSV files have text for lack of types; elsewhere text is text unless the column is numeric.
        unknown = name not in kinds and config.source.kind == "files" and name != label.column
        typed = name not in {config.time, label.known_at} and (unknown or kinds.get(name) in {"number", "integer"})
        column, count = cleaned(raw[name], name, config, config.source, typed)
        if count:
            facts["sentinels"][name] = count
        if column is not raw[name]:
            changed[name] = column
    if not changed:
        return raw
    replaced = raw.copy(deep=False)  # `assign` would copy all columns
    for name, column in changed.items():
        replaced[name] = column
    return replaced


def _unique_rows(
    keys: pd.DataFrame, moments: pd.Series[Any], times: pd.Series[Any], batch: Window | None, facts: Facts
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Return the positions of the rows to land, sorted by time and id, and their ids.

    Of equal local times, those in the second pass of a repeated hour are later by their `moments`.
    """
    no_key = keys.isna().any(axis=1).to_numpy()
    no_time = times.isna().to_numpy()
    positions = np.flatnonzero(~(no_key | no_time))
    row_ids = key_hash(keys if len(positions) == len(keys) else keys.take(positions), batch.start if batch else None)
    earlier = pd.Series(row_ids).duplicated(keep="last").to_numpy()
    if earlier.any():
        positions, row_ids = positions[~earlier], row_ids[~earlier]
    order = np.lexsort((row_ids, moments.to_numpy()[positions], times.to_numpy()[positions]))
    facts |= {
        "null_keys": int((no_key & ~no_time).sum()),
        "null_times": int(no_time.sum()),
        "duplicates": int(earlier.sum()),
    }
    return positions[order], row_ids[order]


def _numbered(
    as_read: pd.DataFrame, times: pd.Series[Any], config: IngestConfig, kinds: Mapping[str, ColumnKind]
) -> pd.DataFrame:
    """Identify rows without a key by all their values except the outcome, which may come or change later."""
    later = {config.time, config.label.column, config.label.known_at}
    texts = {
        str(c): canonical_text(as_read[c], "digits" if kinds.get(str(c)) == "digits" else "text")
        for c in as_read.columns
        if str(c) not in later and not nested(as_read[c])
    }
    return numbered(pd.DataFrame({**texts, config.time: times}))


def _changes_of_clocks(raw: pd.Series[Any], times: pd.Series[Any], second: npt.NDArray[np.bool_], zone: str) -> Facts:
    """Count the rows in a repeated hour, and times that the zone leaves out."""
    named = dtypes.is_datetime64_any_dtype(raw) and raw.dt.tz is not None
    facts = {"repeated_hour": int(second.sum()), "no_such_time": 0 if named else no_such_time(times, zone)}
    return {name: count for name, count in facts.items() if count}


def _keys(
    raw: pd.DataFrame, moments: pd.Series[Any], config: IngestConfig, kinds: Mapping[str, ColumnKind]
) -> pd.DataFrame:
    """The key columns, with the parsed moments of the time."""
    others = {name: name for name in config.key if name != config.time}
    keys = key_values(raw, config, others, "ingest.key", kinds)
    return pd.DataFrame({name: moments if name == config.time else keys[name] for name in config.key}, copy=False)


def _inputs(
    chosen: Iterable[tuple[str, pd.Series[Any]]],
    config: IngestConfig,
    kinds: Mapping[str, ColumnKind],
    declared: Mapping[str, ColumnKind],
    facts: Facts,
) -> dict[str, pd.Series[Any]]:
    """Convert each input column to its kind. Columns that do not fit become text and are listed."""
    facts |= {"coerced": {}, "mixed": [], "mistyped": {}, "respelled": {}, "rounded": {}, "rewritten": {}}
    landed: dict[str, pd.Series[Any]] = {}
    for name, column in chosen:
        if name == config.time:
            landed[name] = column  # read already
            continue
        kind = kinds.get(name, "number")  # a column without values is numeric, all missing
        if name not in declared and kind == "text" and is_mixed(column):
            facts["mixed"].append(name)
        brought = bring(column, kind, config.timezone)
        if brought is None and name in config.coerce:
            brought, facts["coerced"][name] = coerce(column)
        if brought is None:
            facts["mistyped"][name] = {"kind": kind, "examples": examples(column, kind, config.timezone)}
        landed[name] = as_text(column) if brought is None else brought
        if kind == "digits" and (count := int((landed[name] != as_text(column))[column.notna()].sum())):
            facts["respelled"][name] = count
        if kind == "number" and (count := rounded(column)):
            facts["rounded"][name] = count
        if counts := rewritten(column, kind):
            facts["rewritten"][name] = counts
    fits = {n for n, column in landed.items() if n not in facts["mistyped"] and column.notna().any()}
    facts["kinds"] = {name: kind for name, kind in kinds.items() if name in fits}
    return landed


def _labels(
    chosen: pd.DataFrame,
    named: pd.DataFrame,
    second: npt.NDArray[np.bool_],
    config: IngestConfig,
    task: Task,
    facts: Facts,
    landed: LandedFacts,
) -> pd.DataFrame:
    """Derive the labels frame, with a row for each row that has an outcome.

    In the `second` pass of a repeated hour an outcome counts an hour later, or it would seem known in the first pass.
    """
    label = config.label
    values = label_values(chosen[label.column], config, task, facts, landed.outcomes)
    has_value = values.notna()
    happened = named[EVENT_TIME]
    if label.known_after is not None:
        since = happened + pd.Timedelta(label.known_after)
    else:
        moments = chosen[str(label.known_at)]
        since, again = parse_moments(moments, config.timezone, "ingest.label.known_at", config.time_format)
        second = second | again
    since = since.mask(second, since + timedelta(hours=1))
    too_early = since < happened
    since = since.mask(too_early, happened).astype(TIME_UNIT)
    facts.setdefault("infinite_outcomes", 0)
    facts |= {
        "no_outcome": int((~has_value).sum()),
        "known_at_clipped": int((too_early & has_value).sum()),
        "known_at_missing": int((since.isna() & has_value).sum()),
    }
    return named.assign(**{LABEL: values, KNOWN_AT: since})[has_value.to_numpy()].reset_index(drop=True)


def key_values(
    raw: pd.DataFrame, config: IngestConfig, names: Mapping[str, str], place: str, kinds: Mapping[str, ColumnKind]
) -> pd.DataFrame:
    """Return the key columns, which may have other names, converted to the kinds of landed rows, so that both compare.

    Raises SourceError for values that are not of a column's kind, and for numbers that have lost digits.
    """
    columns = {}
    for name, there in names.items():
        if name == config.time:
            columns[name] = naming(*parse_moments(raw[there], config.timezone, place, config.time_format))
            continue
        if lost := lost_digits(raw[there]):
            raise SourceError(
                f"{place}: '{there}' holds {lost:,} floating-point numbers beyond 2^53, which have lost their last digits, so "
                "that different rows may share a key; make it text or integers, as with CAST in the source's query"
            )
        if lost := finer(raw[there]):
            raise SourceError(
                f"{place}: '{there}' holds {lost:,} times that are finer than a microsecond, and times are kept in whole ones, so "
                "that different rows may share a key; make it text, as with CAST in the source's query"
            )
        kind = kinds.get(name, "text")
        brought = bring(raw[there], kind, config.timezone)
        if brought is None:
            odd = ", ".join(map(repr, examples(raw[there], kind, config.timezone)))
            raise SourceError(
                f"{place}: '{there}' is of type {kind} in this dataset and holds others, such as {odd}; a key keeps "
                "its type: correct the source, or convert it in the query"
            )
        columns[name] = brought
    return pd.DataFrame(columns, copy=False)
