"""Ablation: fits the accepted recipe without each group of features, to measure the group's value, and times the group."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final

from trueup.config.own_code import load_function
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.features import FeatureSchema, feature_frame
from trueup.domain.features.history import history_names
from trueup.domain.judging.bootstrap import Floats, paired_interval
from trueup.domain.judging.gates.worth import EARNS, HARMS
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.learning import predict
from trueup.handoffs import Trained
from trueup.ledger.record import Ablated
from trueup.model import Model
from trueup.stages.features import Examples, examples, outcomes_of, past_of
from trueup.stages.train import fit_recipe

_TIMED: Final = 10_000  # rows whose features are timed


def ablation(
    model: Model,
    trained: Trained,
    gate: Examples,
    predictions: Floats,
    classes: list[str] | None,
    as_of: datetime,
) -> list[Ablated]:
    """Measure the challenger's loss on the gate rows without each group of features; it decides nothing.

    The recipe stays as it was searched with all features. `predictions` are the challenger's predictions. Returns one record
    per group: its features, the mean loss with and without it, their difference with its interval (above 0 the group is
    worth its place), whether that is shown, and the milliseconds that its features take for 1,000 rows.
    """
    settings = model.config.evaluate.ablation
    if settings is None or trained.received is not None:  # the rows of its training are elsewhere
        return []
    before = examples(model, trained.train, as_of, known_by=trained.gate.start).newest(settings.rows)
    e = model.config.evaluate
    y = gate.y.to_numpy()

    def losses(schema: FeatureSchema) -> Floats:
        fitted = fit_recipe(model.config, model.home.fits, trained.recipe, before, schema)
        return row_losses(model.config.task, y, predict(fitted, gate.inputs, model.config.task, classes), classes)

    whole = gate.schema
    full = losses(whole) if len(before.y) < trained.rows else row_losses(model.config.task, y, predictions, classes)
    worth = []
    for name, features in groups(settings.groups, model.config.features, whole).items():
        rest = FeatureSchema(
            *(tuple(f for f in kind if f not in features) for kind in (whole.numeric, whole.categorical))
        )
        if not features or not rest.names:
            continue  # no such features, or no others
        apart = losses(rest) - full
        bounds = paired_interval(apart, gate.event_time, e.block, e.confidence)
        low, high = bounds.bounds
        shown = EARNS if low is not None and low > 0 else HARMS if high is not None and high < 0 else ""
        worth.append(
            Ablated(
                group=name,
                features=features,
                with_group=float(full.mean()),
                without=float(full.mean() + bounds.mean),
                difference=bounds.mean,
                low=low,
                high=high,
                confidence=bounds.confidence,
                fitted_on=len(before.y),
                answer=shown or "not shown",
                ms=_milliseconds(model, trained, features, as_of),
            )
        )
    return worth


def groups(declared: dict[str, list[str]], config: FeaturesConfig, schema: FeatureSchema) -> dict[str, list[str]]:
    """The groups of features by name: as declared by patterns, else by the sections of the config."""
    if declared:
        return {
            name: [f for f in schema.names if any(fnmatchcase(f, p) for p in patterns)]
            for name, patterns in declared.items()
        }
    by_kind = {
        "numeric": list(config.numeric),
        "categorical": list(config.categorical),
        "calendar": [f"{column}_{part}" for column, parts in config.calendar.items() for part in parts],
    }
    for spec in config.history:
        for by in spec.by:
            keys = [by] if isinstance(by, str) else by
            name = f"{spec.name} by {' and '.join(keys)}"
            by_kind.setdefault(name, []).extend(history_names([spec.model_copy(update={"by": [by]})]))
    grouped = {f for features in by_kind.values() for f in features}
    by_kind["custom"] = [f for f in schema.names if f not in grouped]
    return {name: features for name, features in by_kind.items() if features}


def _milliseconds(model: Model, trained: Trained, features: Collection[str], as_of: datetime) -> float | None:
    """How long some features of 1,000 rows take (wall time), with the reading of their past; None if none can be made alone.

    The first rows of the newest batch of the gate window are computed again, and nothing is stored.
    """
    of = only(model.config.features, features)
    usable = model.usable_batches(as_of)
    batch = next((b for b in reversed(usable) if b.window.overlaps(trained.gate)), None)
    if of is None or batch is None:
        return None
    store, custom = model.home.store, load_function(of.custom, model.home.configs) if of.custom else None
    rows = next(iter(store.effective_chunks(batch.rows, store.columns(batch.rows), _TIMED)), None)
    if rows is None or rows.empty:
        return None
    past = past_of(model.config, usable, batch.window, of)
    begun = time.perf_counter()
    feature_frame(rows, outcomes_of(of.history, model.home, past, batch.window), of, custom)
    return round(1e6 * (time.perf_counter() - begun) / len(rows), 3)


def only(config: FeaturesConfig, features: Collection[str]) -> FeaturesConfig | None:
    """The part of a config that makes some features, with others that are made together with them; None if none does.

    >>> only(FeaturesConfig(numeric=["x", "z"], calendar={"t": ["hour", "month"]}), ["x", "t_hour"])
    FeaturesConfig(numeric=['x'], categorical=[], calendar={'t': ['hour']}, history=[], custom=None)
    """
    calendar = {c: [p for p in parts if f"{c}_{p}" in features] for c, parts in config.calendar.items()}
    apart = [spec.model_copy(update={"by": [by]}) for spec in config.history for by in spec.by]
    history = [spec for spec in apart if {*history_names([spec])} & {*features}]
    made = {*config.numeric, *config.categorical, *history_names(config.history)}
    made |= {f"{c}_{part}" for c, parts in config.calendar.items() for part in parts}
    custom = config.custom if {*features} - made else None
    parts = {
        "numeric": [name for name in config.numeric if name in features],
        "categorical": [name for name in config.categorical if name in features],
        "calendar": {column: chosen for column, chosen in calendar.items() if chosen},
        "history": history,
        "custom": custom,
    }
    return FeaturesConfig.model_validate(parts) if any(parts.values()) else None
