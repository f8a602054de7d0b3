"""Check: look at a model's config and data source without changing anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from trueup.adapters.sources import SourcePort
from trueup.adapters.sources.function import load_function
from trueup.adapters.sources.port import Extent
from trueup.config.consistency import Mistake, inputs, sentinels
from trueup.config.load import Written, read
from trueup.config.schema import ModelConfig, SqlSource
from trueup.domain.landing import split
from trueup.domain.periods import complete_periods, period_of
from trueup.domain.types import KNOWN_AT
from trueup.errors import ConfigError, TrueupError
from trueup.stages.mistakes import all_mistakes
from trueup.stages.ports import Ports

_SOURCE = ("ingest", "source")
_UPDATED_AT = (*_SOURCE, "updated_at")
_LABEL = ("ingest", "label", "column")


def check(name: str, ports: Ports) -> dict[str, Any]:
    """All problems of one model at once, each with its line, and what its source holds."""
    found: dict[str, Any] = {"model": name, "problems": [], "first": None, "last": None, "columns": []}
    try:
        written = read(ports.configs, name)
    except ConfigError as error:
        return {**found, "problems": error.problems}
    except TrueupError as error:
        return {**found, "problems": [str(error)]}
    mistakes = all_mistakes(written)
    if not written.mistakes():  # else it is not known what to look for in the source
        config = ModelConfig.model_validate(written.content)
        mistakes += _custom(config, ports)
        found |= _source(config, ports, written, mistakes)
    return {**found, "problems": written.told(mistakes)}


def _custom(config: ModelConfig, ports: Ports) -> list[Mistake]:
    """Why a feature function cannot be found."""
    if config.features.custom is None:
        return []
    try:
        load_function(config.features.custom, ports.configs)
    except TrueupError as error:
        return [Mistake(("features", "custom"), str(error))]
    return []


def _source(config: ModelConfig, ports: Ports, written: Written, mistakes: list[Mistake]) -> dict[str, Any]:
    """What the source holds; what it lacks is added to the mistakes."""
    try:
        source = ports.source(config)
        columns, extent = source.columns(), source.extent()
    except TrueupError as error:
        mistakes.append(Mistake(_SOURCE, str(error)))
        return {}
    lacking = list(_lacking(config, written, columns))
    mistakes += lacking
    if extent is None:
        mistakes.append(Mistake(_SOURCE, "holds no rows; correct it, or put data there"))
        return {"columns": columns}
    if not lacking:
        mistakes += _without_outcome(config, source, extent)
    return {"first": extent[0], "last": extent[1], "columns": columns}


def _lacking(config: ModelConfig, written: Written, columns: list[str]) -> Iterator[Mistake]:
    """The places that name a column which the source does not have."""
    label = config.ingest.label
    named = [*inputs(written.content), *sentinels(written.content), (_LABEL, label.column)]
    named += [(("ingest", "label", "known_at"), label.known_at), (_UPDATED_AT, _updated_at(config))]
    for at, column in named:
        if isinstance(column, str) and column not in columns:
            close = difflib.get_close_matches(column, columns, 1)
            mend = f"did you mean {close[0]}?" if close else f"it has {', '.join(columns)}"
            yield Mistake(at, f"the source has no column {column}; {mend}")


def _updated_at(config: ModelConfig) -> str | None:
    source = config.ingest.source
    return source.updated_at if isinstance(source, SqlSource) else None


def _without_outcome(config: ModelConfig, source: SourcePort, extent: Extent) -> Iterator[Mistake]:
    """Land the source's first period, without keeping it, and where no label counts there another two; say what is wrong.

    A period is as much as any run reads at once.
    """
    periods = complete_periods(
        extent[0], period_of(extent[1], config.ingest.period).end, config.ingest.period
    )  # the newest may not be complete yet
    label, looked, valued = config.ingest.label, 0, False
    try:
        for window in dict.fromkeys([periods[0], periods[len(periods) // 2], periods[-1]]):
            raw = source.read(window.start, window.end)
            landing = split(raw, config.ingest, config.task, config.input_columns, config.numeric_columns, window)
            if landing.labels[KNOWN_AT].notna().any():
                return
            looked, valued = looked + len(raw), valued or len(landing.labels) > 0
    except TrueupError as error:
        place, _, what = str(error).partition(": ")
        is_place = place.startswith("ingest.")
        yield Mistake(tuple(place.split(".")), what) if is_place else Mistake(_SOURCE, str(error))
        return
    rows = f"all {looked:,} rows that were looked at"
    if valued:
        what = f"column {label.known_at} is empty in {rows}, so that no label would ever count; name another"
        yield Mistake(("ingest", "label", "known_at"), what)
    else:
        what = f"column {label.column} holds no outcome in {rows}; name the one that does, or wait for labels"
        yield Mistake(_LABEL, what)
