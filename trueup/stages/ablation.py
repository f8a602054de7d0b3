"""Ablation: fits the accepted recipe without each group of features, to measure the group's value."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase

from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.features import FeatureSchema
from trueup.domain.features.history import history_names
from trueup.domain.judging.bootstrap import Floats, paired_interval
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.learning import predict
from trueup.handoffs import Trained
from trueup.ledger.record import Ablated
from trueup.model import Model
from trueup.stages.features import Examples, examples
from trueup.stages.train import fit_recipe


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
    worth its place), and whether that is shown.
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
        shown = "earns its place" if low is not None and low > 0 else "harms" if high is not None and high < 0 else ""
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
