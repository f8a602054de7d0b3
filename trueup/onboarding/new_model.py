"""New: from an undescribed table to a config with every guess marked."""

from __future__ import annotations

from calendar import day_name
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from trueup import files
from trueup.config.durations import parse_duration
from trueup.config.json_schema import write_schemas
from trueup.config.load import parse_model, sound_name
from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.config.sections.ingest import IngestConfig
from trueup.config.value_checks import zone
from trueup.domain.data import clock
from trueup.domain.data.landing import split
from trueup.domain.data.time_formats import naming, with_zone
from trueup.domain.profiling.columns import Column, profile
from trueup.domain.profiling.feature_selection import Choice, Judge, choose
from trueup.domain.profiling.keys import Key, key_of
from trueup.domain.profiling.leaks import LeakReport, Suspect, suspects
from trueup.domain.profiling.learned_expectations import Usual, learn
from trueup.domain.profiling.outcome import (
    Outcome,
    as_label,
    joined_outcome,
    known_by_column,
    outcome_of,
    without_sentinels,
)
from trueup.domain.profiling.period import Spans, pace_of
from trueup.domain.profiling.personal_data import personal
from trueup.domain.profiling.questions import Ask
from trueup.domain.profiling.times import Gap, Times, choose_period, closed_days, disorder, gaps
from trueup.domain.types import EVENT_TIME
from trueup.errors import UsageError
from trueup.home import Home
from trueup.onboarding.draft import coerced, missing_of, usual_name, write_draft, write_usual
from trueup.onboarding.read_table import Section, Table, read_table

_KNOWN = "known at, of the outcome"  # a separate column, because the names may clash
_TWO_YEARS = pd.Timedelta(days=730)
_ALL_ROWS = 200_000  # larger tables are thinned to evenly spaced rows


@dataclass(frozen=True)
class Findings:
    """All findings about a table, from which the config is written."""

    ask: Ask
    source: Section
    label_source: Section | None
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
    strong: dict[str, str]
    personal: tuple[tuple[str, str, bool], ...]
    left_out: dict[str, str]
    choice: Choice | None
    features: FeaturesConfig
    usual: Usual
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Drafted:
    """The config's text, its path, and remarks for people."""

    path: Path
    text: str
    usual: str  # the text of the file beside it, for people
    findings: Findings
    config: ModelConfig


def draft(ask: Ask, home: Home, replace_it: bool = False) -> Drafted:
    """Read the data and write a config, without saving it.

    Raises UsageError for missing columns, times that cannot be read, a name that is taken (unless `replace_it`) and
    unusable outcomes, SourceError if the data cannot be read.
    """
    sound_name(ask.name)
    path = home.configs / f"{ask.name}.yaml"
    _require_free(path, replace_it)
    try:
        zone(ask.timezone)
    except ValueError as error:
        raise UsageError(f"--timezone {ask.timezone}: {error}") from None
    findings = look(ask, home.configs)
    text = write_draft(findings)
    return Drafted(path, text, write_usual(findings), findings, parse_model(text, str(path)))


def save(drafted: Drafted, replace_it: bool = False) -> None:
    """Write the config beside the others, whole or not at all. Raises UsageError if there is one already, or no space."""
    _require_free(drafted.path, replace_it)
    drafted.path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(drafted.path, drafted.text)
    files.write_text(drafted.path.with_name(usual_name(drafted.path.stem)), drafted.usual)
    write_schemas(drafted.path.parent, overwrite=False)


def _require_free(path: Path, replace_it: bool) -> None:
    """Check before reading and before writing, because reading may take minutes and others may write meanwhile."""
    if path.exists() and not replace_it:
        raise UsageError(f"{path} exists; choose another name, or overwrite it with --force")


def look(ask: Ask, configs: Path) -> Findings:
    """Collect everything that the config needs."""
    table = _plausible(ask, _known_then(ask, read_table(ask, configs)))
    raw, when = table.rows, table.rows[ask.time]
    columns = profile(raw.drop(columns=[c for c in (ask.time, ask.label) if c in raw]))
    second = table.times.second[table.times.moments.notna()]
    named = raw.assign(**{ask.time: naming(when, second)})
    key = key_of(ask, named, columns)
    if table.outcomes is None:
        label, sentinels = without_sentinels(raw[ask.label], columns)
        outcome = replace(outcome_of(ask, label, when, None, {}), sentinels=sentinels)
    else:
        outcome = joined_outcome(ask, raw, table.outcomes, key.columns, columns)
    knows = _accused(ask, outcome, columns, key, when)
    accused = tuple(knows.suspects)
    outcome, settled = known_by_column(ask, outcome, knows.settled, raw, columns)
    if not ask.key and {s.column for s in accused} & {
        *key.columns
    }:  # columns that know the outcome must not identify rows
        key = key_of(ask, named, {n: c for n, c in columns.items() if n not in {s.column for s in accused}})
    people = tuple(personal(columns))
    left = _left_out(columns, accused, people)
    spans = pace_of(when, ask.period, outcome.takes, as_label(outcome, ask.above), outcome.task)
    findings = Findings(
        ask=ask, source=table.source, label_source=table.label_source, rows=table.read, times=table.times,
        disorder=disorder(when), gaps=tuple(gaps(when, spans.period)), key=key.columns, key_why=key.why,
        duplicates=key.shared + table.repeated if key.columns else 0, outcome=outcome, spans=spans, columns=columns, suspects=accused, strong={s.column: s.why for s in knows.strong},
        personal=people, left_out=left, choice=None, features=_base(ask, columns, left, key.columns, when),
        usual=Usual((), {}, ()), notes=(*table.notes, *settled, *_unnamed(key, table.repeated), *_closed(when, spans)),
    )  # fmt: skip
    instants = {ask.time: with_zone(when, second, ask.timezone)} if second.any() else {}
    return _described(findings, raw, instants)


def _unnamed(key: Key, repeated: int) -> list[str]:
    """Remarks if no column identifies all rows."""
    if key.columns:
        remark = f"CHECK: {key.absent:,} rows have no {' or '.join(key.columns)}; rows without a key are left out, and counted"
        return [remark] if key.absent else []
    same = f"; {repeated:,} rows hold the same as another, and each of them counts" if repeated else ""
    return [f"CHECK: no column names a row, so its content does{same}. Name the columns that do, if there are some"]


def _closed(when: pd.Series[Any], spans: Spans) -> list[str]:
    days = [day_name[day] for day in closed_days(when)] if spans.period == "day" else []
    return [f"there is never a row on {' or '.join(days)}: batches of such days are empty"] if days else []


def _known_then(ask: Ask, table: Table) -> Table:
    """The rows from before `--until`, so that the config does not depend on the rows that a replay judges."""
    if ask.until is None:
        return table
    before = table.rows[ask.time] < ask.until
    if not before.any():
        raise UsageError(f"--until {ask.until}: no row is earlier; the first is of {table.rows[ask.time].min()}")
    note = f"rows of {ask.until:%Y-%m-%d %H:%M} and later were not looked at (--until): {int((~before).sum()):,}"
    return _only(table, before, table.times.moments < ask.until, note)


def _plausible(ask: Ask, table: Table) -> Table:
    """The rows without the few with times far from all others; each run sets those aside, too."""
    when = table.rows[ask.time]
    span = clock.span_of(clock.days_of(when, pd.Series(1, when.index)), ask.period or choose_period(when)[0])
    if span is None or not str(span):
        return table
    moments = table.times.moments
    note = f"CHECK: {span}: they are not looked at, and each run sets them aside; correct their times in the source"
    return _only(table, when.between(span.first, span.last), moments.between(span.first, span.last), note)


def _only(table: Table, rows: pd.Series[bool], times: pd.Series[bool], note: str) -> Table:
    """The table with some of its rows, and a note on why."""
    return replace(
        table,
        rows=table.rows[rows].reset_index(drop=True),
        read=int(rows.sum()),
        times=table.times.of(times),
        notes=(*table.notes, note),
    )


def _accused(ask: Ask, outcome: Outcome, columns: dict[str, Column], key: Key, when: pd.Series[Any]) -> LeakReport:
    """Columns that seem to know the outcome, except a key of one column, which is no feature."""
    seen = {n: replace(c, values=_thinned(c.values)) for n, c in columns.items() if key.columns != (n,)}
    return suspects(seen, _thinned(as_label(outcome, ask.above)), _thinned(when), outcome.task)


def _thinned(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.iloc[:: max(len(values) // _ALL_ROWS, 1)].reset_index(drop=True)


def _described(findings: Findings, raw: pd.DataFrame, instants: dict[str, pd.Series[Any]]) -> Findings:
    """Choose features by gain and learn what is usual, on landed rows; `instants` are set if an hour repeats."""
    ask, base = findings.ask, findings.features
    columns, keys = findings.columns, _history_keys(findings)
    wanted = list(dict.fromkeys([*base.numeric, *base.categorical, *keys, ask.time]))
    outcome = {
        ask.label: findings.outcome.values,
        **({} if findings.outcome.known_times is None else {_KNOWN: findings.outcome.known_times}),
    }
    landing = split(
        raw.assign(**outcome, **instants), ingest_config(findings), findings.outcome.task, wanted, base.numeric
    )
    rows, spans = landing.rows, findings.spans
    judge = Judge(rows, landing.labels, findings.outcome.task, spans.stale_after, spans.block)
    choice = choose(judge, base, columns, keys, findings.outcome.task, findings.spans.windows) if judge.enough else None
    features = choice.features if choice else base
    if choice is not None and choice.power is not None:
        label = as_label(findings.outcome, ask.above)
        expected = choice.power.wanted
        spans = pace_of(raw[ask.time], ask.period, findings.outcome.takes, label, findings.outcome.task, expected)
    return replace(
        findings,
        choice=choice,
        features=features,
        spans=spans,
        usual=learn(rows, rows[EVENT_TIME], findings.spans.period, features),
    )


def ingest_config(findings: Findings) -> IngestConfig:
    """How to land rows that were read already, with their times in place."""
    outcome = findings.outcome
    label: Section = {"column": findings.ask.label, "known_after": outcome.known_after or timedelta(0)}
    if outcome.known_at is not None:
        label = {"column": findings.ask.label, "known_at": _KNOWN}
    label |= {k: v for k, v in (("positive", outcome.positive), ("above", findings.ask.above)) if v is not None}
    label |= {} if outcome.negative is None else {"negative": [outcome.negative]}
    return IngestConfig.model_validate(
        {
            "source": findings.source,
            "time": findings.ask.time,
            "timezone": findings.ask.timezone,
            "key": list(findings.key),
            "period": findings.spans.period,
            "label": label,
            "missing": missing_of(findings),
            "coerce": coerced(findings),
        }
    )


# Features


def _left_out(
    columns: dict[str, Column], accused: Sequence[Suspect], people: Sequence[tuple[str, str, bool]]
) -> dict[str, str]:
    reasons = {
        "empty": "is empty",
        "constant": "is the same in all rows",
        "identifier": "names rows: it cannot repeat itself",
        "counter": "counts rows, and so shows only the time",
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
    own = [n for n, c in columns.items() if c.informative and n not in left and (n not in key or len(key) > 1)]
    calendar = ["weekday"] if when.max() - when.min() >= pd.Timedelta(days=14) else []
    calendar += ["hour"] if when.dt.hour.nunique() > 1 else []
    # Within the first year a month is a point in time, not a season.
    calendar += ["month", "day_of_year"] if when.max() - when.min() >= _TWO_YEARS else []
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


def _history_keys(findings: Findings) -> list[str]:
    """Categories that repeat often enough for their past to be useful, including those with very many values."""
    many = {
        n
        for n, c in findings.columns.items()
        if c.many and "LEAK" not in findings.left_out.get(n, "") and "personal" not in findings.left_out.get(n, "")
    }
    fine = set(findings.features.categorical) | many
    return [n for n, c in findings.columns.items() if n in fine and c.distinct > 2 and len(c.values) / c.distinct >= 5]


def span_of(text: str) -> timedelta:
    """Parse a span from the command line. Raises UsageError."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
