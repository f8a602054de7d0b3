"""From what a source gives to what is landed: rows without outcome, labels apart, and everything odd counted.

The same value reads the same in every batch, whatever type it arrives as: a column without missing values may come
as integers one month and as floats the next, and both must name the same row and the same category.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.schema import IngestConfig, LabelConfig, Source, Task
from trueup.domain.numbered import numbered
from trueup.domain.texts import NO_NUMBER, TIME, TRUTH
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Window
from trueup.domain.written_times import local_times, naming, no_such_time, read_texts, second_pass
from trueup.errors import SourceError

Facts = dict[str, Any]
ALL_COLUMNS: Final = "*"  # in `ingest.missing`

_TIME_UNIT: Final = "datetime64[us]"
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty"}
_TIMES = {"datetime", "datetime64", "date"}
_WHOLE_NUMBER = r"0|-?[1-9]\d{0,18}"
_INT64 = 2.0**63


@dataclass(frozen=True)
class Landing:
    """What one read of a source becomes.

    `rows`: `row_id`, `event_time` and the wanted columns that exist; one row a key, sorted by time and id, RangeIndex.
    `labels`: `row_id`, `event_time`, `label`, `known_at` of the rows that have an outcome; `known_at` is never before
    `event_time`, and NaT while it is not known; none where outcomes come from a source of their own, see `outcomes`.
    `facts`: counts and names of what was odd, plain JSON values.
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
) -> Landing:
    """Split what a source gave into rows and labels.

    `columns` are the wanted input columns, `numeric` those of them that must hold numbers. `batch` is part of a row's
    id: a key may come again in another batch, and names another row there. A wanted column that is
    missing, extra columns under the policy `fail`, and text where numbers belong are put down in the facts, for
    validation to judge. Rows without a key or a time are left out and counted; of several rows of a key the last stays.

    Raises SourceError when the data cannot be landed at all: columns of key, time or label missing, a column twice,
    times or outcomes that cannot be read.
    """
    facts = _check_columns(raw, config, columns)
    given = raw
    raw = _without_sentinels(raw, config, columns, numeric, facts)
    times, second = event_moments(raw[config.time], config, "ingest.time")
    moments = naming(times, second)
    if len(raw) and times.isna().all():
        raise SourceError(f"ingest.time: the column '{config.time}' is empty; name another, or fill it in the source")
    if config.key:
        keys = raw[config.key].assign(**({config.time: moments} if config.time in config.key else {}))
    else:
        keys = _numbered(given, moments, config)
    positions, row_ids = _unique_rows(keys, moments, times, batch, facts)
    facts |= _changes_of_clocks(raw[config.time], times, second, config.timezone)
    wanted = [c for c in columns if c in raw.columns]
    apart = config.label.source is not None
    used = [*wanted, *(c for c in (config.label.column, config.label.known_at) if c is not None and not apart)]
    # Column by column: selecting first and taking then would copy all of them twice.
    chosen = pd.DataFrame({c: raw[c].array.take(positions) for c in used}, copy=False)
    named = pd.DataFrame({ROW_ID: row_ids, EVENT_TIME: times.to_numpy()[positions]})
    inputs = _inputs(chosen[wanted], config, set(numeric) | set(config.coerce), facts)
    if config.time in inputs:
        inputs[config.time] = named[EVENT_TIME]
    rows = pd.DataFrame({ROW_ID: named[ROW_ID], EVENT_TIME: named[EVENT_TIME], **inputs}, copy=False)
    facts |= {"rows_read": len(raw), "rows": len(rows)}
    if apart:
        none = named.head(0)
        return Landing(rows, none.assign(**{LABEL: none[ROW_ID].astype(np.float64), KNOWN_AT: none[EVENT_TIME]}), facts)
    labels = _labels(chosen, named, second[positions], config, task, facts)
    facts |= {"labels": len(labels)}
    return Landing(rows, labels, facts)


def _check_columns(raw: pd.DataFrame, config: IngestConfig, columns: Sequence[str]) -> Facts:
    """Refuse what cannot be landed; name what is missing or more than asked for."""
    present = [str(c) for c in raw.columns]
    if twice := sorted({c for c in present if present.count(c) > 1}):
        raise SourceError(f"the source gives {', '.join(twice)} more than once; rename one in the source or its query")
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


def _without_sentinels(
    raw: pd.DataFrame, config: IngestConfig, columns: Sequence[str], numeric: Sequence[str], facts: Facts
) -> pd.DataFrame:
    """Let the values that mean "none" be missing, and count them; text that is left is typed anew by all its values."""
    label = config.label
    facts["sentinels"] = {}
    if not config.missing:
        return raw
    changed: dict[str, pd.Series[Any]] = {}
    # Only CSV files have text for want of types; elsewhere text means text unless it is to be numbers.
    numbers = {*numeric, *([] if isinstance(label.positive, str) else [label.column])}
    for name in dict.fromkeys([*columns, *config.key, label.column, *([label.known_at] if label.known_at else [])]):
        if name not in raw or not sentinels_of(name, config):
            continue
        of_file = config.source.kind == "files"
        typed = name not in {config.time, label.known_at} and (name in numbers or of_file)
        column, count = cleaned(raw[name], name, config, config.source, typed)
        if count:
            facts["sentinels"][name] = count
        if column is not raw[name]:
            changed[name] = column
    return raw.assign(**changed) if changed else raw


def cleaned(
    column: pd.Series[Any], name: str, config: IngestConfig, source: Source, typed: bool
) -> tuple[pd.Series[Any], int]:
    """Take out of a column what means "none" there, and say how often it stood there; `typed`: then type it anew."""
    decimal = getattr(source, "decimal", ".")
    found = are_sentinels(column, sentinels_of(name, config), decimal)
    left = column.mask(pd.Series(found, column.index)) if found.any() else column
    anew = _typed_anew(left, config.timezone, decimal, numbers_only=source.kind != "files") if typed else None
    return left if anew is None else anew, int(found.sum())


def sentinels_of(column: str, config: IngestConfig) -> list[str | int | float]:
    """The values that mean "none" in a column: its own, and those of '*' unless it is of the key, which a row must have."""
    general = [] if column in config.key else config.missing.get(ALL_COLUMNS, [])
    return [*config.missing.get(column, []), *general]


def are_sentinels(
    column: pd.Series[Any], values: Sequence[str | int | float], decimal: str = "."
) -> npt.NDArray[np.bool_]:
    """Say which values are one of some; numbers are compared as numbers, also those that are written as text.

    >>> are_sentinels(pd.Series(["-200", "-200.0", "?", " ? ", "5", None]), [-200, "?"]).tolist()
    [True, True, True, True, False, False]
    """
    if dtypes.is_bool_dtype(column) or dtypes.is_datetime64_any_dtype(column):
        return np.zeros(len(column), dtype=bool)
    numbers = [n for n in (_number(str(value), ".") for value in values) if n is not None]
    if dtypes.is_numeric_dtype(column):
        return column.isin(numbers).to_numpy(dtype=bool)
    texts = {str(value).strip() for value in values}
    codes, distinct = pd.factorize(as_text(column))
    trimmed = [str(text).strip() for text in distinct]
    found = [text in texts or _number(text, decimal) in numbers for text in trimmed]
    return np.array([*found, False], dtype=bool)[codes]  # the code of what is missing is -1


def _number(text: str, decimal: str) -> float | None:
    """Read text as a finite number; None if it is none, or a code such as 007."""
    try:
        number = float(text.replace(decimal, "."))
    except ValueError:
        return None
    return number if math.isfinite(number) and not re.search(NO_NUMBER, text) else None


def _typed_anew(column: pd.Series[Any], zone: str, decimal: str, numbers_only: bool) -> pd.Series[Any] | None:
    """Give a column of text the type that all of its values agree on, as a CSV's are typed; None where that is text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if dtypes.infer_dtype(column, skipna=True) != "string":
        return None
    codes, distinct = pd.factorize(as_text(column))
    texts = pd.Series(distinct, dtype=object).str.strip()
    typed = _typed_texts(texts, zone, decimal, numbers_only)
    if typed is None:
        return None
    anew: pd.Series[Any] = typed.reindex(codes).set_axis(column.index)
    return anew


def _typed_texts(texts: pd.Series[Any], zone: str, decimal: str, numbers_only: bool) -> pd.Series[Any] | None:
    if not numbers_only and texts.str.contains(TRUTH).all():
        return (texts.str.lower() == "true").astype(object)
    if not numbers_only and texts.str.contains(TIME).all():
        try:
            return parse_times(texts, zone, "")
        except SourceError:
            return None
    if texts.str.contains(NO_NUMBER).any() or (decimal == "," and texts.str.contains(".", regex=False).any()):
        return None
    numbers = pd.to_numeric(texts.str.replace(decimal, ".", regex=False), errors="coerce")
    return None if (numbers.isna() & ~texts.str.lower().isin(["nan", "-nan", "+nan"])).any() else numbers


def _unique_rows(
    keys: pd.DataFrame, moments: pd.Series[Any], times: pd.Series[Any], batch: Window | None, facts: Facts
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Give the positions of the rows to land, sorted by time and id, and their ids.

    Of the same local time those of the second pass of a repeated hour come later: their `moments` are.
    """
    no_key = keys.isna().any(axis=1).to_numpy()
    no_time = times.isna().to_numpy()
    positions = np.flatnonzero(~(no_key | no_time))
    row_ids = key_hash(keys if len(positions) == len(keys) else keys.take(positions), batch)
    earlier = pd.Series(row_ids).duplicated(keep="last").to_numpy()
    if earlier.any():
        positions, row_ids = positions[~earlier], row_ids[~earlier]
    order = np.lexsort((row_ids, moments.to_numpy()[positions], times.to_numpy()[positions]))
    facts |= {
        "null_keys": int(no_key.sum()),
        "null_times": int((no_time & ~no_key).sum()),
        "duplicates": int(earlier.sum()),
    }
    return positions[order], row_ids[order]


def _numbered(given: pd.DataFrame, times: pd.Series[Any], config: IngestConfig) -> pd.DataFrame:
    """What names rows that no column names: all that the source gives of them but the outcome, which may come or change later."""
    later = {config.time, config.label.column, config.label.known_at}
    texts = {str(c): as_text(given[c]) for c in given.columns if str(c) not in later}
    return numbered(pd.DataFrame({**texts, config.time: times}))


def _changes_of_clocks(raw: pd.Series[Any], times: pd.Series[Any], second: npt.NDArray[np.bool_], zone: str) -> Facts:
    """Count the rows in an hour that comes twice, and times without zone that there are not; nothing where there are none."""
    named = dtypes.is_datetime64_any_dtype(raw) and raw.dt.tz is not None
    facts = {"repeated_hour": int(second.sum()), "no_such_time": 0 if named else no_such_time(times, zone)}
    return {name: count for name, count in facts.items() if count}


def _inputs(chosen: pd.DataFrame, config: IngestConfig, numeric: set[str], facts: Facts) -> dict[str, pd.Series[Any]]:
    """Bring each input column to numbers, times or text."""
    facts |= {"coerced": {}, "not_numeric": [], "mixed": []}
    landed: dict[str, pd.Series[Any]] = {}
    for name, column in ((str(n), c) for n, c in chosen.items()):
        if name not in numeric:
            landed[name], mixed = _tidy(column, config.timezone, name)
            facts["mixed"] += [name] if mixed else []
        elif (numbers := as_numbers(column)) is not None:
            landed[name] = numbers
        elif name in config.coerce:
            landed[name], facts["coerced"][name] = _coerce(column)
        else:
            landed[name] = as_text(column)
            facts["not_numeric"].append(name)
    return landed


def _tidy(column: pd.Series[Any], zone: str, name: str) -> tuple[pd.Series[Any], bool]:
    """Bring a column that need not hold numbers to something that can be stored; say whether it was of mixed types."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        text = dtypes.infer_dtype(column.cat.categories) in {"string", "empty"}
        return (column, False) if text else (as_text(column), False)
    kind = "datetime" if dtypes.is_datetime64_any_dtype(column) else dtypes.infer_dtype(column, skipna=True)
    if kind == "string":
        return as_text(column), False
    if kind in _TIMES:
        return parse_times(column, zone, name), False
    numbers = as_numbers(column)
    return (as_text(column), True) if numbers is None else (numbers, False)


def _coerce(column: pd.Series[Any]) -> tuple[pd.Series[Any], dict[str, int]]:
    """Read text as numbers. `parsed` counts the texts that were numbers, `failed` all values that were not."""
    numbers = pd.to_numeric(as_text(column), errors="coerce").astype(np.float64)
    text = np.fromiter((isinstance(value, str) for value in column), dtype=bool, count=len(column))
    failed = (numbers.isna() & column.notna()).to_numpy()
    return numbers, {"parsed": int((text & ~failed).sum()), "failed": int(failed.sum())}


def _labels(
    chosen: pd.DataFrame,
    named: pd.DataFrame,
    second: npt.NDArray[np.bool_],
    config: IngestConfig,
    task: Task,
    facts: Facts,
) -> pd.DataFrame:
    """Derive the labels frame: one row for each row that has an outcome.

    In the `second` pass of a repeated hour an outcome counts an hour later: else it would seem to be known in the first.
    """
    label = config.label
    values = label_values(chosen[label.column], config, task, facts)
    has_value = values.notna()
    happened = named[EVENT_TIME]
    if label.known_after is not None:
        known = happened + pd.Timedelta(label.known_after)
    else:
        told = chosen[str(label.known_at)]
        known, again = parse_moments(told, config.timezone, "ingest.label.known_at", config.time_format)
        second = second | again
    known = known.mask(second, known + pd.Timedelta(hours=1))
    too_early = known < happened
    known = known.mask(too_early, happened).astype(_TIME_UNIT)
    facts.setdefault("infinite_outcomes", 0)
    facts |= {
        "no_outcome": int((~has_value).sum()),
        "known_at_clipped": int((too_early & has_value).sum()),
        "known_at_missing": int((known.isna() & has_value).sum()),
    }
    return named.assign(**{LABEL: values, KNOWN_AT: known})[has_value.to_numpy()].reset_index(drop=True)


def label_values(outcome: pd.Series[Any], config: IngestConfig, task: Task, facts: Facts) -> pd.Series[Any]:
    """Make labels of outcomes: text for a multiclass task, else float64; missing without outcome. Raises SourceError."""
    return as_text(outcome) if task is Task.MULTICLASS else _numeric_label(outcome, config, task, facts)


def key_values(raw: pd.DataFrame, config: IngestConfig, names: Mapping[str, str], place: str) -> pd.DataFrame:
    """The key's columns, which may be called otherwise, brought to what landed rows hold, so that both compare."""
    found = {}
    for name, there in names.items():
        if name == config.time:
            found[name] = naming(*parse_moments(raw[there], config.timezone, place, config.time_format))
        else:
            found[name], _ = _tidy(raw[there], config.timezone, place)
    return pd.DataFrame(found, copy=False)


def _numeric_label(outcome: pd.Series[Any], config: IngestConfig, task: Task, facts: Facts) -> pd.Series[Any]:
    """Give the label as float64: 0 or 1 for a binary task, the outcome itself for a regression; NaN without outcome."""
    label = config.label
    if isinstance(label.positive, str):
        return (as_text(outcome) == label.positive).astype(np.float64).where(outcome.notna())
    numbers = as_numbers(outcome)
    if numbers is None and label.column in config.coerce:
        numbers, facts["coerced"][label.column] = _coerce(outcome)
    if numbers is None:
        raise _not_numbers(outcome, label, task)
    values = numbers.astype(np.float64).replace([np.inf, -np.inf], np.nan)
    facts["infinite_outcomes"] = int((values.isna() & numbers.notna()).sum())
    if task is Task.REGRESSION:
        return values
    if label.above is not None:
        return (values > label.above).astype(np.float64).where(values.notna())
    if label.positive is not None:
        return (values == float(label.positive)).astype(np.float64).where(values.notna())
    if (other := values[values.notna() & ~values.isin([0, 1])]).size:
        raise SourceError(
            f"ingest.label.column: '{label.column}' holds {len(other)} values besides 0 and 1, the first is "
            f"{other.iloc[0]:g}; say what counts as 1 with ingest.label.above or ingest.label.positive"
        )
    return values


def _not_numbers(outcome: pd.Series[Any], label: LabelConfig, task: Task) -> SourceError:
    """Say which outcomes are not numbers, and what to do."""
    bad = outcome[outcome.notna() & pd.to_numeric(as_text(outcome), errors="coerce").isna()]
    found = f"{len(bad)} values are not numbers, the first is {bad.iloc[0]!r}" if len(bad) else "its numbers are text"
    mend = f"add '{label.column}' to ingest.coerce to read text as numbers"
    if task is Task.BINARY and label.above is None:
        mend += ", or set ingest.label.positive to the text that counts as 1, in quotes"
    return SourceError(f"ingest.label.column: '{label.column}' must hold numbers, but {found}; {mend}")


def event_times(column: pd.Series[Any], config: IngestConfig, place: str) -> pd.Series[Any]:
    """Read the column of a row's event time as the config says: zone, format, and what means that there is none."""
    return event_moments(column, config, place)[0]


def event_moments(
    column: pd.Series[Any], config: IngestConfig, place: str
) -> tuple[pd.Series[Any], npt.NDArray[np.bool_]]:
    """Read the same, and say which times lie in the second pass of an hour that comes twice."""
    if values := sentinels_of(config.time, config):
        column = column.mask(pd.Series(are_sentinels(column, values), column.index))
    return parse_moments(column, config.timezone, place, config.time_format)


def parse_times(column: pd.Series[Any], zone: str, place: str, time_format: str | None = None) -> pd.Series[Any]:
    """Read a column as times: datetime64[us] without zone, in `zone`; missing stays NaT.

    Times with a zone are brought to `zone`, times without are taken to be in it. Text must be in `time_format` (of
    strftime, or a way to count time), or ISO 8601, perhaps with UTC behind it: other forms leave day and month to
    guesswork, which may change from batch to batch. Numbers are refused for the same reason, unless a format says how their digits are meant.
    Raises SourceError, beginning with `place`.

    >>> parse_times(pd.Series(["2013-07-01 05:00", "2013-07-01T05:00Z"]), "America/New_York", "time").dt.hour.tolist()
    [5, 1]
    >>> parse_times(pd.Series(["02/01/2013"]), "UTC", "time", "%d/%m/%Y").dt.day.tolist()
    [2]
    """
    return parse_moments(column, zone, place, time_format)[0]


def parse_moments(
    column: pd.Series[Any], zone: str, place: str, time_format: str | None = None
) -> tuple[pd.Series[Any], npt.NDArray[np.bool_]]:
    """Read a column as `parse_times`, and say which times lie in the second pass of an hour that comes twice."""
    if not dtypes.is_datetime64_any_dtype(column):
        return _parse_text_times(column, zone, place, time_format)
    if column.dt.tz is None:
        return column.astype(_TIME_UNIT), np.zeros(len(column), dtype=bool)
    there = column.dt.tz_convert(zone)
    return there.dt.tz_localize(None).astype(_TIME_UNIT), second_pass(there)


def _parse_text_times(
    column: pd.Series[Any], zone: str, place: str, time_format: str | None
) -> tuple[pd.Series[Any], npt.NDArray[np.bool_]]:
    if dtypes.infer_dtype(column, skipna=True) in _TIMES:
        time_format = None  # times already, one by one
    if time_format is None and (numbers := as_numbers(column)) is not None and numbers.notna().any():
        raise SourceError(
            f"{place}: '{column.name}' holds numbers such as {numbers.dropna().iloc[0]:g}, not times; "
            "convert them in the source's query, or say with ingest.time_format how their digits are meant"
        )
    codes, values = pd.factorize(as_text(column))
    texts = pd.Series(values, dtype=object).astype(str).str.strip()
    moments, zoned = read_texts(texts, time_format)
    if (bad := moments.isna().to_numpy()).any():
        mend = (
            f"they are not of the form {time_format!r}: correct ingest.time_format"
            if time_format
            else "write them as 2013-01-31 05:00:00, say with ingest.time_format how they are written,"
        )
        raise SourceError(
            f"{place}: {int(bad[codes[codes >= 0]].sum())} of {len(column)} values of '{column.name}' are not times, "
            f"the first is {values[int(bad.argmax())]!r}; {mend} or convert them in the source's query"
        )
    parsed = local_times(moments, zoned, zone).astype(_TIME_UNIT)
    second = np.append(second_pass(moments.dt.tz_convert(zone)) & zoned.to_numpy(), False)
    missing = np.array([np.datetime64("NaT")], dtype=_TIME_UNIT)
    times = pd.Series(np.concatenate([parsed.to_numpy(), missing])[codes], index=column.index, name=column.name)
    return times, second[codes]


def as_numbers(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """Give a column of numbers or booleans as int64, float64 or float32, or None if it holds anything else.

    Integers stay integers while none is missing. A column without any value counts as numbers, all NaN.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if dtypes.is_bool_dtype(column) or dtypes.is_integer_dtype(column):
        whole = not column.hasnans and column.dtype != np.uint64
        return column.astype(np.int64) if whole else pd.Series(_floats(column), column.index, name=column.name)
    if dtypes.is_float_dtype(column):
        return column if column.dtype == np.float32 else pd.Series(_floats(column), column.index, name=column.name)
    if column.dtype != object or dtypes.infer_dtype(column, skipna=True) not in _NUMBERS:
        return None
    return pd.Series(_floats(column), column.index, name=column.name)


def _floats(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Give a column as text (object; missing stays missing), the same for a value of any type: 1.0 is "1".

    >>> as_text(pd.Series([1, 2.5, None, "1", True], dtype=object)).tolist()
    ['1', '2.5', None, '1', 'True']
    """
    if column.dtype == object:
        if dtypes.infer_dtype(column, skipna=True) == "string":
            return column
        texts = [None if pd.isna(value) else _text(value) for value in column]
        return pd.Series(texts, index=column.index, name=column.name, dtype=object)
    codes, values = pd.factorize(column)  # each distinct value is written once
    distinct = np.array([*map(_text, values), None], dtype=object)
    return pd.Series(distinct[codes], index=column.index, name=column.name, dtype=object)


def _text(value: object) -> str:
    if isinstance(value, float | np.floating | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def key_hash(keys: pd.DataFrame, batch: Window | None = None) -> npt.NDArray[np.int64]:
    """Give each row's id: a 64-bit hash of its key columns, in their order, none of them missing, and of its batch.

    Stable over batches, processes and types: 1, 1.0 and "1" are the same key, while "1.0" and "01" are other texts.
    Two of n different keys share an id with a probability of about n² / 2⁶⁵: 3e-7 for 3.4 million rows. Text counts
    up to a NUL character, as in all of pandas' look-ups.
    """
    hashed = pd.DataFrame({name: _hashes(column) for name, column in keys.items()}, copy=False)
    if batch is not None:
        start = np.array([batch.start], dtype=_TIME_UNIT).astype(np.int64)
        hashed = pd.concat([hashed, pd.Series(pd.util.hash_array(start)[0], index=hashed.index)], axis=1)
    return pd.util.hash_pandas_object(hashed, index=False).to_numpy().view(np.int64)


def _hashes(column: pd.Series[Any]) -> npt.NDArray[np.uint64]:
    """Hash whole numbers as integers, times as microseconds, all else as text."""
    if dtypes.is_datetime64_any_dtype(column):
        return pd.util.hash_array(parse_times(column, "UTC", "ingest.key").to_numpy().astype(np.int64))
    values = column.to_numpy()
    if values.dtype.kind in "iuf" and (np.abs(values.astype(np.float64)) < _INT64).all():
        integers = values.astype(np.int64)
        if (integers == values).all():
            return pd.util.hash_array(integers)
    codes, texts = pd.factorize(as_text(column).to_numpy())
    hashed = pd.util.hash_array(texts, categorize=False)
    whole = pd.Series(texts, dtype=object).str.fullmatch(_WHOLE_NUMBER).to_numpy(dtype=bool)
    whole[whole] = np.abs(texts[whole].astype(np.float64)) < _INT64
    hashed[whole] = pd.util.hash_array(texts[whole].astype(np.int64))
    return hashed[codes]
