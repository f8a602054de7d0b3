"""Check: reads a model's config and data source without changing anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.adapters.sources import SourcePort
from trueup.adapters.sources.port import Extent
from trueup.config.content import Location
from trueup.config.load import Written, read
from trueup.config.own_code import load_function
from trueup.config.rules import Mistake, inputs, sentinels
from trueup.config.schema import ModelConfig
from trueup.domain.data.key_spelling import spelled_otherwise
from trueup.domain.data.labels import Table, key_names, table
from trueup.domain.data.landing import key_values, split
from trueup.domain.data.outcome_values import LandedFacts
from trueup.domain.data.periods import complete_periods, period_of
from trueup.domain.data.values import key_hash
from trueup.domain.types import KNOWN_AT
from trueup.errors import ConfigError, TrueupError
from trueup.hints import did_you_mean
from trueup.home import Home
from trueup.model import Model
from trueup.onboarding.contract import contradictions
from trueup.stages.config_problems import all_mistakes
from trueup.stages.ingest_labels import kinds_of_keys, naming_it, read_outcomes

if TYPE_CHECKING:
    from trueup.onboarding.rehearse import Rehearsal

_SOURCE = ("ingest", "source")
_LABEL = ("ingest", "label", "column")
_KNOWN_AT = ("ingest", "label", "known_at")
_LABEL_SOURCE = ("ingest", "label", "source")
_NEWEST = 1000  # outcomes to match with rows


@dataclass(frozen=True)
class MatchedLabels:
    """A label source's outcomes, and the share of the newest `looked_at` that match a row."""

    outcomes: int
    looked_at: int
    matching: float


@dataclass(frozen=True)
class ConfigCheck:
    """All problems of a model, each with its line, and facts about its source."""

    model: str
    problems: list[str] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None
    set_aside: str = ""
    columns: list[str] = field(default_factory=list)
    labels: MatchedLabels | None = None
    rehearsal: Rehearsal | None = None


def check(name: str, home: Home) -> ConfigCheck:
    """Check a model's config and its source."""
    try:
        written = read(home.configs, name)
    except ConfigError as error:
        return ConfigCheck(name, error.problems)
    except TrueupError as error:
        return ConfigCheck(name, [str(error)])
    mistakes, checked = all_mistakes(written), ConfigCheck(name)
    if not written.mistakes():  # otherwise it is unknown what the source should have
        model = Model(written.config(), home)
        mistakes += _custom(model)
        checked = _source(model, written, mistakes)
    return replace(checked, problems=written.messages(mistakes))


def _custom(model: Model) -> list[Mistake]:
    if model.config.features.custom is None:
        return []
    try:
        load_function(model.config.features.custom, model.home.configs)
    except TrueupError as error:
        return [Mistake(("features", "custom"), str(error))]
    return []


def _source(model: Model, written: Written, mistakes: list[Mistake]) -> ConfigCheck:
    """Facts about the source; its problems are added to the mistakes."""
    checked = ConfigCheck(model.config.model)
    try:
        source = model.home.source(model.config)
        columns, span = source.columns(), source.span()
    except TrueupError as error:
        mistakes.append(Mistake(_SOURCE, str(error)))
        return checked
    lacking = list(_lacking(model.config, written, columns))
    mistakes += [*lacking, *contradictions(model, columns)]
    outcomes = _outcomes(model, None if lacking or span is None else span.first, mistakes)
    if span is None:
        mistakes.append(Mistake(_SOURCE, "holds no rows; correct it, or put data there"))
        return replace(checked, columns=columns)
    extent = (span.first, span.last)
    checked = replace(checked, first=span.first, last=span.last, set_aside=str(span), columns=columns)
    if lacking:
        return checked
    if outcomes is not None:
        return replace(checked, labels=_joined(model.config, source, *outcomes, mistakes))
    if model.config.ingest.label.source is None:
        mistakes += _without_outcome(model.config, source, extent)
    return checked


def _lacking(config: ModelConfig, written: Written, columns: list[str]) -> Iterator[Mistake]:
    """The places that name a column that the source does not have."""
    label = config.ingest.label
    here = [(at, name) for at, name in sentinels(written.content) if label.source is None or name != label.column]
    source = config.ingest.source
    own = [((*_SOURCE, *at), name) for at, name in type(source).named_columns(source.model_dump(mode="json"))]
    named = [*inputs(written.content, written.root), *here, *own]
    named += [(_LABEL, label.column), (_KNOWN_AT, label.known_at)] if label.source is None else []
    yield from _not_there(named, columns, "source")


def _not_there(named: Iterable[tuple[Location, Any]], columns: list[str], where: str) -> Iterator[Mistake]:
    for at, column in named:
        if isinstance(column, str) and column not in columns:
            mend = did_you_mean(column, columns, f"it has {', '.join(columns)}")
            yield Mistake(at, f"the {where} has no column {column}; {mend}")


def _without_outcome(config: ModelConfig, source: SourcePort, extent: Extent) -> Iterator[Mistake]:
    """Land the source's first period, without storing it, and, if no label counts there, two more; return the problem."""
    periods = complete_periods(
        extent[0], period_of(extent[1], config.ingest.period).end, config.ingest.period
    )  # the newest may not be complete yet
    label, looked, valued = config.ingest.label, 0, False
    try:
        for window in dict.fromkeys([periods[0], periods[len(periods) // 2], periods[-1]]):
            raw = source.read(window.start, window.end)
            landing = split(raw, config.reading, config.task, config.input_columns, config.numeric_columns, window)
            if landing.labels[KNOWN_AT].notna().any():
                return
            looked, valued = looked + len(raw), valued or len(landing.labels) > 0
    except TrueupError as error:
        yield _mistake(error, _SOURCE)
        return
    rows = f"all {looked:,} rows that were looked at"
    if valued:
        what = f"column {label.known_at} is empty in {rows}, so that no label would ever count; name another"
        yield Mistake(_KNOWN_AT, what)
    else:
        what = f"column {label.column} holds no outcome in {rows}; name the one that does, or wait for labels"
        yield Mistake(_LABEL, what)


def _mistake(error: TrueupError, otherwise: Location) -> Mistake:
    """An error that begins with a place of the config, at that place."""
    place, _, what = str(error).partition(": ")
    return Mistake(tuple(place.split(".")), what) if place.startswith("ingest.") else Mistake(otherwise, str(error))


# Outcomes of a separate source


def _outcomes(model: Model, first: datetime | None, mistakes: list[Mistake]) -> tuple[Table, LandedFacts] | None:
    """Facts about the label source, if there is one; its problems are added to the mistakes."""
    label = model.config.ingest.label
    try:
        source = model.home.label_source(model.config)
        if source is None:
            return None
        keys = [
            (("ingest", "label", "key", name) if name in label.key else ("ingest", "key"), there)
            for name, there in key_names(model.config.ingest).items()
        ]
        named: list[tuple[Location, Any]] = [*keys, (_LABEL, label.column), (_KNOWN_AT, label.known_at)]
        with naming_it():
            columns = source.columns()
        if lacking := list(_not_there(named, columns, "label source")):
            mistakes += lacking
            return None
        window = period_of(first, model.config.ingest.period) if first is not None else None
        facts = LandedFacts(kinds_of_keys(model, window) if window is not None else {})
        return table(read_outcomes(model), model.config.reading, model.config.task, facts), facts
    except TrueupError as error:
        mistakes.append(_mistake(error, _LABEL_SOURCE))
        return None


def _joined(
    config: ModelConfig, source: SourcePort, outcomes: Table, facts: LandedFacts, mistakes: list[Mistake]
) -> MatchedLabels | None:
    """How many of the newest outcomes match a row; a mistake if none matches, or if none would count."""
    label, valued = config.ingest.label, outcomes.values.notna().to_numpy()
    if not valued.any():
        what = (
            f"column {label.column} holds no outcome in the label source's {len(valued):,} rows; name the one that does"
        )
        mistakes.append(Mistake(_LABEL, f"{what}, or wait for labels"))
        return None
    if label.known_at is not None and np.isnat(outcomes.known_at[valued]).all():
        what = f"column {label.known_at} is empty for every outcome, so no label would ever count; name another column"
        mistakes.append(Mistake(_KNOWN_AT, what))
    try:
        keys = source.everything(config.ingest.key)
        rows = key_values(keys, config.ingest, {name: name for name in config.ingest.key}, "ingest.key", facts.kinds)
    except TrueupError as error:
        mistakes.append(_mistake(error, _SOURCE))
        return None
    newest = _newest(outcomes)
    hashes = key_hash(rows.dropna())
    share = float(np.isin(outcomes.keys[newest], hashes).mean())
    if not share:
        mistakes.append(_no_overlap(config, rows, outcomes, newest))
    return MatchedLabels(int(valued.sum()), len(newest), share)


def _newest(outcomes: Table) -> npt.NDArray[np.intp]:
    """Positions of the newest outcomes: by when they were known, else by their place in the table."""
    valued = np.flatnonzero(outcomes.values.notna().to_numpy())
    known_at = outcomes.known_at[valued]
    dated = valued[~np.isnat(known_at)]
    if not len(dated):
        return valued[-_NEWEST:]
    return dated[np.argsort(outcomes.known_at[dated], kind="stable")][-_NEWEST:]


def _no_overlap(config: ModelConfig, rows: pd.DataFrame, outcomes: Table, newest: npt.NDArray[np.intp]) -> Mistake:
    """The mistake that no outcome matches a row, with a key of either."""
    key, named = config.ingest.key, key_names(config.ingest)
    here = ", ".join(f"{name} {rows[name].dropna().iloc[0]}" for name in key if rows[name].notna().any())
    there = ", ".join(f"{named[name]} {outcomes.named[name].iloc[newest[-1]]}" for name in key)
    cause = spelled_otherwise(rows[key[0]], outcomes.named[key[0]])
    mend = cause or "map the columns of ingest.key in ingest.label.key, or convert both to one format in a query"
    return Mistake(
        ("ingest", "label", "key") if config.ingest.label.key else _LABEL_SOURCE,
        f"none of the newest {len(newest):,} outcomes matches a row: outcome keys are like {there}, row keys like "
        f"{here}; {mend}",
    )
