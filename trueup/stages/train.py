"""Train: plans the windows, searches a recipe on time-ordered folds, fits the challenger, and refits an accepted one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import get_args

import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.adapters.fit_cache import Fits
from trueup.adapters.optuna import Score, SearchResult, Together, search
from trueup.config.schema import ModelConfig
from trueup.config.tasks import Task
from trueup.crash import reach
from trueup.domain.data.digest import digest_of
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.learning import at_most, build, class_names, predict, recency
from trueup.domain.learning.recipe import Recipe, StandIn, on_workers, workers_of
from trueup.domain.learning.searched import Searched
from trueup.domain.learning.splits import Indices, time_folds
from trueup.domain.learning.training_windows import Hold, Plan, plan_training, reference_window
from trueup.domain.records import to_plain
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, Batch, BatchRef, Window
from trueup.errors import NoLabels, NotEnoughData
from trueup.handoffs import FITTED, Search, Trained, baseline_name, columns_of
from trueup.home import HOME_TAG, Home
from trueup.ledger.record import Input
from trueup.memory import give_back
from trueup.model import Model
from trueup.stages.export import make_form
from trueup.stages.features import Examples, examples, read_for, require_classes

_LONGEST_WAIT = timedelta(days=366)  # a label promised for later counts as a mistake


@dataclass(frozen=True)
class Material:
    """The rows of a challenger's training window, and the split of the newest of them for the search."""

    data: Examples
    searched: Searched


def plan(model: Model, as_of: datetime) -> Plan | Hold:
    """Choose training and gate window from the labels known at `as_of`, or the reason to hold. Raises NoLabels."""
    span = matured_span(model, as_of)
    if span is None:
        return without_labels(model, as_of)
    current = model.champion()
    until = current.trained_until if current else None
    delay = model.config.ingest.label.known_after or timedelta(0)
    return plan_training(span, until, model.config.train, model.config.promote, model.config.evaluate.block, delay)


def train(model: Model, chosen: Plan, as_of: datetime) -> Trained:
    """Search a recipe within the training window and fit it on all of its rows.

    The champion's recipe is the first trial. Raises NotEnoughData below `train.min_rows`, for labels of one class and
    without a fold to search on, TrainingFailed if no recipe can be fitted.
    """
    made = material(model, chosen, as_of)
    data = made.data
    current = model.champion()
    tags = {"trueup.as_of": as_of.isoformat(), "trueup.train": str(chosen.train), "trueup.gate": str(chosen.gate)}
    tags[HOME_TAG] = model.home.identity
    run_id = model.home.tracking.start(model.config.model, f"challenger {as_of:%Y-%m-%d}", tags)
    reach("train.begun")
    with model.home.tracking.closing_on_error(run_id):
        _log_inputs(model.home, run_id, _batches_in(model, chosen.train, as_of), "training")
        before = model.home.fits.spent
        result = _search(model, made.searched, current.recipe if current else None)
        del made  # a search may keep its rows in memory; the fit of all rows needs the room
        give_back()
        recipe = on_workers(result.recipe, model.config.train.dask_workers)
        trained = _fit(model, data, recipe, chosen, run_id)
        seconds = round(model.home.fits.spent - before, 3)
        parameters = {"family": recipe.family, "seed": recipe.seed, **recipe.parameters}
        model.home.tracking.log(
            run_id, params=parameters, metrics={"train_rows": trained.rows, "train_seconds": seconds}
        )
    return replace(
        trained,
        inputs=inputs_of(model, min(chosen.train.start, _reference_start(model, chosen.gate)), chosen.gate, as_of),
        search=Search(result.trials, result.stopped_by, seconds),
    )


def material(model: Model, chosen: Plan, as_of: datetime) -> Material:
    """Read a challenger's training rows. Raises NotEnoughData like `train`."""
    # Without folds the newest of the training rows are searched, too, by when their labels were known.
    data = examples(model, chosen.train, as_of, known_by=chosen.gate.start, for_fit=bool(chosen.folds))
    if (rows := len(data.y)) < (wanted := model.config.train.min_rows):
        raise NotEnoughData(
            f"{model.config.model}: {rows} matured rows in {chosen.train}, `train.min_rows` requires {wanted}"
        )
    require_classes(model.config, data, chosen.train)
    newest = _searched_rows(model, chosen, data, as_of)
    give_back()
    searched = Searched(
        rows=newest.inputs,
        y=newest.y,
        event_time=newest.event_time,
        schema=newest.schema,
        folds=tuple(_folds(model.config, newest)),
        task=model.config.task,
        half_life=model.config.train.half_life,
    )
    return Material(data.for_fit(), searched)


def _searched_rows(model: Model, chosen: Plan, data: Examples, as_of: datetime) -> Examples:
    """The newest rows before those that judge the recipe, which must not choose it."""
    if chosen.folds:
        data = examples(model, chosen.search, as_of, known_by=chosen.search.end)
        require_classes(model.config, data, chosen.search)
    return data.newest(model.config.train.search_rows)


def stand_in(model: Model, trained: Trained, family: StandIn, before: Examples, columns: Sequence[str]) -> Trained:
    """Fit and log the simple model, or the prior, that replaces the challenger, exactly as it was compared.

    `before` are its training rows, `columns` the inputs of the simple model.
    """
    recipe = Recipe(family, {"columns": list(columns)} if family == "simple" else {}, model.config.train.seed)
    chosen = Plan(reference_window(trained.gate.start, model.config.monitor.decay), trained.gate, trained.folds)
    fitted = _fit(model, before, recipe, chosen, trained.run_id)
    return replace(fitted, inputs=trained.inputs, search=trained.search)


def fit_again(model: Model, judged: Trained, as_of: datetime) -> Trained:
    """Fit a judged recipe again, with the gate window included, without a search."""
    chosen = Plan(judged.train, judged.gate, judged.folds)
    data = examples(model, chosen.refit, as_of, for_fit=True)
    # Both models belong to one run; MLflow keeps only the first context of a batch that is in both windows.
    trained_on = _batches_in(model, chosen.train, as_of)
    added = [b for b in _batches_in(model, chosen.refit, as_of) if b not in trained_on]
    _log_inputs(model.home, judged.run_id, added, "refit")
    return _fit(model, data, judged.recipe, chosen, judged.run_id)


def _fit(model: Model, data: Examples, recipe: Recipe, chosen: Plan, run_id: str) -> Trained:
    fitted = fit_recipe(model.config, model.home.fits, recipe, data)
    form, files = make_form(model, fitted, data.at(slice(0)).X)
    logged = model.home.registry.log(fitted, data.schema, model.config.task, run_id, files=files)
    baseline = _sample(data, model.config.monitor.drift.sample, model.config.train.seed)
    classes, predicted = class_names(model.config.task, fitted), predict(fitted, baseline, model.config.task)
    return Trained(
        recipe=recipe,
        train=chosen.train,
        gate=chosen.gate,
        trained_until=data.trained_until,
        rows=len(data.y),
        data_digest=data_digest(data, recipe),
        uri=logged.uri,
        manifest_digest=logged.manifest_digest,
        run_id=run_id,
        baseline_path=model.home.store.put_evaluation(
            baseline_name(logged.manifest_digest), baseline.assign(**columns_of(FITTED, predicted, classes))
        ),
        classes=classes,
        folds=chosen.folds,
        gone=data.gone,
        form=form,
    )


def _sample(data: Examples, n: int, seed: int) -> pd.DataFrame:
    """Draw `n` rows with their times and labels."""
    X, chosen = data.sample(n, seed)
    times, labels = (column.iloc[chosen].set_axis(X.index) for column in (data.event_time, data.y))
    return X.assign(**{EVENT_TIME: times, LABEL: labels})


def fit_recipe(
    config: ModelConfig, fits: Fits, recipe: Recipe, data: Examples, schema: FeatureSchema | None = None
) -> Pipeline:
    """Fit a recipe on all rows of `data`, weighted by `train.half_life`; `schema` are its features, by default all.

    The simple model and the prior are fitted without weights, as in comparisons with a challenger. Raises
    TrainingFailed if it cannot be fitted.
    """
    weights = None if recipe.family in get_args(StandIn) else recency(data.event_time, config.train.half_life)
    pipeline = build(recipe, schema or data.schema, config.task)
    return fits.fit(pipeline, data.inputs, data.y, at_most(recipe), recipe.seed, weights, workers_of(recipe))


def data_digest(data: Examples, recipe: Recipe) -> str:
    """A digest of everything that a fit depends on besides the code: batches, newest row, number of rows, and recipe."""
    return digest_of([data.sources, str(data.trained_until), len(data.y), to_plain(recipe)])


def _batches_in(model: Model, window: Window, as_of: datetime) -> list[Batch]:
    return [b for b in model.usable_batches(as_of) if b.window.overlaps(window)]


def inputs_of(model: Model, first: datetime | None, gate: Window, as_of: datetime) -> tuple[Input, ...]:
    """Every revision that training and judging read, and a digest of its rows in quarantine.

    `first` is where reading began; without a training, None, it began with the reference of the gate window.
    """
    start = first if first is not None else _reference_start(model, gate)
    read = read_for(model, Window(start, gate.end), as_of)
    quarantined = model.home.store.quarantined_ids_each([b.rows for b in read])
    return tuple(
        named
        for b, ids in zip(read, quarantined, strict=True)
        for named in (_named(b.rows, digest_of(ids.tolist())), _named(b.labels))
    )


def _reference_start(model: Model, gate: Window) -> datetime:
    return reference_window(gate.start, model.config.monitor.decay).start


def _named(ref: BatchRef, quarantined: str | None = None) -> Input:
    return Input(
        dataset=ref.dataset,
        start=ref.window.start,
        end=ref.window.end,
        revision=ref.revision,
        sha256=ref.sha256,
        rows=ref.rows,
        quarantined=quarantined,
    )


def _log_inputs(home: Home, run_id: str, used: list[Batch], context: str) -> None:
    """Record in the run the revisions of rows and labels that it read."""
    home.tracking.log_inputs(run_id, [ref for b in used for ref in (b.rows, b.labels)], context)


def _folds(config: ModelConfig, data: Examples) -> list[tuple[Indices, Indices]]:
    """The time-ordered folds with labels of more than one class."""
    folds = time_folds(data.event_time, data.known_at, config.train.folds)
    fine = [f for f in folds if config.task is Task.REGRESSION or data.y.iloc[f[0]].nunique() > 1]
    if not fine:
        raise NotEnoughData(
            f"{config.model}: no fold has labels of two classes known before it begins; wait for more history, or lower "
            "train.folds"
        )
    return fine


def _search(model: Model, searched: Searched, first: Recipe | None) -> SearchResult:
    with _scoring(model, searched) as (score, together):
        return search(score, model.config.train, model.config.task, first, together)


@contextmanager
def _scoring(model: Model, searched: Searched) -> Iterator[tuple[Score, Together]]:
    """What scores a recipe, and what runs several trials: in this process, or on the cluster of TRUEUP_DASK."""
    cluster, fits, at_once = model.home.cluster, model.home.fits, model.config.train.trials_at_once
    if cluster is None or at_once == 1:
        yield lambda recipe: (searched.loss(fits.fit, recipe, fold) for fold in range(len(searched.folds))), map
        return
    from trueup.adapters.dask.trials import trials_at

    # Workers read an object store by themselves. A folder of this machine may not be there, so the rows are sent.
    there = searched if model.home.settings.address else replace(searched, rows=searched.X)
    with trials_at(cluster, there, at_once, fits) as runner:
        yield runner


def matured_span(model: Model, as_of: datetime) -> Window | None:
    """From the first usable row to just after the newest row with a label that counts."""
    used = model.usable_batches(as_of)
    if not used:
        return None
    first = model.home.store.read(used[0].rows, [EVENT_TIME])[EVENT_TIME].min()
    start = used[0].window.start if pd.isna(first) else first.normalize().to_pydatetime()
    for batch in reversed(used):
        labels = model.home.store.read(batch.labels, [EVENT_TIME, KNOWN_AT])
        newest = labels.loc[labels[KNOWN_AT] <= pd.Timestamp(as_of), EVENT_TIME].max()
        if not pd.isna(newest):
            return Window(start, newest.to_pydatetime() + timedelta(microseconds=1))
    return None


def without_labels(model: Model, as_of: datetime) -> Hold:
    """Explain why no label counts yet. Raises NoLabels if they are overdue.

    They are once a batch ended longer ago than `known_after`, or, with an empty `known_at` column, longer ago than
    `train.min_history`, because a first champion would be due by then.
    """
    used, label = model.usable_batches(as_of), model.config.ingest.label
    moments = pd.concat([model.home.store.read(b.labels, [KNOWN_AT])[KNOWN_AT] for b in used]) if used else pd.Series()
    rows, first = sum(b.rows.rows for b in used), moments.min()
    patience = model.config.train.min_history if label.known_after is None else label.known_after
    ended = min((b.window.end for b in used if b.rows.rows), default=as_of)
    if not rows:
        why, overdue = "no batch that passed validation has rows", False
    elif moments.empty:
        where = (
            f"column {label.column} is empty in all"
            if label.source is None
            else "the label source has no outcome for any of"
        )
        why, overdue = f"{where} {rows:,} rows", ended + patience <= as_of
    elif pd.isna(first):
        why, overdue = f"column {label.known_at} is empty for all {len(moments):,} labels", ended + patience <= as_of
    else:
        why, overdue = f"the first label counts from {first:%Y-%m-%d %H:%M}", first - as_of > _LONGEST_WAIT
    clock = "known_after" if label.known_at is None else "known_at"
    missing = f"no matured label by {as_of:%Y-%m-%d %H:%M}: {why}"
    if overdue:
        batches = "1 batch" if len(used) == 1 else f"{len(used)} batches"
        raise NoLabels(
            f"{model.config.model}: {missing}, after {batches} from {used[0].window.start:%Y-%m-%d} on; fill it in the source, or "
            f"set ingest.label.column and ingest.label.{clock} to the columns with the outcome and its moment"
        )
    return Hold(f"{missing}; `{clock}` defines when a label counts")
