"""The sample: raw rows with the outcomes as the base's config defines them, and the split into training and judged rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from trueup.adapters import parquet
from trueup.ci.job import BEFORE, LABELS, LATER, LATER_BLIND, OUTCOME, OUTCOME_AT, RAW, ROW, SAMPLE, Frame, Job
from trueup.ci.sides_config import with_ingest
from trueup.config.load import Written
from trueup.config.schema import ModelConfig
from trueup.config.sections.ci import SOURCE
from trueup.domain.data.moments import event_times
from trueup.domain.data.periods import complete_periods
from trueup.domain.data.values import as_text
from trueup.domain.learning.training_windows import Hold, plan_training
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Window
from trueup.errors import ConfigError, NoData, NotEnoughData
from trueup.home import Home
from trueup.model import Model
from trueup.stages.ingest import land
from trueup.stages.ingest_labels import joining


@dataclass(frozen=True)
class Raw:
    """The newest rows of a sample, as its source gives them, with their names in `ROW`, and their batches."""

    rows: pd.DataFrame
    windows: list[Window]


def make_sample(written: Written, home: Home, job: Job) -> Frame:
    """Write a sample's files into the job's folder, and return how it is split.

    `BEFORE` and `SAMPLE` have the rows before the cut with the labels known then, `LATER` all rows with all labels, and `LATER_BLIND`
    all rows without those of the judged rows. `RAW` has the rows as the source gives them, and `LABELS` the outcomes.
    Raises ConfigError, SourceError, NoData, and NotEnoughData if the rows cannot be split.
    """
    config = with_ingest(written, _sampled(written, job)).config()
    raw = newest(Model(config, home), job.rows)
    file = job.folder / RAW
    _write(raw.rows, file)
    ingest = {"source": {"kind": "files", "path": str(file)}, "keep": [*config.ingest.keep, ROW]}
    ingest |= {"key": [ROW]} if not config.ingest.key else {}
    landed = Model(with_ingest(written, {**_sampled(written, job), **ingest}).config(), home)
    home.forget()
    labels = _labels(landed, raw.windows)
    frame = _split(landed.config, raw, labels)
    _write_sides(raw.rows, labels, landed.config, frame, job.folder)
    return frame


def _sampled(written: Written, job: Job) -> dict[str, Any]:
    """The keys of `ingest` that read the sample instead of the source."""
    if job.sample in (None, SOURCE):
        return {}
    changed: dict[str, Any] = {"source": {"kind": "files", "path": job.sample}}
    label = dict(written.content["ingest"]["label"])
    if label.get("source") is not None:
        if job.label_sample is None:
            raise ConfigError(
                written.where,
                ["ci.label_sample is missing; name the file with the outcomes, because ingest.label.source is set"],
            )
        changed["label"] = label | {"source": {"kind": "files", "path": job.label_sample}}
    return changed


def newest(model: Model, most: int) -> Raw:
    """Read whole batches, the newest first, until the next one would be too much."""
    source, name = model.home.source(model.config), model.config.model
    extent, until = source.extent(), model.complete_until()
    windows = complete_periods(extent[0], until, model.config.ingest.period) if extent and until else []
    if not windows or extent is None:
        raise NoData(f"{name}: the sample has no complete {model.config.ingest.period} of data; take more rows")
    frames, chosen, rows = list[pd.DataFrame](), list[Window](), 0
    for window in reversed(windows[-model.config.ingest.max_batches :]):
        frame = source.read(window.start, window.end)
        times = event_times(frame[model.config.ingest.time], model.config.ingest, f"{name}: ingest.time")
        frame = frame.assign(**{model.config.ingest.time: times})[times.notna().to_numpy()]
        if frames and rows + len(frame) > most:
            break
        frames.append(frame)
        chosen.append(window)
        rows += len(frame)
    whole = pd.concat(frames[::-1], ignore_index=True)
    return Raw(whole.assign(**{ROW: [f"r{n:08d}" for n in range(len(whole))]}), chosen[::-1])


def _write(frame: pd.DataFrame, file: Path) -> None:
    """Write a frame; object columns with values of several types become text."""
    texts = {
        str(c): as_text(frame[c])
        for c in frame
        if frame[c].dtype == object and pd.api.types.infer_dtype(frame[c], skipna=True).startswith("mixed")
    }
    parquet.write(parquet.to_table(frame.assign(**texts) if texts else frame), file, durable=False)


def _labels(model: Model, windows: list[Window]) -> pd.DataFrame:
    """One row per landed row, by `ROW`: event time, outcome and when it was known, slices and groups."""
    joined = joining(model, [], max(model.home.local_now(model.config), windows[-1].end), windows)
    for window in windows:
        land(model, window, joined)
    batches = model.batches(windows[-1].end)
    named = list(dict.fromkeys([*model.config.evaluate.slices, *model.config.group_columns]))
    rows = model.home.store.read([b.rows for b in batches], [ROW_ID, EVENT_TIME, ROW, *named])
    outcomes = model.home.store.read([b.labels for b in batches], [ROW_ID, LABEL, KNOWN_AT])
    whole = rows.merge(outcomes, on=ROW_ID, how="left").drop(columns=ROW_ID)
    return whole.assign(**{ROW: whole[ROW].astype(str)}).set_index(ROW)


def _split(config: ModelConfig, raw: Raw, labels: pd.DataFrame) -> Frame:
    known = labels[labels[LABEL].notna() & labels[KNOWN_AT].notna()]
    if known.empty:
        raise NotEnoughData(f"{config.model}: no row of the sample has an outcome; take rows with outcomes")
    start = labels[EVENT_TIME].min().normalize().to_pydatetime()
    matured = Window(start, known[EVENT_TIME].max().to_pydatetime() + timedelta(microseconds=1))
    delay = config.ingest.label.known_after or timedelta(0)
    plan = plan_training(matured, None, config.train, config.promote, config.evaluate.block, delay)
    if isinstance(plan, Hold):
        raise NotEnoughData(f"{config.model}: the sample cannot be split: {plan.reason}; take more rows (ci.rows)")
    cut, end = plan.gate.start, plan.gate.end
    late = known[(known[EVENT_TIME] < cut) & (known[KNOWN_AT] > cut)][EVENT_TIME]
    return Frame(
        task=str(config.task),
        time=config.ingest.time,
        timezone=config.ingest.timezone,
        key=config.ingest.key,
        period=config.ingest.period,
        start=raw.windows[0].start,
        cut=cut,
        end=end,
        until=raw.windows[-1].end,
        as_of=max(raw.windows[-1].end, known[KNOWN_AT].max().to_pydatetime()),
        rows=len(raw.rows),
        known_late=None if late.empty else late.min().to_pydatetime(),
        keep=[c for c in config.ingest.keep if c != ROW],
    )


def _write_sides(raw: pd.DataFrame, labels: pd.DataFrame, config: ModelConfig, frame: Frame, folder: Path) -> None:
    """Write what the sides get. The columns of the outcome are not in it, only the outcome itself."""
    label = config.ingest.label
    own = [] if label.source else [c for c in (label.column, label.known_at) if c is not None]
    times, names = raw[frame.time], raw[ROW]
    of_row = labels.reindex(names)
    outcome = of_row[LABEL].astype(object).set_axis(raw.index)
    known_at = of_row[KNOWN_AT].set_axis(raw.index)
    rest = raw.drop(columns=[c for c in own if c in raw])

    def with_outcomes(rows: Any, shown: Any) -> pd.DataFrame:
        made = rest.assign(**{OUTCOME: outcome.where(shown), OUTCOME_AT: known_at.where(shown)})
        return made[rows] if rows is not None else made

    before = times < frame.cut
    _write(with_outcomes(before, before & (known_at <= frame.cut)), folder / BEFORE)
    (folder / SAMPLE).write_bytes((folder / BEFORE).read_bytes())
    _write(with_outcomes(None, known_at.notna()), folder / LATER)
    _write(with_outcomes(None, before), folder / LATER_BLIND)
    _write(labels.reset_index(), folder / LABELS)
