"""Rehearse: puts a source's batches through the loop's own stages, in a temporary home.

Every batch is validated, and a first champion is tried for, as in the loop, until there is one. Landing, validation and
windows use the same functions as a run, so the two cannot differ; only the challenger is a quick one, without a search.
Nothing is written to the home's ledger or MLflow.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from trueup.config.durations import write_duration
from trueup.config.schema import ModelConfig
from trueup.config.sections.training import Family
from trueup.domain.data.periods import complete_periods
from trueup.domain.judging.gates import CHALLENGER, Case
from trueup.domain.judging.gates.context import PRIOR, SIMPLE
from trueup.domain.learning.learning import all_classes, build, defaults, predict
from trueup.domain.learning.recipe import Recipe
from trueup.domain.learning.training_windows import Hold, Plan
from trueup.domain.types import KNOWN_AT, ROW_ID, Batch, Status, Window
from trueup.errors import NoLabels, NotEnoughData, WorkError
from trueup.handoffs import Checked
from trueup.home import Home
from trueup.model import Model
from trueup.onboarding.rehearse_gate import BEATS, Compared, against_prior
from trueup.stages.baselines import baselines
from trueup.stages.config_problems import require_sound
from trueup.stages.features import examples, reference_examples
from trueup.stages.ingest import land, require_bounded
from trueup.stages.ingest_labels import Joining, joining
from trueup.stages.train import Material, material, plan
from trueup.stages.validate import validate

QUICK = "quick boosting"

_TRIES = 24  # attempts at a first champion; each costs a fit
_QUICK_ROWS = 20_000  # more rows slow the quick model and hardly change its result
# Seconds on two slow cores, not measured here, because that would import Prefect, MLflow and Evidently.
_START = 6.0  # a process with its imports, measured on two idle cores; a Prefect server adds some
_A_BATCH_BESIDE = 1.0  # drift, diagnosis and records of a batch
_A_RETRAIN_BESIDE = 15.0  # MLflow's runs and versions, the judged files loaded in a fresh process, records


@dataclass(frozen=True)
class Failing:
    """The rows of a batch that an expectation would put into quarantine."""

    expectation: str
    rows: int
    share: float


@dataclass(frozen=True)
class Seen:
    """A batch of the rehearsal, as a run would find it.

    A row may fail several expectations of `by`. `warnings` describe rows and values that were left out, converted, or are
    unusual. `at_end` is the number of `labels` known when the batch ends, `in_time` that once all present data is known.
    """

    window: Window
    rows: int
    quarantined: int
    share: float  # share of rows in quarantine
    warnings: tuple[str, ...]
    by: tuple[Failing, ...]
    status: Status
    reasons: tuple[str, ...]
    labels: int
    at_end: int
    in_time: int
    enough: bool  # whether monitoring will have enough labels


@dataclass(frozen=True)
class First:
    """When and from what the first champion is made; without one, from what the last challenger was made."""

    as_of: datetime
    train: Window
    gate: Window
    train_rows: int
    gate_rows: int


@dataclass(frozen=True)
class Estimate:
    """Estimated seconds of a run, from the rehearsal."""

    start: float  # fixed, once per run
    batch: float
    retrain: float | None  # None if no first champion is possible yet
    measured: dict[str, float]


@dataclass(frozen=True)
class Rehearsal:
    """The result of a source's batches. `needs` is the change that a champion needs; empty if there is one."""

    model: str
    batches: tuple[Seen, ...]
    there: int  # complete batches of the source
    min_matured: int
    min_rows: int
    first: First | None
    lacking: str  # for a first champion; empty if there can be one
    compared: tuple[Compared, ...]
    tries: int  # for a first champion
    champion: bool
    needs: str
    estimate: Estimate | None
    breaks: str  # why a run would fail; empty if it would not
    seconds: float


@dataclass(frozen=True)
class _Clock:
    """Seconds by activity."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] += time.perf_counter() - started


@dataclass(frozen=True)
class _Made:
    """The data and time of a first challenger."""

    as_of: datetime
    plan: Plan
    material: Material


@dataclass(frozen=True)
class _Chance:
    """The data of a first champion, or why there would be none."""

    made: _Made | None = None
    lacking: str = ""
    problem: str = ""


@dataclass(frozen=True)
class _Play:
    """The progress of the loop: the last chance, and the last challenger with its judgement."""

    chance: _Chance = _Chance()
    made: _Made | None = None
    first: First | None = None
    compared: tuple[Compared, ...] = ()
    tries: int = 0

    @property
    def won(self) -> bool:
        """Whether there is a champion: the better of challenger and simple model beats the prior."""
        return any(c.verdict == BEATS for c in self.compared)


def rehearse(model: Model, on_progress: Callable[[float], None] = lambda _: None) -> Rehearsal:
    """Rehearse a model's batches: all of them, and the loop until there is a champion.

    `on_progress` gets the finished share. An error that would end a run is part of the result. Raises ConfigError for an
    invalid config, like a run.
    """
    clock = _Clock()
    require_sound(
        model.config, model.home.configs, with_expectations=True
    )  # as before landing; imports what validation needs
    with TemporaryDirectory(prefix="trueup-rehearse-") as scratch:
        apart = Home(model.home.settings.apart(Path(scratch), configs=model.home.configs))
        apart.now = model.home.now
        try:
            return _rehearsed(Model(model.config, apart), clock, on_progress)
        finally:
            apart.close()


def _rehearsed(model: Model, clock: _Clock, on_progress: Callable[[float], None]) -> Rehearsal:
    seen, windows, play, ended = list[Seen](), list[Window](), _Play(), ""
    try:
        windows = _complete(model)
        with clock("read"):
            joined = joining(model, [], max(model.home.local_now(model.config), windows[-1].end), windows)
        for window in windows:
            seen.append(_see(model, window, joined, clock))
            play = _tried(model, window.end, play, clock)
            on_progress(len(seen) / (len(windows) + 1))
    except WorkError as error:
        ended = str(error)  # a run would not get further either
    return Rehearsal(
        model=model.config.model,
        batches=tuple(seen),
        there=len(windows),
        min_matured=model.config.monitor.min_matured,
        min_rows=model.config.train.min_rows,
        first=play.first,
        lacking="" if play.first or ended else play.chance.lacking,
        compared=play.compared,
        tries=play.tries,
        champion=play.won,
        needs="" if ended else _needs(model.config, play, windows),
        estimate=_estimated(model.config, play, len(seen), clock) if seen else None,
        breaks=ended or _broken(seen) or ("" if play.won else play.chance.problem),
        seconds=time.perf_counter() - clock.started,
    )


def _tried(model: Model, as_of: datetime, play: _Play, clock: _Clock) -> _Play:
    """Try to make a first champion at a moment, as the loop would, unless there is one."""
    if play.won or play.tries >= _TRIES:
        return play
    chance = _chance(model, as_of, clock)
    if chance.made is None:
        return replace(play, chance=chance)
    try:
        first, compared = _judged(model, chance.made, clock)
    except NotEnoughData as few:  # for the reference: the gates would lack a comparison
        return replace(play, chance=_Chance(lacking=str(few)))
    return _Play(chance, chance.made, first, compared, play.tries + 1)


def _needs(config: ModelConfig, play: _Play, windows: list[Window]) -> str:
    """The change that a champion needs; empty if there is one, or if the change is mentioned already."""
    if play.won or play.chance.problem or not windows:
        return ""
    if play.first is None:
        span = windows[-1].end - windows[0].start
        return (
            f"the source holds {len(windows)} complete batches, {span.days} days; wait for more, or lower "
            f"train.min_history ({write_duration(config.train.min_history)}) or train.min_rows ({config.train.min_rows})"
        )
    return next((c.needs for c in play.compared if c.needs), "")


def _broken(seen: list[Seen]) -> str:
    broken = sum(b.status is Status.FAIL for b in seen)
    return f"{broken} of {len(seen)} batches would be broken" if 2 * broken > len(seen) else ""


def _complete(model: Model) -> list[Window]:
    """The periods of the source that have ended. Raises WorkError without any."""
    extent, until = model.home.source(model.config).extent(), model.complete_until()
    if until is not None and model.config.clock == "wall":
        until = min(until, model.home.local_now(model.config))
    windows = complete_periods(extent[0], until, model.config.ingest.period) if extent and until else []
    if not windows:
        raise WorkError(f"{model.config.model}: no complete {model.config.ingest.period} of data yet; wait for more")
    require_bounded(model.config, windows)
    return windows


def _see(model: Model, window: Window, joined: Joining | None, clock: _Clock) -> Seen:
    with clock("read"):
        land(model, window, joined)
        batch = model.batches(window.end)[-1]
    with clock("validate"):
        checked = validate(model, batch, window.end)
    return _counted(model, batch, checked)


def _counted(model: Model, batch: Batch, checked: Checked) -> Seen:
    failed = model.home.store.quarantined(batch.rows).groupby("expectation")[ROW_ID].nunique()
    known_at = model.home.store.read(batch.labels, [KNOWN_AT])[KNOWN_AT]
    in_time, rows = int(known_at.notna().sum()), batch.rows.rows
    return Seen(
        window=batch.window,
        rows=rows,
        quarantined=checked.quarantined,
        share=checked.quarantined / max(rows, 1),
        warnings=checked.warnings,
        by=tuple(Failing(str(name), int(n), int(n) / rows) for name, n in failed.items()),
        status=checked.status,
        reasons=checked.reasons,
        labels=len(known_at),
        at_end=int((known_at <= pd.Timestamp(batch.window.end)).sum()),
        in_time=in_time,
        enough=in_time >= model.config.monitor.min_matured,
    )


def _chance(model: Model, as_of: datetime, clock: _Clock) -> _Chance:
    """Whether a first champion is possible at a moment. Overdue labels may come with later batches."""
    try:
        chosen = plan(model, as_of)
        if isinstance(chosen, Hold):
            return _Chance(lacking=chosen.reason)
        with clock("features"):
            return _Chance(_Made(as_of, chosen, material(model, chosen, as_of)))
    except NotEnoughData as few:
        return _Chance(lacking=str(few))
    except NoLabels as none:
        return _Chance(problem=str(none))


def _judged(model: Model, made: _Made, clock: _Clock) -> tuple[First, tuple[Compared, ...]]:
    """Fit the quick models on the training rows of a first challenger, and judge them on its gate rows."""
    chosen, data, seed = made.plan, made.material.data, model.config.train.seed
    with clock("features"):
        gate = examples(model, chosen.gate, made.as_of)
        before = reference_examples(model, chosen.gate.start, made.as_of)
    with clock("linear"):
        models = baselines(model, before)
    with clock("boosting"):
        quick = build(_quick(model.config), data.schema, model.config.task)
        models[QUICK] = model.home.fits.fit(quick, data.X, data.y, _QUICK_ROWS, seed)
    classes = all_classes(model.config.task, models.values(), gate.y)
    with clock("predict"):
        predictions = {
            role: predict(models[role], gate.X, model.config.task, classes) for role in (QUICK, SIMPLE, PRIOR)
        }

    def case(role: str) -> Case:
        return Case(
            task=model.config.task,
            y=gate.y.to_numpy(),
            event_time=gate.event_time.to_numpy(),
            predictions={CHALLENGER: predictions[role], PRIOR: predictions[PRIOR]},
            trained_until={CHALLENGER: data.trained_until},
            metrics={},
            evaluate=model.config.evaluate,
            classes=classes,
            seed=seed,
        )

    first = First(made.as_of, chosen.train, chosen.gate, len(data.y), len(gate.y))
    window = model.config.promote.gate_window
    return first, tuple(against_prior(role, case(role), window) for role in (QUICK, SIMPLE))


def _quick(config: ModelConfig) -> Recipe:
    """The first boosting trial of a search, with the parameters fixed in the config."""
    family: Family = "gradient_boosting"
    fixed = config.train.parameters.get(family, {})
    return Recipe(family, {**defaults(family, config.task), **fixed}, config.train.seed)


def _estimated(config: ModelConfig, play: _Play, seen: int, clock: _Clock) -> Estimate:
    """Seconds of a run, from those of the rehearsal; without a challenger the retrain is unknown."""
    often = {"read": 1, "validate": 1}  # the others once per attempt
    spent: Mapping[str, float] = defaultdict(
        float, {name: seconds / often.get(name, max(play.tries, 1)) for name, seconds in clock.spent.items()}
    )
    each = (spent["read"] + spent["validate"] + spent["features"]) / seen
    batch = each + spent["predict"] + spent["linear"] / 2 + _A_BATCH_BESIDE  # monitoring fits its reference again
    retrain = None if play.made is None else _of_retrain(config, play.made.material, spent)
    return Estimate(_START, batch, retrain, {name: round(seconds, 3) for name, seconds in spent.items()})


def _of_retrain(config: ModelConfig, made: Material, spent: Mapping[str, float]) -> float:
    """Trials times folds, plus the challenger and its refit. A forest is assumed to be as fast as boosting."""
    t, rows = config.train, len(made.data.y)
    per_row = spent["boosting"] / min(rows, _QUICK_ROWS)

    def fit(family: Family, rows: int) -> float:
        return spent["linear"] / 2 if family == "linear" else rows * per_row

    trial = float(
        np.mean([sum(fit(family, len(before)) for before, _ in made.searched.folds) for family in t.families])
    )
    last = max(fit(family, rows) for family in t.families) * (2 if config.promote.refit else 1)
    return min(t.trials * trial, t.max_seconds) + last + spent["linear"] + _A_RETRAIN_BESIDE
