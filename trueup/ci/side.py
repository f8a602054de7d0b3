"""One side of a comparison, in a process, a working tree and an environment of its own.

It lands, validates and trains on the rows before the cut. Only then does it get the judged rows, which it predicts.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup import files
from trueup.adapters import parquet
from trueup.adapters.optuna import SearchResult, search
from trueup.ci.job import (
    ERROR,
    FEATURES,
    FRAME,
    JOB,
    LATER,
    PREDICTIONS,
    REPORT,
    ROW,
    SAMPLE,
    TRAINED,
    BatchSeen,
    Failure,
    Frame,
    Job,
    Report,
    Trained,
)
from trueup.ci.sample import make_sample
from trueup.ci.sides_config import side_config
from trueup.config.durations import earlier
from trueup.config.load import Written, read
from trueup.config.settings import Settings
from trueup.config.tasks import Task
from trueup.domain.data.periods import complete_periods
from trueup.domain.features.chunks import frame_of
from trueup.domain.judging.bootstrap import Floats
from trueup.domain.judging.gates.context import CHALLENGER
from trueup.domain.learning.learning import class_names, predict
from trueup.domain.learning.training_windows import Plan
from trueup.domain.records import from_json, to_plain
from trueup.domain.types import EVENT_TIME, ROW_ID, Window
from trueup.errors import NotEnoughData, TrueupError
from trueup.handoffs import columns_of
from trueup.home import Home
from trueup.model import Model
from trueup.stages.baselines import to_beat
from trueup.stages.config_problems import require_sound
from trueup.stages.features import Examples, examples, features, reference_examples
from trueup.stages.ingest import land
from trueup.stages.train import Material, fit_recipe, material
from trueup.stages.validate import validate

_UNLIMITED = 1e9  # seconds of a search: the limit of the whole side counts, so that no result depends on the machine
_LOOKS = 0.1  # seconds between looks for the judged rows


class _Clock:
    """Seconds by activity."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.spent[what] = round(self.spent.get(what, 0.0) + time.perf_counter() - started, 3)


def run(folder: Path) -> None:
    """Do the job in a folder, and leave `REPORT`, `PREDICTIONS` and `FEATURES` there; `ERROR` if it is impossible."""
    job = from_json(Job, (folder / JOB).read_text(encoding="utf-8"))
    homes = list[Home]()

    def opened(name: str) -> Home:
        homes.append(Home(Settings().apart(job.folder / name, configs=job.configs)))
        return homes[-1]

    try:
        written = _written(job)
        clock = _Clock()
        frame = job.frame
        if frame is None:
            with clock("sample"):
                frame = make_sample(written, opened("sample-home"), job)
            _put(job.folder / FRAME, frame)
        config = side_config(written, frame, job.folder / SAMPLE)
        _Side(Model(config, opened("home")), frame, job, clock).run()
    except TrueupError as error:
        _put(job.folder / ERROR, Failure(str(error), type(error).__name__))
        raise
    finally:
        for home in homes:
            home.close()


def _written(job: Job) -> Written:
    written = read(job.configs, job.model)
    if mistakes := written.mistakes():
        raise written.refusal(mistakes)
    return written


def _put(file: Path, record: object) -> None:
    import json

    files.write_text(file, json.dumps(to_plain(record), allow_nan=False, default=str))


class _Side:
    """The work on one model."""

    def __init__(self, model: Model, frame: Frame, job: Job, clock: _Clock) -> None:
        self.model, self.frame, self.job, self.clock = model, frame, job, clock
        self.train = Window(self._train_start(), frame.cut)
        self.judged = Window(frame.cut, frame.end)

    def _train_start(self) -> datetime:
        window = self.model.config.train.window
        return self.frame.start if window == "expanding" else max(self.frame.start, earlier(self.frame.cut, window))

    def run(self) -> None:
        config, clock = self.model.config, self.clock
        require_sound(config, self.job.configs, with_expectations=True)
        windows = complete_periods(self.frame.start, self.frame.until, self.frame.period)
        with clock("data"):
            self._land([w for w in windows if w.start < self.frame.cut])
        with clock("features"):
            made = material(self.model, Plan(self.train, self.judged), self.frame.as_of)
        with clock("training"):
            found = self._search(made)
            models = {CHALLENGER: fit_recipe(config, self.model.home.fits, found.recipe, made.data)}
        learned = examples(self.model, self.train, self.frame.as_of, known_by=self.frame.cut)
        if self.job.role != "head":
            before = reference_examples(self.model, self.frame.cut, self.frame.as_of)
            models |= to_beat(self.model, before)
        history = any(h.of == "label" for h in config.features.history)
        with clock("waiting"):
            self._get_judged_rows(history)
        with clock("data"):
            since = min(self.frame.known_late or self.frame.cut, self.frame.cut) if history else self.frame.cut
            self._land([w for w in windows if w.end > since])
        with clock("prediction"):
            self._predict(models, learned, made.data.schema.names)
        _put(self.job.folder / REPORT, self._report(found, made, models[CHALLENGER]))

    def _land(self, windows: list[Window]) -> None:
        for window in windows:
            land(self.model, window)
            validate(self.model, self.model.batches(window.end)[-1], window.end)

    def _search(self, made: Material) -> SearchResult:
        """Search as a retrain does, in this process and without a limit of time."""
        fits, searched = self.model.home.fits, made.searched
        train = self.model.config.train.model_copy(update={"max_seconds": _UNLIMITED})
        return search(
            lambda recipe: (searched.loss(fits.fit, recipe, fold) for fold in range(len(searched.folds))),
            train,
            self.model.config.task,
        )

    def _get_judged_rows(self, history: bool) -> None:
        """Say that training is over, and wait for the judged rows; the base side makes them itself."""
        later = self.job.folder / LATER
        if self.job.role == "head":
            _put(self.job.folder / TRAINED, Trained(history))
            while not later.exists():
                time.sleep(_LOOKS)
        later.replace(self.job.folder / SAMPLE)
        self.model.home.forget()

    def _predict(self, models: dict[str, Pipeline], learned: Examples, names: tuple[str, ...]) -> None:
        """Write the predictions of the judged rows, and the features of these and of the training rows."""
        store, as_of, task = self.model.home.store, self.frame.as_of, self.model.config.task
        batches = [b for b in self.model.usable_batches(as_of) if b.window.overlaps(self.judged)]
        if not batches:
            raise NotEnoughData(
                f"{self.model.config.model}: every batch with judged rows is broken: "
                f"{'; '.join(r for b in self._seen() for r in b.reasons)}"
            )
        keys = [features(self.model, b, as_of) for b in batches]
        places, moments = list[np.ndarray](), list[pd.DataFrame]()
        for key in keys:
            of = store.read_features([key], columns=[ROW_ID, EVENT_TIME])
            inside = (of[EVENT_TIME] >= self.judged.start) & (of[EVENT_TIME] < self.judged.end)
            places.append(np.flatnonzero(inside))
            moments.append(of.iloc[places[-1]])
        X = frame_of(store.feature_rows(keys, places).only(names))
        rows = self._names(pd.concat(moments, ignore_index=True)[ROW_ID])
        columns: dict[str, Floats] = {}
        for role, fitted in models.items():
            columns |= columns_of(role, predict(fitted, X, task), class_names(task, fitted))
        self._write(pd.DataFrame({ROW: rows, **columns}), PREDICTIONS)
        trained = learned.X[list(names)].assign(**{ROW: self._names(learned.row_id)})
        together = [trained.reset_index(drop=True), X.assign(**{ROW: rows}).reset_index(drop=True)]
        self._write(
            pd.concat([f.astype(dict.fromkeys(f.select_dtypes("category"), object)) for f in together]), FEATURES
        )

    def _names(self, ids: pd.Series) -> list[str]:
        """The sample's names of landed rows."""
        refs = [b.rows for b in self.model.batches(self.frame.as_of)]
        named = self.model.home.store.read(refs, [ROW_ID, ROW]).set_index(ROW_ID)[ROW].astype(str)
        return [str(name) for name in named.reindex(ids)]

    def _write(self, frame: pd.DataFrame, name: str) -> None:
        parquet.write(parquet.to_table(frame.reset_index(drop=True)), self.job.folder / name, durable=False)

    def _seen(self) -> list[BatchSeen]:
        seen = []
        for batch in self.model.batches(self.frame.as_of):
            checked = self.model.validated(batch)
            assert checked is not None  # each was validated when it was landed
            seen.append(
                BatchSeen(
                    batch.window.start, batch.rows.rows, checked.quarantined, checked.status, tuple(checked.reasons)
                )
            )
        return seen

    def _report(self, found: SearchResult, made: Material, fitted: Pipeline) -> Report:
        config, schema = self.model.config, made.data.schema
        return Report(
            family=found.recipe.family,
            parameters=dict(found.recipe.parameters),
            trials=len(found.trials),
            train_rows=len(made.data.y),
            train_start=self.train.start,
            trained_until=made.data.trained_until,
            numeric=list(schema.numeric),
            categorical=list(schema.categorical),
            columns=config.features.columns,
            classes=class_names(Task(config.task), fitted),
            batches=self._seen(),
            seconds=self.clock.spent,
            versions={"python": platform.python_version(), **{n: version(n) for n in ("trueup", "scikit-learn")}},
        )
