"""Determines the task, the value that counts as 1, and when an outcome is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.tasks import Task
from trueup.domain.data.key_spelling import spelled_otherwise
from trueup.domain.data.outcome_values import outcome_text, same_outcome
from trueup.domain.data.values import as_numbers, as_text, text_of
from trueup.domain.profiling.columns import NOTHING, Column, profile
from trueup.domain.profiling.questions import Ask, require_columns
from trueup.domain.profiling.times import read_times
from trueup.errors import UsageError

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
_CLASSES = 20  # more distinct whole numbers are an amount, not classes
_TWO = 2  # the fewest outcomes of a usable table
_AGAIN = 5  # average rows per class; fewer mean an amount


@dataclass(frozen=True)
class Outcome:
    """The task, the value that counts as 1, and when an outcome is known."""

    task: Task
    positive: str | int | None
    values: pd.Series[Any]  # each row's label, as in the source; missing if unknown
    known_after: timedelta | None
    known_at: str | None
    key: dict[str, str]
    takes: timedelta  # delay of nine in ten outcomes
    why: str  # of the delay
    guessed: bool
    known_times: pd.Series[Any] | None = None  # when each row's outcome became known, from a second table
    negative: str | int | None = None  # the values that count as 0, with `positive`
    sentinels: dict[str, int] = field(default_factory=dict)  # values that mean "missing", with their counts


def without_sentinels(label: pd.Series[Any], columns: dict[str, Column]) -> tuple[pd.Series[Any], dict[str, int]]:
    """Remove outcomes that mean "missing": a sentinel of the features, a word for "missing", a far extreme.

    A class may be called NA: such a word is one if three values or more remain. At least two values stay.
    """
    text = outcome_text(label)
    counts = text.value_counts()
    shared = {text_of(s) for c in columns.values() for s in c.sentinels}
    words = [str(v) for v in counts.index if str(v).casefold() in NOTHING]
    numeric = pd.to_numeric(pd.Series(counts.index.drop(words), dtype=object), errors="coerce").notna().all()
    far = {text_of(s) for s in profile(label.to_frame("y"))["y"].sentinels if isinstance(s, float)}
    removed = [v for v in words if v in shared or numeric or len(counts) - len(words) == _TWO]
    removed += [
        str(v) for v in counts.index if v not in words and (v in far or (v in shared and len(counts) == _TWO + 1))
    ]
    if not removed or len(counts) - len(removed) < _TWO:
        return label, {}
    left = label.mask(text.isin(removed))
    return (pd.to_numeric(left) if numeric else left), {v: int(counts[v]) for v in removed}


def outcome_of(
    ask: Ask, label: pd.Series[Any], when: pd.Series[Any], known_at: str | None, key: dict[str, str]
) -> Outcome:
    """The outcome beside the rows. Raises UsageError if it is unusable, or contradicts the given task."""
    task, positive = _task(ask, label)
    negative = next((v for v in label.dropna().unique() if not same_outcome(pd.Series([v]), positive).iloc[0]), None)
    after, why, guessed = ask.available_after, "as you said", False
    if known_at is None and after is None:
        after, why = _delay(label, when)
        guessed = True
    return Outcome(
        task, positive, label, None if known_at else after, known_at, key, after or timedelta(0), why, guessed,
        negative=None if positive is None else _plain(negative),
    )  # fmt: skip


def _plain(value: Any) -> str | int:
    text = text_of(value)
    return int(text) if not isinstance(value, str) and text.lstrip("-").isdigit() else str(value)


def _task(ask: Ask, label: pd.Series[Any]) -> tuple[Task, str | int | None]:
    """The task, and for two words the one that counts as 1."""
    values = label.dropna()
    if values.empty:
        raise UsageError(f"--label {ask.label}: is empty; name the column that holds the outcome")
    numbers, distinct = as_numbers(values), values.nunique()
    if ask.above is not None:
        if ask.task not in {None, Task.BINARY}:
            raise UsageError(f"--above makes the outcome one of two, but --task is {ask.task}; leave one of them out")
        if numbers is None:
            raise UsageError(f"--above {ask.above:g}: {ask.label} holds text such as {values.iloc[0]!r}, not numbers")
        return Task.BINARY, None
    if distinct == 1:
        raise UsageError(f"--label {ask.label}: is {values.iloc[0]!r} in all rows; there is nothing to predict")
    whole = numbers is not None and bool((numbers % 1 == 0).all())
    few = distinct <= (min(_CLASSES, len(values) / _AGAIN) if numbers is not None else 1_000)
    likely = (
        Task.BINARY if distinct == 2 else Task.MULTICLASS if few and (whole or numbers is None) else Task.REGRESSION
    )
    task = ask.task or likely
    if task is Task.REGRESSION and numbers is None:
        raise UsageError(f"--label {ask.label}: holds text such as {values.iloc[0]!r}; an amount must be numbers")
    if task is not Task.BINARY:
        return task, None
    if distinct > 2:
        raise UsageError(
            f"--label {ask.label}: has {distinct} values; a binary task has two. Leave --task out, or make two in a query"
        )
    return task, _positive(ask, values, whole)


def _positive(ask: Ask, outcomes: pd.Series[Any], whole: bool) -> str | int | None:
    """The value that counts as 1; None for 0 and 1 themselves. A given value must be one of the two."""
    values = sorted(as_text(outcomes).unique())
    if ask.positive is not None:
        if as_text(pd.Series([ask.positive])).iloc[0] not in values:
            raise UsageError(f"--positive {ask.positive}: {ask.label} holds {' and '.join(values)}; name one of them")
        return int(ask.positive) if whole and ask.positive.lstrip("-").isdigit() else ask.positive
    numbers = as_numbers(outcomes)
    if numbers is not None and {*numbers.unique()} <= {0, 1}:
        return None
    named = [v for v in values if v.strip().casefold() in _POSITIVE]
    chosen = str(named[0] if len(named) == 1 else as_text(outcomes).value_counts().index[-1])
    return int(float(chosen)) if whole else chosen


def _delay(label: pd.Series[Any], when: pd.Series[Any]) -> tuple[timedelta, str]:
    """The delay of an outcome, from how long the newest rows have had none."""
    newest_outcome, newest = when[label.notna()].max(), when.max()
    tail = label[when > newest_outcome]
    if len(tail) >= 20 and newest - newest_outcome > pd.Timedelta(hours=12):
        days = max(int(np.ceil((newest - newest_outcome) / pd.Timedelta(days=1))), 1)
        return timedelta(days=days), f"the newest {len(tail):,} rows, of {days} days, have no outcome yet"
    return timedelta(days=1), "the data does not show how long an outcome takes"


def joined_outcome(
    ask: Ask, raw: pd.DataFrame, outcomes: pd.DataFrame, key: tuple[str, ...], columns: dict[str, Column]
) -> Outcome:
    """The outcome of each row from a second table, joined by key like ingest does."""
    require_columns(outcomes, [ask.label], str(ask.labels))
    names = _names_there(key, raw, outcomes, ask)
    there = profile(outcomes.drop(columns=[ask.label, *names.values()]))
    dated = [n for n, c in there.items() if c.kind == "time"]
    known_at = dated[0] if dated and ask.available_after is None else None
    when = read_times(outcomes[known_at], ask.timezone).moments if known_at else pd.Series(range(len(outcomes)))
    mine = _key_text(raw, list(names), ask)
    theirs = _key_text(outcomes, list(names.values()), ask).assign(place=range(len(outcomes)), known=when)
    last = theirs.sort_values("known", kind="stable").dropna(subset=list(mine)).drop_duplicates(list(mine), keep="last")
    place = mine.merge(last, how="left", on=list(mine))["place"].fillna(-1).astype(int)
    values = outcomes[ask.label].reindex(place).reset_index(drop=True)
    if not values.notna().any():
        cause = spelled_otherwise(mine[0], theirs[0])
        mend = (
            f"{cause}; write them alike with --query (rows) or --labels-query (outcomes)"
            if cause
            else "give the right --key"
        )
        raise UsageError(
            f"--labels {ask.labels}: none of its keys ({', '.join(names.values())}) is one of {', '.join(key)}; {mend}"
        )
    columns.pop(ask.label, None)
    values, sentinels = without_sentinels(values, columns)
    joined = replace(
        outcome_of(ask, values, raw[ask.time], known_at, {k: n for k, n in names.items() if k != n}),
        sentinels=sentinels,
    )
    if known_at is None:
        return joined
    moments = when.reindex(place).reset_index(drop=True)
    waits = (moments - raw[ask.time]).dropna().dt.total_seconds()
    return replace(joined, known_times=moments, takes=timedelta(seconds=max(float(waits.quantile(0.9)), 0.0)))


def known_by_column(
    ask: Ask, outcome: Outcome, settled: Sequence[str], raw: pd.DataFrame, columns: dict[str, Column]
) -> tuple[Outcome, list[str]]:
    """Let a column of the rows define when outcomes became known: the latest of `settled`, unless an answer was given.

    Returns the outcome, and remarks. A column in a format that ingest does not read is only suggested.
    """
    if not settled or ask.labels is not None:
        return outcome, []
    when = raw[ask.time]
    every = {n: (_local(columns[n].values, ask.timezone) - when).dt.total_seconds() for n in settled}
    # A moment after the end of the table, such as an end in 9999, was planned and not recorded.
    reach = (when.max() - when.min()).total_seconds()
    waits = {n: seconds for n, seconds in every.items() if float(seconds.quantile(0.9)) <= reach}
    if not waits:
        return outcome, []
    name = max(waits, key=lambda n: float(waits[n].mean()))
    takes = timedelta(seconds=max(float(waits[name].quantile(0.9)), 0.0))
    days = f"{takes / timedelta(days=1):.0f} days or less after the row's own time in nine of ten rows"
    if ask.available_after is not None or not read_times(raw[name], ask.timezone).plain:
        how = "`known_at` in place of `known_after`, if it says when the outcome became known"
        return outcome, [f"CHECK: {name} holds a moment {days}: {how} (it must be written as the time is)"]
    moments = _local(columns[name].values, ask.timezone).where(when.notna())
    return replace(
        outcome, known_after=None, known_at=name, known_times=moments, takes=takes, why=days, guessed=True
    ), []


def _local(moments: pd.Series[Any], zone: str) -> pd.Series[Any]:
    return moments if moments.dt.tz is None else moments.dt.tz_convert(zone).dt.tz_localize(None)


def _key_text(frame: pd.DataFrame, names: Sequence[str], ask: Ask) -> pd.DataFrame:
    """Key columns as text, so that 7, 7.0 and "7" are equal, and moments compare in any format."""
    texts = {}
    for place, name in enumerate(names):
        column = frame[name]
        times = name == ask.time or dtypes.is_datetime64_any_dtype(column)
        texts[place] = as_text(read_times(column, ask.timezone).moments if times else column)
    return pd.DataFrame(texts)


def _names_there(key: Sequence[str], raw: pd.DataFrame, outcomes: pd.DataFrame, ask: Ask) -> dict[str, str]:
    """Names of the key columns in the table of outcomes: the same, or those with most of their values in common."""
    names = {k: k for k in key if k in outcomes}
    for name in (k for k in key if k not in names):
        mine = set(as_text(raw[name]).dropna())
        free = [str(c) for c in outcomes if c != ask.label and c not in names.values()]
        values_by_column = {c: set(as_text(outcomes[c]).dropna()) for c in free}
        alike = {c: len(mine & h) / max(len(mine | h), 1) for c, h in values_by_column.items()}
        best = max(alike, key=lambda c: alike[c], default="")
        if not best or len(mine & values_by_column[best]) < 0.5 * len(values_by_column[best]):
            causes = [f"{c}: {difference}" for c in free if (difference := spelled_otherwise(raw[name], outcomes[c]))]
            if causes:
                raise UsageError(
                    f"--labels {ask.labels}: no column has the values of {name} as they are written there; {causes[0]}; write "
                    "them alike with --query (rows) or --labels-query (outcomes)"
                )
            raise UsageError(
                f"--labels {ask.labels}: has no column with the values of {name}; it has {', '.join(map(str, outcomes))}"
            )
        names[name] = best
    return {k: names[k] for k in key}


def as_label(outcome: Outcome, above: float | None) -> pd.Series[Any]:
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
