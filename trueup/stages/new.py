"""New: from a table that nobody has described to a config in which every guess is marked."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.adapters.sources import open_source
from trueup.config.checks import zone
from trueup.config.load import parse_model, sound_name
from trueup.config.schema import FeaturesConfig, IngestConfig, ModelConfig, Task, parse_duration
from trueup.domain.landing import as_numbers, as_text, split
from trueup.domain.periods import Period
from trueup.domain.profile.columns import Column, comma_decimals, profile, thousands
from trueup.domain.profile.people import personal
from trueup.domain.profile.suspects import Suspect, suspects
from trueup.domain.profile.times import Gap, Times, choose_period, disorder, gaps, read_times
from trueup.domain.profile.usual import Usual, learn
from trueup.domain.profile.worth import Choice, Judge, choose
from trueup.domain.types import EVENT_TIME
from trueup.errors import SourceError, UsageError
from trueup.stages.draft import coerced, missing_of, write_draft
from trueup.stages.ports import Ports

_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_DATABASE = re.compile(
    r"^(sqlite|postgres(?:ql)?|mysql|mariadb|mssql|oracle|duckdb|snowflake|redshift|trino|bigquery)(\+\w+)?://"
)
_SECRET = re.compile(
    r"://[^:/@?#]*:(?!\$\{\w+\}@)[^@/]*@|[?&][^=&]*(?:pass|pwd|secret|token|sig|credential|key)[^=&]*=(?!\$\{)",
    re.IGNORECASE,
)
_ENCODINGS = ("cp1252", "latin-1")
_POSITIVE = {
    "yes",
    "y",
    "true",
    "t",
    "1",
    "bad",
    "default",
    "defaulted",
    "churn",
    "churned",
    "fraud",
    "late",
    "positive",
    "malignant",
    "returned",
    "failed",
}
_CLASSES = 20  # whole numbers of more kinds are an amount, not classes
_KNOWN = "known at, of the outcome"  # a column of its own: the outcomes' may be called like one of the rows'
_WINDOWS = (timedelta(days=7), timedelta(days=28))  # of histories
_AGAIN = 5  # times that each class comes, or it is an amount
_ALL_ROWS = 200_000  # of larger tables evenly spaced rows are looked at


@dataclass(frozen=True)
class Ask:
    """What the person says about the table."""

    name: str
    data: str
    time: str
    label: str
    key: tuple[str, ...] = ()
    available_after: timedelta | None = None
    query: str | None = None
    labels: str | None = None
    task: Task | None = None
    positive: str | None = None
    above: float | None = None
    timezone: str = "UTC"
    period: Period | None = None


@dataclass(frozen=True)
class Outcome:
    """What is predicted: the task, what counts as 1, and when it is known."""

    task: Task
    positive: str | int | None
    values: pd.Series[Any]  # the label of each row, as the source gives it; missing where not known
    known_after: timedelta | None
    known_at: str | None
    key: dict[str, str]
    takes: timedelta  # how long an outcome takes, for nine of ten rows
    why: str  # of the delay
    guessed: bool
    known: pd.Series[Any] | None = None  # when each row's outcome became known, where a second table says it


@dataclass(frozen=True)
class Spans:
    """How the loop is paced."""

    period: Period
    rows: float  # median of a batch
    min_history: timedelta
    gate_window: timedelta
    min_new_days: int
    block: timedelta
    stale_after: timedelta
    windows: tuple[timedelta, ...]


@dataclass(frozen=True)
class Findings:
    """All that was found about a table; the config is written from it."""

    ask: Ask
    source: dict[str, Any]
    label_source: dict[str, Any] | None
    rows: int
    times: Times
    disorder: float
    gaps: tuple[Gap, ...]
    key: tuple[str, ...]
    key_why: str
    duplicates: int
    outcome: Outcome
    spans: Spans
    columns: dict[str, Column]
    suspects: tuple[Suspect, ...]
    personal: tuple[tuple[str, str, bool], ...]
    left_out: dict[str, str]
    choice: Choice | None
    features: FeaturesConfig
    usual: Usual
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Drafted:
    """The config's text, its path, and what people should know."""

    path: Path
    text: str
    findings: Findings
    config: ModelConfig


def draft(ask: Ask, ports: Ports, replace_it: bool = False) -> Drafted:
    """Look at the data and write a config, without saving it.

    Raises UsageError for columns that are not there, times that cannot be read, a name that is taken (unless `replace_it`)
    and a column of outcomes that tells nothing, SourceError when the data cannot be read.
    """
    sound_name(ask.name)
    path = ports.configs / f"{ask.name}.yaml"
    if path.exists() and not replace_it:
        raise UsageError(f"{path} exists; choose another name, or overwrite it with --force")
    try:
        zone(ask.timezone)
    except ValueError as error:
        raise UsageError(f"--timezone {ask.timezone}: {error}") from None
    found = look(ask, ports.configs)
    text = write_draft(found)
    return Drafted(path, text, found, parse_model(text, str(path)))


def save(drafted: Drafted, replace_it: bool = False) -> None:
    """Write the config beside the others, whole or not at all. Raises UsageError when there is one already."""
    if drafted.path.exists() and not replace_it:
        raise UsageError(f"{drafted.path} exists; choose another name, or overwrite it with --force")
    drafted.path.parent.mkdir(parents=True, exist_ok=True)
    beside = drafted.path.with_suffix(".yaml.new")
    beside.write_text(drafted.text)
    beside.replace(drafted.path)


def look(ask: Ask, configs: Path) -> Findings:
    """Find out everything that the config is written from."""
    source, raw, notes = _read(ask, ask.data, ask.query, configs)
    label_source = None
    if ask.labels is not None:
        label_source, outcomes, more = _read(ask, ask.labels, None, configs)
        notes += more
    _require(raw, [ask.time, *ask.key, *([] if label_source else [ask.label])], ask.data)
    rows, repeated = len(raw), int(raw.duplicated().sum())
    raw = raw.drop_duplicates(ignore_index=True)
    times = read_times(raw[ask.time], ask.timezone)
    if not times.moments.notna().any():
        raise UsageError(
            f"--time {ask.time}: holds {', '.join(map(repr, times.examples)) or 'nothing'}, which is no time; name another column"
        )
    source, more = _readable(ask, source, times, configs)
    raw = raw.assign(**{ask.time: times.moments})[times.moments.notna()].reset_index(drop=True)
    columns = profile(raw.drop(columns=[c for c in (ask.time, ask.label) if c in raw]))
    key, key_why, duplicates = _key(ask, raw, columns)
    if label_source is None:
        outcome = _outcome(ask, raw[ask.label], raw[ask.time], None, {})
    else:
        outcome = _joined(ask, raw, outcomes, key, columns)
    spans = _spans(raw[ask.time], ask.period, outcome.takes)
    # Only a key of one column is no feature; what tells the outcome must not name rows either.
    seen = {n: replace(c, values=_thinned(c.values)) for n, c in columns.items() if key != (n,)}
    accused = suspects(seen, _thinned(_as_label(outcome, ask.above)), _thinned(raw[ask.time]), outcome.task)
    if not ask.key and {s.column for s in accused} & {*key}:
        innocent = {n: c for n, c in columns.items() if n not in {s.column for s in accused}}
        key, key_why, duplicates = _key(ask, raw, innocent)
    people = tuple(personal(columns))
    left = _left_out(columns, accused, people)
    return _described(
        Findings(
            ask, source, label_source, rows, times, disorder(raw[ask.time]), tuple(gaps(raw[ask.time], spans.period)), key, key_why,
            duplicates + repeated, outcome, spans, columns, tuple(accused), people, left, None,
            _base(ask, columns, left, key, raw[ask.time]), Usual((), {}, ()), tuple(notes + more),
        ),
        raw,
    )  # fmt: skip


def _thinned(values: pd.Series[Any]) -> pd.Series[Any]:
    """Evenly spaced values of a long column."""
    return values.iloc[:: max(len(values) // _ALL_ROWS, 1)].reset_index(drop=True)


def _described(found: Findings, raw: pd.DataFrame) -> Findings:
    """Choose features by what they are worth and learn what is usual, on rows landed as a run would land them."""
    ask, base = found.ask, found.features
    columns, keys = found.columns, _history_keys(found)
    wanted = list(dict.fromkeys([*base.numeric, *base.categorical, *keys, ask.time]))
    outcome = {
        ask.label: found.outcome.values,
        **({} if found.outcome.known is None else {_KNOWN: found.outcome.known}),
    }
    landing = split(raw.assign(**outcome), ingest_config(found), found.outcome.task, wanted, base.numeric)
    rows, judge = landing.rows, Judge(landing.rows, landing.labels, found.outcome.task)
    choice = choose(judge, base, columns, keys, found.outcome.task, found.spans.windows) if judge.enough else None
    features = choice.features if choice else base
    return replace(
        found, choice=choice, features=features, usual=learn(rows, rows[EVENT_TIME], found.spans.period, features)
    )


def ingest_config(found: Findings) -> IngestConfig:
    """How rows that were read already, with their times in place, are landed."""
    outcome = found.outcome
    label: dict[str, Any] = {"column": found.ask.label, "known_after": outcome.known_after or timedelta(0)}
    if outcome.known_at is not None:
        label = {"column": found.ask.label, "known_at": _KNOWN}
    label |= {k: v for k, v in (("positive", outcome.positive), ("above", found.ask.above)) if v is not None}
    return IngestConfig.model_validate(
        {
            "source": found.source,
            "time": found.ask.time,
            "timezone": found.ask.timezone,
            "key": list(found.key),
            "period": found.spans.period,
            "label": label,
            "missing": missing_of(found),
            "coerce": coerced(found),
        }
    )


# Reading


def _read(ask: Ask, data: str, query: str | None, configs: Path) -> tuple[dict[str, Any], pd.DataFrame, list[str]]:
    """Read everything, in whatever encoding and with whatever decimal sign it was written."""
    source, notes = _source(data, query, configs), list[str]()
    try:
        raw = _everything(ask, source, configs)
    except SourceError as error:
        if source["kind"] != "files" or "encoding" not in str(error):
            raise
        raw, notes = _in_some_encoding(ask, source, configs, error)
    if source["kind"] == "files" and (commas := comma_decimals(raw)):
        source["decimal"] = ","
        raw = _everything(ask, source, configs)
        notes.append(f"decimal: numbers are written with a comma in {', '.join(commas[:5])}")
    if separated := thousands(raw):
        notes.append(
            f"CHECK: {', '.join(separated)}: numbers with commas between the thousands stay text; take them out in the query"
        )
    nested = [str(c) for c in raw if isinstance(next(iter(raw[c].dropna()), None), list | dict | set | np.ndarray)]
    if nested:
        notes.append(f"CHECK: {', '.join(nested)}: lists and structs are left out; take them apart in the query")
        raw = raw.drop(columns=nested)
    if raw.empty:
        raise UsageError(f"{data}: has no rows; give a table with some")
    return source, raw, notes


def _everything(ask: Ask, source: dict[str, Any], configs: Path) -> pd.DataFrame:
    return open_source(_reading(ask, source, configs), configs).everything()


def _reading(ask: Ask, source: dict[str, Any], configs: Path) -> IngestConfig:
    """As much of a config as reading needs."""
    if source["kind"] == "files" and "://" not in source["path"]:  # the folder of the configs may not be there yet
        source = {**source, "path": os.path.normpath(configs.resolve() / source["path"])}
    label = {"column": ask.label, "known_after": "0 days"}
    given = {"source": source, "time": ask.time, "timezone": ask.timezone, "key": [ask.time], "label": label}
    return IngestConfig.model_validate(given)


def _in_some_encoding(
    ask: Ask, source: dict[str, Any], configs: Path, first: SourceError
) -> tuple[pd.DataFrame, list[str]]:
    for encoding in _ENCODINGS:
        source["encoding"] = encoding
        try:
            return _everything(ask, source, configs), [f"encoding: the file is not UTF-8; {encoding} reads it"]
        except SourceError:
            continue
    raise first


def _source(data: str, query: str | None, configs: Path) -> dict[str, Any]:
    """The section `ingest.source` for a path, an address, a database or a function."""
    if _SECRET.search(data):
        raise UsageError(
            "--data: a password or token stands in it, and would stand in the config; write ${NAME} in its place and set "
            "NAME in the environment, or download the file"
        )
    if _DATABASE.match(data):
        if query is None:
            raise UsageError("--data is a database: say what to read from it, as in --query 'SELECT * FROM orders'")
        return {"kind": "sql", "url": data, "query": query}
    if _FUNCTION.fullmatch(data):
        return {"kind": "callable", "function": data}
    path = data if "://" in data else os.path.relpath(Path(data).expanduser().resolve(), configs.resolve())
    return {"kind": "files", "path": path, **({"query": query} if query else {})}


def _require(raw: pd.DataFrame, names: Sequence[str], data: str) -> None:
    have = [str(c) for c in raw.columns]
    absent = [n for n in names if n not in have]
    if absent:
        close = {n: difflib.get_close_matches(n, have, 1) for n in absent}
        hints = [f"{n} (did you mean {c[0]}?)" if c else n for n, c in close.items()]
        raise UsageError(f"{data} has no column {', '.join(hints)}; it has {', '.join(have)}")


def _readable(ask: Ask, source: dict[str, Any], times: Times, configs: Path) -> tuple[dict[str, Any], list[str]]:
    """Let the source give times that can be read: by a query where one format does not do."""
    notes = []
    if times.twin:
        notes.append(
            f"CHECK time: {times.formats[0]} and {times.twin} both read all of it; the first is in better order"
        )
    if times.unreadable:
        notes.append(
            f"time: {times.unreadable:,} values such as {', '.join(map(repr, times.examples))} are no times; their rows are left out"
        )
    if times.plain or (len(times.formats) == 1 and not times.iso and not times.unreadable):
        return source, notes
    if source["kind"] != "files":
        raise UsageError(
            f"--time {ask.time}: is not ISO 8601 throughout; convert it in the query or function, then try again"
        )
    name, listed = '"' + ask.time.replace('"', '""') + '"', ", ".join(f"'{f}'" for f in times.formats)
    if times.unit is not None:
        as_time = {
            "day number": f"try_strptime(CAST({name} AS VARCHAR), '%Y%m%d')",
            "s": f"make_timestamp(CAST(CAST({name} AS DOUBLE) * 1000000 AS BIGINT))",
            "ms": f"make_timestamp(CAST({name} AS BIGINT) * 1000)",
        }[times.unit]
    else:
        kind = "TIMESTAMPTZ" if times.zoned else "TIMESTAMP"  # the other forgets the offset
        as_time = f"COALESCE(CAST(TRY_CAST({name} AS {kind}) AS TIMESTAMP){f', try_strptime({name}, [{listed}])' if listed else ''})"
    if times.formats and (times.iso or len(times.formats) > 1):
        ways = [*(["ISO 8601"] if times.iso else []), *times.formats]
        notes.append(f"CHECK time: written in {len(ways)} ways ({', '.join(ways)}); the query reads all of them")
    inner = source.get("query", "SELECT * FROM files").strip().rstrip(";")
    written = {**source, "query": f"SELECT * REPLACE ({as_time} AS {name}) FROM ({inner}\n) AS q"}
    _require_same(ask, written, times, configs)
    return written, notes


def _require_same(ask: Ask, source: dict[str, Any], times: Times, configs: Path) -> None:
    """Let the query that was written be read once: it must give the times that were found."""
    extent = open_source(_reading(ask, source, configs), configs).extent()
    known = times.moments.dropna()
    if extent is None or (pd.Timestamp(extent[0]), pd.Timestamp(extent[1])) != (known.min(), known.max()):
        raise UsageError(
            f"--time {ask.time}: no query was found that reads all of its forms; convert it with --query, as in "
            "SELECT * REPLACE (strptime(t, '%d/%m/%Y') AS t) FROM files"
        )


# What is predicted


def _outcome(
    ask: Ask, label: pd.Series[Any], when: pd.Series[Any], known_at: str | None, key: dict[str, str]
) -> Outcome:
    task, positive = _task(ask, label)
    after, why, guessed = ask.available_after, "as you said", False
    if known_at is None and after is None:
        after, why = _delay(label, when)
        guessed = True
    return Outcome(
        task, positive, label, None if known_at else after, known_at, key, after or timedelta(0), why, guessed
    )


def _task(ask: Ask, label: pd.Series[Any]) -> tuple[Task, str | int | None]:
    """The task, and for two words what counts as 1."""
    known = label.dropna()
    if known.empty:
        raise UsageError(f"--label {ask.label}: is empty; name the column that holds the outcome")
    numbers, distinct = as_numbers(known), known.nunique()
    if ask.above is not None:
        if ask.task not in {None, Task.BINARY}:
            raise UsageError(f"--above makes the outcome one of two, and --task says {ask.task}; leave one of them out")
        if numbers is None:
            raise UsageError(f"--above {ask.above:g}: {ask.label} holds text such as {known.iloc[0]!r}, not numbers")
        return Task.BINARY, None
    if distinct == 1:
        raise UsageError(f"--label {ask.label}: is {known.iloc[0]!r} in all rows; there is nothing to tell apart")
    whole = numbers is not None and bool((numbers % 1 == 0).all())
    few = distinct <= (min(_CLASSES, len(known) / _AGAIN) if numbers is not None else 1_000)
    found = Task.BINARY if distinct == 2 else Task.MULTICLASS if few and (whole or numbers is None) else Task.REGRESSION
    task = ask.task or found
    if task is Task.REGRESSION and numbers is None:
        raise UsageError(f"--label {ask.label}: holds text such as {known.iloc[0]!r}; an amount must be numbers")
    if task is not Task.BINARY:
        return task, None
    if distinct > 2:
        raise UsageError(
            f"--label {ask.label}: has {distinct} values; a binary task has two. Leave --task out, or make two in a query"
        )
    return task, _positive(ask, known, whole)


def _positive(ask: Ask, known: pd.Series[Any], whole: bool) -> str | int | None:
    """Which of two values counts as 1; None for 0 and 1 themselves. What was said must be one of them."""
    values = sorted(as_text(known).unique())
    if ask.positive is not None:
        if as_text(pd.Series([ask.positive])).iloc[0] not in values:
            raise UsageError(f"--positive {ask.positive}: {ask.label} holds {' and '.join(values)}; name one of them")
        return int(ask.positive) if whole and ask.positive.lstrip("-").isdigit() else ask.positive
    numbers = as_numbers(known)
    if numbers is not None and {*numbers.unique()} <= {0, 1}:
        return None
    named = [v for v in values if v.strip().casefold() in _POSITIVE]
    chosen = str(named[0] if len(named) == 1 else as_text(known).value_counts().index[-1])
    return int(float(chosen)) if whole else chosen


def _delay(label: pd.Series[Any], when: pd.Series[Any]) -> tuple[timedelta, str]:
    """How long an outcome takes, by how long the newest rows have been without one."""
    known, newest = when[label.notna()].max(), when.max()
    tail = label[when > known]
    if len(tail) >= 20 and newest - known > pd.Timedelta(hours=12):
        days = max(int(np.ceil((newest - known) / pd.Timedelta(days=1))), 1)
        return timedelta(days=days), f"the newest {len(tail):,} rows, of {days} days, have no outcome yet"
    return timedelta(days=1), "nothing in the data tells it; a model learns only from outcomes that count"


def _joined(
    ask: Ask, raw: pd.DataFrame, outcomes: pd.DataFrame, key: tuple[str, ...], columns: dict[str, Column]
) -> Outcome:
    """The outcome of each row from a second table, looked up by key as ingest will."""
    _require(outcomes, [ask.label], str(ask.labels))
    names = _names_there(key, raw, outcomes, ask)
    there = profile(outcomes.drop(columns=[ask.label, *names.values()]))
    dated = [n for n, c in there.items() if c.kind == "time"]
    known_at = dated[0] if dated and ask.available_after is None else None
    known = read_times(outcomes[known_at], ask.timezone).moments if known_at else pd.Series(range(len(outcomes)))
    mine = _key_text(raw, list(names), ask)
    theirs = _key_text(outcomes, list(names.values()), ask).assign(place=range(len(outcomes)), known=known)
    last = theirs.sort_values("known", kind="stable").dropna(subset=list(mine)).drop_duplicates(list(mine), keep="last")
    place = mine.merge(last, how="left", on=list(mine))["place"].fillna(-1).astype(int)
    values = outcomes[ask.label].reindex(place).reset_index(drop=True)
    if not values.notna().any():
        raise UsageError(
            f"--labels {ask.labels}: none of its keys ({', '.join(names.values())}) is one of {', '.join(key)}; give the right --key"
        )
    columns.pop(ask.label, None)
    found = _outcome(ask, values, raw[ask.time], known_at, {k: n for k, n in names.items() if k != n})
    if known_at is None:
        return found
    moments = known.reindex(place).reset_index(drop=True)
    waits = (moments - raw[ask.time]).dropna().dt.total_seconds()
    return replace(found, known=moments, takes=timedelta(seconds=max(float(waits.quantile(0.9)), 0.0)))


def _key_text(frame: pd.DataFrame, names: Sequence[str], ask: Ask) -> pd.DataFrame:
    """Key columns as text, so that 7, 7.0 and "7" are one, and moments compare however they are written."""
    found = {}
    for place, name in enumerate(names):
        column = frame[name]
        times = name == ask.time or dtypes.is_datetime64_any_dtype(column)
        found[place] = as_text(read_times(column, ask.timezone).moments if times else column)
    return pd.DataFrame(found)


def _names_there(key: Sequence[str], raw: pd.DataFrame, outcomes: pd.DataFrame, ask: Ask) -> dict[str, str]:
    """What key columns are called in the table of outcomes: the same, or what shares most of its values with ours."""
    names = {k: k for k in key if k in outcomes}
    for name in (k for k in key if k not in names):
        mine = set(as_text(raw[name]).dropna())
        free = [str(c) for c in outcomes if c != ask.label and c not in names.values()]
        held = {c: set(as_text(outcomes[c]).dropna()) for c in free}
        alike = {c: len(mine & h) / max(len(mine | h), 1) for c, h in held.items()}
        best = max(alike, key=lambda c: alike[c], default="")
        if not best or len(mine & held[best]) < 0.5 * len(held[best]):
            raise UsageError(
                f"--labels {ask.labels}: has no column with the values of {name}; it has {', '.join(map(str, outcomes))}"
            )
        names[name] = best
    return {k: names[k] for k in key}


def _as_label(outcome: Outcome, above: float | None) -> pd.Series[Any]:
    """The outcome as a model learns it."""
    values = outcome.values
    if above is not None:
        return (values > above).astype(float).where(values.notna())
    if outcome.task is Task.REGRESSION:
        return pd.to_numeric(values, errors="coerce").astype(float)
    if outcome.task is Task.MULTICLASS:
        return as_text(values)
    if outcome.positive is None:
        return pd.to_numeric(values, errors="coerce").astype(float)
    same: pd.Series[Any] = as_text(values) == as_text(pd.Series([outcome.positive])).iloc[0]
    return same.astype(float).where(values.notna())


# Rows and batches


def _key(ask: Ask, raw: pd.DataFrame, columns: dict[str, Column]) -> tuple[tuple[str, ...], str, int]:
    """The columns that name a row, why, and how many rows share a key with another."""
    if ask.key:
        shared = int(raw.duplicated(subset=list(ask.key)).sum())
        return ask.key, "as you said", shared
    ids = [n for n, c in columns.items() if c.kind in {"identifier", "counter"} and not c.absent]
    exact = [n for n in [*ids, ask.time] if raw[n].notna().all()]
    for name in exact:
        if not raw.duplicated(subset=[name]).any():
            return (name,), "each row has its own", 0
    words = [n for n, c in columns.items() if c.kind in {"category", "identifier", "counter"} and not c.absent]
    whole = [n for n, c in columns.items() if c.kind == "number" and not c.absent and (c.values % 1 == 0).all()]
    others = [*words, *whole][:12]
    for size in (1, 2, 3):
        for names in combinations(others, size):
            if not raw.duplicated(subset=[ask.time, *names]).any():
                return (ask.time, *names), "together they are different in each row", 0
    nearly = min(
        [*([(n,) for n in exact]), (ask.time, *others)], key=lambda k: int(raw.duplicated(subset=list(k)).sum())
    )
    shared = int(raw.duplicated(subset=list(nearly)).sum())
    return nearly, f"{shared:,} rows share theirs with another; the last of them counts", shared


def _spans(when: pd.Series[Any], wished: Period | None, takes: timedelta) -> Spans:
    """Windows that a batch's length and the length of the whole table allow.

    Where outcomes take longer than a batch, a model knows nothing of as long a span before its gate window, and neither does a fold
    of the search before it: twice that span more of history is waited for.
    """
    period, median = choose_period(when)
    if wished is not None and wished != period:
        frequency = {"day": "D", "week": "W-SUN", "month": "M"}[wished]
        period, median = wished, float(when.dt.to_period(frequency).value_counts().median())
    whole = max((when.max() - when.min()).days, 1)
    history, gate, new, stale = {"day": (14, 7, 4, 7), "week": (28, 14, 7, 28), "month": (56, 28, 28, 60)}[period]
    unit = {"day": 1, "week": 7, "month": 28}[period]
    history = max(min(history, whole // 3), unit)
    gate = max(min(gate, whole // 6), unit)
    history += 2 * takes.days if takes.days > unit else 0
    limit = min(timedelta(days=unit), timedelta(days=gate), timedelta(days=new) / 2) / 10
    block = next(
        b
        for b in (
            timedelta(days=1),
            *(timedelta(hours=h) for h in (12, 8, 6, 4, 3, 2, 1)),
            timedelta(minutes=30),
            timedelta(minutes=5),
        )
        if b <= limit
    )
    return Spans(
        period,
        median,
        timedelta(days=history),
        timedelta(days=gate),
        new,
        block,
        timedelta(days=stale),
        _WINDOWS,
    )


# Features


def _left_out(
    columns: dict[str, Column], accused: Sequence[Suspect], people: Sequence[tuple[str, str, bool]]
) -> dict[str, str]:
    """Columns that are no features, each with the reason."""
    reasons = {
        "empty": "is empty",
        "constant": "is the same in all rows",
        "identifier": "names rows: it cannot repeat itself",
        "counter": "counts rows, and so tells only the time",
        "text": "is free text; make numbers of it in `features.custom`",
        "time": "is a moment; make a span of it in the query or in `features.custom`",
    }
    left = {n: reasons[c.kind] for n, c in columns.items() if c.kind in reasons}
    left |= {n: f"{c.distinct:,} values, each too rare to learn from" for n, c in columns.items() if c.many}
    left |= {name: f"personal data: {why}" for name, why, names_person in people if names_person}
    return left | {s.column: f"LEAK SUSPECT: {s.why}" for s in accused}


def _base(
    ask: Ask, columns: dict[str, Column], left: dict[str, str], key: Sequence[str], when: pd.Series[Any]
) -> FeaturesConfig:
    own = [n for n, c in columns.items() if c.telling and n not in left and (n not in key or len(key) > 1)]
    calendar = ["weekday"] if when.max() - when.min() >= pd.Timedelta(days=14) else []
    calendar += ["hour"] if when.dt.hour.nunique() > 1 else []
    if not own and not calendar:
        raise UsageError(
            f"{ask.data}: no column is left to learn from; {'; '.join(f'{n}: {w}' for n, w in left.items())}"
        )
    return FeaturesConfig.model_validate(
        {
            "numeric": [n for n in own if columns[n].kind == "number"],
            "categorical": [n for n in own if columns[n].kind == "category"],
            "calendar": {ask.time: calendar} if calendar else {},
        }
    )


def _history_keys(found: Findings) -> list[str]:
    """Categories that come again often enough for their past to tell something, those of very many values included."""
    many = {
        n
        for n, c in found.columns.items()
        if c.many and "LEAK" not in found.left_out.get(n, "") and "personal" not in found.left_out.get(n, "")
    }
    fine = set(found.features.categorical) | many
    return [n for n, c in found.columns.items() if n in fine and c.distinct > 2 and len(c.values) / c.distinct >= 5]


def span_of(text: str) -> timedelta:
    """Read a span from the command line. Raises UsageError."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
