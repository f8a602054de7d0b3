"""Ingest: lands every complete batch that is new or has changed."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from trueup.adapters.sources.port import Mark, SourcePort
from trueup.adapters.store.landed_rows import AT_ONCE
from trueup.adapters.store.results import Result
from trueup.config.schema import ModelConfig
from trueup.config.sections.ingest import IngestConfig
from trueup.config.value_checks import SHORTEST
from trueup.crash import reach
from trueup.domain.data.clock import Span, at_most
from trueup.domain.data.column_kinds import declared_kinds
from trueup.domain.data.labels import known_span
from trueup.domain.data.landing import split
from trueup.domain.data.periods import complete_periods, period_of
from trueup.domain.data.values import retyped
from trueup.domain.types import Batch, Window
from trueup.errors import NoData, SourceError
from trueup.memory import give_back
from trueup.model import Model, SourceRead
from trueup.stages.config_problems import require_sound
from trueup.stages.ingest_labels import Joining, joining

log = logging.getLogger(__name__)

_MARK = "ingest"  # the stage of the marks of written rows


def ingest(model: Model, as_of: datetime) -> list[Batch]:
    """Land all complete periods up to `as_of` and return the newest revision of each, in time order.

    New periods are read. Landed ones are read again for late or corrected rows if they are among the last few or had no
    row, if they lack a column that the config now needs and the source has, or have one of another type than in the
    config, and if the source reports that their rows were written since the last ingest. Landing the same content again
    changes nothing, so files that nobody has written since the last ingest are not read at all. Outcomes of a separate source are joined to the rows of all of them: see `ingest_labels`. No period
    that has not ended is landed, whatever `as_of` is: by the wall clock, or on the data's own clock by the newest row.
    Rows with an implausible time are excluded with a message. Raises SourceError, also for more new periods than
    `ingest.max_batches`, ConfigError, and NoData if no period is complete by `as_of`.
    """
    source, landed = model.home.source(model.config), model.batches(as_of)
    key = model.reading_key()  # before reading, so that the next key is another one if rows are written meanwhile
    read = model.read_before(key)
    span, now = source.span() if read is None else read.body.span, model.home.local_now(model.config)
    if span is not None and str(span):
        log.warning("%s: set aside: %s; correct their times in the source", model.config.model, span)
    first = landed[0].window.start if landed else span.first if span else None
    until = min(as_of, _reach(model.config, span, landed, now) if model.config.clock == "data" else now)
    if first is None or not (windows := complete_periods(first, until, model.config.ingest.period)):
        since = f"its first row is of {span.first:%Y-%m-%d %H:%M}" if span else "it is empty"
        raise NoData(
            f"{model.config.model}: no complete {model.config.ingest.period} of data by {as_of:%Y-%m-%d %H:%M} ({since}); "
            "give a later --as-of"
        )
    have = {b.window for b in landed}
    require_bounded(model.config, [w for w in windows if w not in have])
    again = set() if _as_before(model, read, landed) else _again(model, source, landed)
    mark = source.mark()  # before reading, so that rows written meanwhile count as later
    again |= (rewritten := _rewritten(model, source, mark))
    due = [w for w in windows if w not in have or w in again]
    require_sound(model.config, model.home.configs, with_expectations=bool(set(due) - have))
    joined = joining(model, model.batches(datetime.max), as_of, windows)
    if joined is not None:
        joined.land_again(b for b in landed if b.window not in due)
    for window in due:
        land(model, window, joined)
    if rewritten <= {*due}:  # else the old mark stays, so that those rows are read once they are due
        _keep(model, mark, due[-1:] or windows[-1:], as_of)
    batches = model.batches(as_of)
    model.remember_read(key, span, batches[-1].window, as_of)
    return batches


def _as_before(model: Model, read: Result[SourceRead] | None, landed: list[Batch]) -> bool:
    """Whether an ingest has read the same source after the same batch had landed, and the files of the last are there."""
    if read is None or not landed or landed[-1].window != read.window:
        return False
    last = landed[-_revisit(model.config.ingest) :]
    exists = model.home.store.files.exists
    return all(exists(b.rows.path) and exists(b.labels.path) for b in last)


def _again(model: Model, source: SourcePort, landed: list[Batch]) -> set[Window]:
    """Landed windows that are read again, whether or not the source reports writes."""
    last = {b.window for b in landed[-_revisit(model.config.ingest) :]} | {b.window for b in landed if not b.rows.rows}
    return last | _lacking(model, source, landed) | _of_another_type(model, landed)


def _revisit(config: IngestConfig) -> int:
    """How many landed batches to read again: enough for labels to arrive, and at least one."""
    if config.revisit is not None:
        return config.revisit
    beside = config.label.source is None
    delay = config.label.known_after if beside and config.label.known_after is not None else timedelta(0)
    return 1 + math.ceil(delay / SHORTEST[config.period])


def require_bounded(config: ModelConfig, new: list[Window]) -> None:
    """Refuse an implausible number of new batches. Raises SourceError."""
    if len(new) <= config.ingest.max_batches:
        return
    raise SourceError(
        f"{config.model}: from {new[0].start:%Y-%m-%d} to {new[-1].end:%Y-%m-%d} {len(new):,} batches of a "
        f"{config.ingest.period} would be landed at once, more than ingest.max_batches ({config.ingest.max_batches:,}); if "
        f"the source really reaches so far, set ingest.max_batches: {len(new)} or a longer ingest.period, else leave "
        "rows of a wrong date out with ingest.source.query, or give an earlier --as-of"
    )


def _reach(config: ModelConfig, span: Span | None, landed: list[Batch], now: datetime) -> datetime:
    """The end of the period of the newest row, landed or in the source."""
    ends = [b.window.end for b in landed[-1:]]
    if span is not None:
        newest = at_most(span.last, now, span.first)
        window = period_of(newest, config.ingest.period)
        ends.append(window.end if newest == span.last else window.start)
    return max(ends, default=datetime.min)


def _lacking(model: Model, source: SourcePort, landed: list[Batch]) -> set[Window]:
    """Windows that were landed without a column that the config now needs and the source has."""
    wanted = set(model.config.input_columns)  # columns of the champion alone do not justify landing everything again
    lacking = {b.window: absent for b in landed if (absent := wanted - set(model.home.store.columns(b.rows)))}
    there = set(source.columns()) if lacking else set()
    return {window for window, absent in lacking.items() if absent & there}


def _rewritten(model: Model, source: SourcePort, mark: Mark | None) -> set[Window]:
    """Landed windows with rows that the source wrote since the last ingest.

    The mark of that ingest was stored after all of them had been read, so a crash before only causes another read.
    Without a mark all are read again.
    """
    if mark is None:
        return set()
    landed = {ref.window for ref in model.home.store.batches(model.config.rows_dataset)}
    if not landed or (kept := _kept(model)) is None:
        return landed
    if kept == mark:
        return set()
    days = {moment.date() for moment in source.written_since(kept)}
    return {period_of(datetime.combine(day, time()), model.config.ingest.period) for day in days} & landed


@dataclass(frozen=True)
class Marked:
    """How far a source had been written at an ingest, and the number of that ingest."""

    mark: Mark
    number: int


def _marks(model: Model) -> list[Marked]:
    return [r.body for r in model.home.store.results(model.config.model, _MARK, Marked)]


def _kept(model: Model) -> Mark | None:
    return max(marks, key=lambda m: m.number).mark if (marks := _marks(model)) else None


def _keep(model: Model, mark: Mark | None, windows: list[Window], as_of: datetime) -> None:
    if mark is None or mark == _kept(model):
        return
    number = 1 + max((m.number for m in _marks(model)), default=0)
    model.home.store.record(model.config.model, _MARK, windows[0], number, as_of, Marked(mark, number))


def _of_another_type(model: Model, landed: list[Batch]) -> set[Window]:
    """The landed windows with a column of another type than the config now declares."""
    declared = declared_kinds(model.config.reading, model.config.numeric_columns)
    kinds = model.landed_facts().kinds
    if keys := sorted({*retyped(declared, kinds)} & {*model.config.ingest.key}):
        raise SourceError(
            f"ingest.types: {', '.join(f'{name} was landed as {kinds[name]}' for name in keys)}; a key keeps its type, for "
            "rows are known by it: set it back, or begin with another name of the model"
        )
    return {b.window for b in landed if retyped(declared, b.rows.facts.get("kinds", {}))}


def land(model: Model, window: Window, joined: Joining | None = None) -> None:
    """Read a window from the source and land it with its labels. Raises SourceError."""
    landed = model.landed_facts()
    texts = [name for name, kind in landed.kinds.items() if kind in {"text", "digits"}]
    read = [model.home.source(model.config).read(window.start, window.end, text=texts)]
    current = model.champion()
    served = [c for c in current.features.columns if c in read[0].columns] if current else []
    columns = list(dict.fromkeys([*model.config.input_columns, *served]))
    # Taken out of the list, so that no reference stays: `split` lets the columns go, and no batch is in memory twice.
    landing = split(
        read.pop(), model.config.reading, model.config.task, columns, model.config.numeric_columns, window, landed
    )
    # Labels first: a batch becomes visible with its rows, and must have its labels then.
    if joined is None:
        facts = {"outcomes": landing.facts["outcomes"], **known_span(landing.labels)}
        model.home.store.land(model.config.labels_dataset, window, landing.labels, facts)
    else:
        joined.land(window, landing.rows)
    reach("ingest.labels")
    model.home.store.land(model.config.rows_dataset, window, landing.rows, landing.facts)
    if len(landing.rows) > AT_ONCE:
        del landing
        give_back()
