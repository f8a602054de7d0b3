"""Retention: removes files that are older than a model's config allows, unless a kept decision depends on it.

Rows of the database are marked first, then the files are removed; the next run completes an interrupted one. The ledger
is never touched, and neither are MLflow's models: see `orphans` for those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from trueup.adapters import evidently, old_files
from trueup.adapters.files.port import Entry, remove
from trueup.adapters.store.removal import Kind
from trueup.audit.dossiers import dossiers_folder, stem
from trueup.config.load import load_model, model_names
from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.errors import TrueupError, WorkError
from trueup.governance.evidence import Evidence, kept, named
from trueup.governance.probation import predecessor
from trueup.governance.rollouts import all_under_way
from trueup.home import Home
from trueup.model import Model
from trueup.online.drain import log_folder
from trueup.reporting import data_docs
from trueup.reporting.jobs import data_docs_folder, drift_folder, report_folders, run_folder, workspace_folder
from trueup.serving.log_format import is_written, log_files
from trueup.serving.published import folder_of
from trueup.serving.rollout.figures import figures_folder
from trueup.serving.state import ROLLOUT
from trueup.stages.features import features_in_use

_ALL: Final = "(all)"  # in the place of a model's name, for files that models share
AT_WORK: Final = timedelta(days=1)  # younger files may still be being written


@dataclass(frozen=True)
class Removed:
    """Files of one kind that were removed, or would be."""

    kind: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Collected:
    """The files that were removed of a model, or of the shared files."""

    model: str | None
    removed: tuple[Removed, ...]
    note: str = ""


@dataclass(frozen=True)
class Cleared:
    """The files that were removed, or with `dry_run` would be, and the failures."""

    dry_run: bool
    collected: tuple[Collected, ...]
    problems: tuple[str, ...]


def clear_out(models: Sequence[str] | None = None, dry_run: bool = False) -> Cleared:
    """Remove old files of the home: of the named models, or of all with a config and their shared files.

    A model that cannot be checked does not stop the others. Raises WorkError if another process works on the files.
    """
    home = Home()
    collected, problems, configs = list[Collected](), list[str](), list[ModelConfig]()
    try:
        with home.alone_with_files() as alone:
            if not alone:
                raise WorkError("another `trueup gc` or a backup is running; wait for it and run again")
            for name in models if models is not None else model_names(home.configs):
                try:
                    configs.append(load_model(home.configs, name))
                    collected.append(gc(Model(configs[-1], home), dry_run))
                except Exception as error:
                    problems.append(f"{name}: {error}")
            if models is None and not problems:  # otherwise it is unknown what is in use
                collected.append(gc_shared(configs, home, dry_run))
    finally:
        home.close()
    return Cleared(dry_run, tuple(collected), tuple(problems))


def gc(model: Model, dry_run: bool = False) -> Collected:
    """Apply a model's retention to its reports, snapshots and predictions. Idempotent.

    The caller holds `Home.alone_with_files`. With `dry_run` no file changes, and the figures are of the files that would be removed.
    """
    evidence = kept(model)
    removals: dict[str, Callable[[Model, Evidence, bool], tuple[int, int]]] = {
        "Data Docs": _data_docs,
        "drift pages": _drift_pages,
        "drift snapshots": _drift_snapshots,
        "retrain pictures": _retrain_pictures,
        "dossiers": _dossiers,
        "evaluations": _evaluations,
        "recorded configs": _texts,
        "predictions": _predictions,
        "served features": _served,
        "prediction log": _prediction_log,
        "rollout figures": _rollout_figures,
    }
    with model.home.sharing(*report_folders(model.home.root), fetch=True):
        removed = [Removed(kind, *remove(model, evidence, dry_run)) for kind, remove in removals.items()]
    removed += _revisions(model, evidence, dry_run)
    return Collected(model.config.model, tuple(removed), _marked(model.home, model.config.model))


def gc_shared(configs: Sequence[ModelConfig], home: Home, dry_run: bool = False) -> Collected:
    """Remove shared files: features that no config in `configs` uses, and remains of crashes."""
    before = home.now() - AT_WORK
    used, note = _in_use(configs, home)
    features = [] if used is None else home.store.unused_features(used, before)
    named_files = named(home.ledger.entries()).evaluations
    unreferenced = [f for f in home.store.evaluations(before) if f.key not in named_files]
    with home.sharing(data_docs_folder(home.root), fetch=True):
        pages = old_files.remove(data_docs.leftovers(data_docs_folder(home.root), before), dry_run)
    half = _remove(home, f"{_ALL}/leftovers", [*unreferenced, *home.store.leftovers(before)], dry_run)
    leftovers = Removed("leftovers", half[0] + pages[0], half[1] + pages[1])
    kinds = (Removed("features", *_remove(home, f"{_ALL}/features", features, dry_run)), leftovers)
    return Collected(None, kinds, "; ".join(filter(None, (note, _marked(home, _ALL)))))


def _remove(home: Home, kind: str, unneeded: Iterable[Entry], dry_run: bool) -> tuple[int, int]:
    """Remove the files of a kind that were unneeded at an earlier look, too, and mark the others."""
    return remove(home.files, home.store.ripe(kind, unneeded, home.second_look, dry_run), dry_run)


def _marked(home: Home, whose: str) -> str:
    """What a later removal will look at again."""
    if not home.second_look or not (number := home.store.marked(f"{whose}/")):
        return ""
    return f"{number} more files are marked, and removed when they are still unneeded {home.second_look} after that"


def _in_use(configs: Sequence[ModelConfig], home: Home) -> tuple[set[str] | None, str]:
    """Keys of the features that the models use; None, with a reason, if unknown."""
    used = set[str]()
    for config in configs:
        try:
            for of in _feature_sets(Model(config, home)):
                used |= features_in_use(Model(config, home), of)
        except TrueupError as error:
            return None, f"features were not removed, because those of {config.model} are unknown: {error}"
    return used, ""


def _feature_sets(model: Model) -> Iterator[FeaturesConfig]:
    """The features of the config, of the champion, of the shadow model, and of a challenger in a rollout."""
    yield model.config.features
    yield from (rollout.challenger().features for rollout in all_under_way(model))
    current = model.champion()
    before = predecessor(model, current) if current else None
    yield from (c.features for c in (current, before) if c is not None)


def _data_docs(model: Model, _evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    return data_docs.remove(data_docs_folder(model.home.root), model.config.model, _old_reports(model), dry_run)


def _drift_pages(model: Model, _evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    pages = drift_folder(model.home.root, model.config.model).glob("*.html")
    return old_files.remove(old_files.older(pages, _old_reports(model)), dry_run)


def _drift_snapshots(model: Model, _evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    return evidently.remove(workspace_folder(model.home.root), model.config.model, _old_reports(model), dry_run)


def _retrain_pictures(model: Model, evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    before = _old_reports(model)
    folders = [f for f in run_folder(model.home.root, model.config.model, "").glob("*") if f.name not in evidence.runs]
    whole = [files for f in folders if len(files := list(f.glob("*"))) == len(old_files.older(files, before))]
    removed = old_files.remove((file for files in whole for file in files), dry_run)
    if not dry_run:
        _remove_empty(folders)
    return removed


def _dossiers(model: Model, evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    """Dossiers of versions that no kept decision names; `trueup dossier` makes them again."""
    kept = {stem(model.config.model, version) for version in evidence.versions}
    files = [
        f
        for f in dossiers_folder(model.home.root, model.config.model).glob(f"{model.config.model}-v*")
        if f.stem not in kept
    ]
    return old_files.remove(old_files.older(files, _old_reports(model)), dry_run)


def _evaluations(model: Model, evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    """Predictions for decisions that are no longer kept, and leftovers without an entry."""
    once = named(model.home.ledger.entries(model.config.model)).evaluations - evidence.evaluations
    old = model.home.store.evaluations(model.home.now() - model.config.retention.snapshots)
    return _remove(model.home, f"{model.config.model}/evaluations", (f for f in old if f.key in once), dry_run)


def _texts(model: Model, evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    """Recorded configs and functions that no kept decision depends on."""
    old = model.home.store.texts(model.config.model, model.home.now() - max(model.config.retention.snapshots, AT_WORK))
    unneeded = (f for f in old if f.name not in evidence.texts)
    return _remove(model.home, f"{model.config.model}/recorded configs", unneeded, dry_run)


def _predictions(model: Model, _evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    store, now = model.home.store, model.home.now()
    old = store.old_predictions(model.config.model, now - model.config.retention.predictions)
    if not dry_run:
        store.retire_predictions(model.config.model, old, now)
    return _sweep(model, "predictions", now, old, dry_run)


def _served(model: Model, _evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    store, now = model.home.store, model.home.now()
    old = store.old_served(model.config.model, now - model.config.retention.served)
    if not dry_run:
        store.retire_served(model.config.model, old, now)
    return _sweep(model, "served", now, old, dry_run)


def _prediction_log(model: Model, _evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    """Files of the log that no server writes any more, and that no run has drained."""
    old = old_files.older(log_files(log_folder(model)), model.home.now() - model.config.retention.served)
    return old_files.remove([file for file in old if not is_written(file)], dry_run)


def _rollout_figures(model: Model, _evidence: Evidence, dry_run: bool) -> tuple[int, int]:
    """What servers counted for rollouts that have ended; the ledger has what was decided on it."""
    place = folder_of(model.home.root, model.config.model)
    open_ones = {figures_folder(place, rollout.start.decision_id) for rollout in all_under_way(model)}
    folders = [folder for folder in (place / ROLLOUT).glob("*") if folder not in open_ones]
    files = [file for folder in folders for file in folder.glob("*")]
    before = model.home.now() - max(model.config.retention.served, AT_WORK)
    removed = old_files.remove(old_files.older(files, before), dry_run)
    if not dry_run:
        _remove_empty(folders)
    return removed


def _revisions(model: Model, evidence: Evidence, dry_run: bool) -> Iterator[Removed]:
    store, now = model.home.store, model.home.now()
    before = now - model.config.retention.snapshots
    old = [
        old_revision.ref.sequence
        for old_revision in store.superseded(model.config.model)
        if old_revision.superseded_at < before
        and not evidence.may_rest_on(old_revision.landed_at, old_revision.superseded_at)
    ]
    if not dry_run:
        store.retire_batches(old, now)
    yield Removed("batch revisions", *_sweep(model, "batches", now, old, dry_run))
    yield Removed("quarantine", *_sweep(model, "quarantine", now, old, dry_run))


def _sweep(model: Model, kind: Kind, now: datetime, retiring: Collection[Any], dry_run: bool) -> tuple[int, int]:
    """Remove the files that no row needs."""
    home = model.home
    return home.store.sweep(kind, model.config.model, now - AT_WORK, retiring, dry_run, home.second_look)


def _old_reports(model: Model) -> datetime:
    return model.home.now() - model.config.retention.reports


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
