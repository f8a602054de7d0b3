"""The loop's work with pandas and scikit-learn alone: the lower bound for `overhead`.

No store, orchestrator, registry, validation, reports or intervals, and nothing is stored: it loads a month, computes
its features, predicts it with the champion, compares with the labels, and where Trueup trained, tries the same recipes
on the same folds, fits, compares on the gate rows, and fits again. Features and pipelines are those of `trueup.domain`,
so the arithmetic is the same and only the rest differs.

`python -m benchmarks.bare CONFIGS MODEL TURNS.json` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline

from benchmarks.work import Turn, counting_fits, moment
from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.domain.features.features import FeatureSchema, feature_frame, schema_of
from trueup.domain.features.history import history_names, needed_reach
from trueup.domain.learning.learning import SIMPLE_ROWS, build, fit, predict, prior_model, simple_model
from trueup.domain.learning.recipe import Recipe
from trueup.domain.learning.splits import time_folds
from trueup.domain.records import from_plain
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID

Read = Callable[[datetime, datetime], pd.DataFrame]


def main() -> None:
    """Repeat Trueup's turns."""
    configs, name, file = sys.argv[1:]
    config, turns = load_model(Path(configs), name), [Turn(**t) for t in json.loads(Path(file).read_text())]
    with counting_fits() as fits:
        months = Bare(config, source_of(config, configs)).play(turns)
    sys.stdout.write(json.dumps({"months": months, "fits": fits}) + "\n")


def source_of(config: ModelConfig, configs: str) -> Read:
    """The function of a config that reads its rows."""
    sys.path.insert(0, configs)
    module, _, function = str(config.ingest.source.function).partition(":")  # type: ignore[union-attr]
    read: Read = getattr(__import__(module), function)
    return read


class Bare:
    """Months in memory, and a champion in a variable."""

    def __init__(self, config: ModelConfig, read: Read) -> None:
        self.config, self.read = config, read
        self.rows = pd.DataFrame()  # the past for history features
        self.months: list[pd.DataFrame] = []  # features, labels and times
        self.schema = FeatureSchema((), ())
        self.champion: Pipeline | None = None

    def play(self, turns: list[Turn]) -> list[dict[str, Any]]:
        """Play all turns; return the champion's figures for each month."""
        months = []
        for turn in turns:
            month = self.load(moment(turn.start), moment(turn.end))
            months.append({"month": turn.start, **self.score(month, turn)})
            if turn.recipe is not None:
                self.retrain(turn)
        return months

    def load(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Read a month and compute its features."""
        c = self.config.ingest
        rows = self.read(start, end)
        outcome = rows[c.label.column]
        rows = rows.assign(**{
            ROW_ID: np.arange(len(rows)),
            EVENT_TIME: rows[c.time],
            LABEL: (outcome > c.label.above).astype(float).where(outcome.notna()),
            KNOWN_AT: rows[c.time] + c.label.known_after,
        })  # fmt: skip
        reach = needed_reach(self.config.features.history) + c.label.known_after
        labelled = rows[rows[LABEL].notna()]
        self.rows = (
            labelled if self.rows.empty else pd.concat([self.rows[self.rows[EVENT_TIME] >= start - reach], labelled])
        )
        features = feature_frame(rows, self.rows, self.config.features)
        self.schema = schema_of(features.columns, self.config.features)
        history = set(history_names(self.config.features.history))
        numeric = tuple(n for n in self.schema.numeric if n not in history)
        self.declared = FeatureSchema(numeric, self.schema.categorical)
        month = features.assign(**{LABEL: rows[LABEL], KNOWN_AT: rows[KNOWN_AT]})
        self.months.append(month)
        return month

    def score(self, month: pd.DataFrame, turn: Turn) -> dict[str, float]:
        """Predict a month with the champion, and compare with its labels and with a cheap reference."""
        if self.champion is None:
            return {}
        predictions = predict(self.champion, month, self.config.task)
        came = (month[LABEL].notna() & (month[KNOWN_AT] <= moment(turn.end))).to_numpy()
        y = month[LABEL][came]
        figures = {"log_loss": float(log_loss(y, predictions[came])), "auc": float(roc_auc_score(y, predictions[came]))}
        if turn.watched:
            reference = self.simple(moment(turn.start))
            figures["log_loss_simple"] = float(log_loss(y, predict(reference, month[came], self.config.task)))
        return figures

    def retrain(self, turn: Turn) -> None:
        """Try the recipes, fit the best, compare it with champion, prior and simple model, and fit it again."""
        c, task = self.config, self.config.task
        begin, end = (moment(t) for t in turn.gate or ())
        data = self.labelled(moment("2000-01-01"), begin, by=begin)
        newest = data.iloc[-(c.train.search_rows or len(data)) :]
        for trial in turn.trials:
            self.try_out(from_plain(Recipe, trial), newest)
        recipe = from_plain(Recipe, turn.recipe)
        challenger = self.fit(recipe, data)
        gate = self.labelled(begin, end, by=moment(turn.end))
        before = self.labelled(begin - c.monitor.decay.reference_window, begin, by=begin)
        rivals = [challenger, fit(prior_model(task), before, before[LABEL])]
        rivals += [self.simple(begin), self.simple(begin, self.declared)]
        rivals += [self.champion] if self.champion is not None else []
        predictions = [predict(model, gate, task) for model in rivals]
        self.compared = [(log_loss(gate[LABEL], p), roc_auc_score(gate[LABEL], p)) for p in predictions]
        for start, until in pairwise([*map(moment, turn.walked), begin]):
            self.walk(recipe, start, until, by=moment(turn.end))
        if turn.refitted:
            challenger = self.fit(recipe, self.labelled(moment("2000-01-01"), end, by=moment(turn.end)))
        if turn.promoted:
            self.champion = challenger

    def walk(self, recipe: Recipe, start: datetime, until: datetime, by: datetime) -> None:
        """Fit the recipe, the prior and the simple model at an earlier cut-off, and compare them on the rows until the next."""
        before = self.labelled(start - self.config.monitor.decay.reference_window, start, by=start)
        models = [self.fit(recipe, self.labelled(moment("2000-01-01"), start, by=start))]
        models += [fit(prior_model(self.config.task), before, before[LABEL]), self.simple(start, self.declared)]
        models += [self.champion] if self.champion is not None else []
        rows = self.labelled(start, until, by=by)
        self.compared += [
            (log_loss(rows[LABEL], p), roc_auc_score(rows[LABEL], p))
            for p in (predict(model, rows, self.config.task) for model in models)
        ]

    def try_out(self, recipe: Recipe, data: pd.DataFrame) -> float:
        """A recipe's mean loss over the folds."""
        losses = []
        for before, after in time_folds(data[EVENT_TIME], data[KNOWN_AT], self.config.train.folds):
            model, later = self.fit(recipe, data.iloc[before]), data.iloc[after]
            losses.append(log_loss(later[LABEL], predict(model, later, self.config.task)))
        return float(np.mean(losses))

    def fit(self, recipe: Recipe, data: pd.DataFrame) -> Pipeline:
        """Fit a recipe."""
        return fit(build(recipe, self.schema, self.config.task), data, data[LABEL])

    def simple(self, start: datetime, schema: FeatureSchema | None = None) -> Pipeline:
        """Fit the cheap reference on what was known before a moment."""
        seed = self.config.train.seed
        data = self.labelled(start - self.config.monitor.decay.reference_window, start, by=start)
        return fit(simple_model(schema or self.schema, self.config.task, seed), data, data[LABEL], SIMPLE_ROWS, seed)

    def labelled(self, start: datetime, end: datetime, by: datetime) -> pd.DataFrame:
        """Rows of [start, end) with labels known at a moment."""
        parts = [m[(m[EVENT_TIME] >= start) & (m[EVENT_TIME] < end) & (m[KNOWN_AT] <= by)] for m in self.months]
        parts = [p[p[LABEL].notna()] for p in parts if len(p)]
        joined = pd.concat(parts, ignore_index=True)
        for name in self.schema.categorical:
            joined[name] = pd.api.types.union_categoricals([p[name] for p in parts])
        return joined


if __name__ == "__main__":
    main()
