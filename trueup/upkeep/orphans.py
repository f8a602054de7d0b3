"""Removes orphans: remains in MLflow of trainings without a decision. No ledger entry names them.

A killed training's run is marked as deleted, with its versions and the files of its models. The run of a failed one
stays for inspection, and only its files are removed, after `retention.reports`. Finished runs are never touched: each
has its entry, and a ledger that lacks one has to be repaired instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from trueup.governance.evidence import named
from trueup.home import HOME_TAG
from trueup.model import Model
from trueup.upkeep.retention import AT_WORK

FILES_TAG = "trueup.model_files"  # tag of a failed run: "removed"


@dataclass(frozen=True)
class Orphan:
    """A run without a decision."""

    run_id: str
    versions: tuple[int, ...]
    run_goes: bool  # with its versions and models


@dataclass(frozen=True)
class Orphans:
    """The runs, versions and models that were removed."""

    runs: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    models: tuple[str, ...] = ()  # logged models with their files


def orphaned(model: Model) -> list[Orphan]:
    """Runs of this home that ended long ago without a decision.

    Runs with a version in a ledger entry or under an alias are excluded, as are runs with a model that was registered
    under another name.
    """
    mine, entries = {HOME_TAG: model.home.identity}, named(model.home.ledger.entries(model.config.model))
    killed = model.home.tracking.ended_runs(model.config.model, "KILLED", model.home.now() - AT_WORK, mine)
    failed = model.home.tracking.ended_runs(
        model.config.model, "FAILED", model.home.now() - model.config.retention.reports, mine
    )
    ended = [*((run, True) for run in killed), *((run, False) for run, tags in failed.items() if FILES_TAG not in tags)]
    orphans = []
    for run_id, run_goes in ended:
        if run_id in entries.runs:
            continue
        made = model.home.registry.versions_of_run(run_id)
        needed = (
            {*entries.versions, *model.home.registry.aliases(model.config.registered_name).values()} if made else set()
        )
        if all(name == model.config.registered_name and version not in needed for name, version in made):
            orphans.append(Orphan(run_id, tuple(version for _, version in made), run_goes))
    return orphans


def collect_orphans(model: Model) -> Orphans:
    """Remove the remains of orphaned runs. Idempotent. The caller holds the retrain lock.

    The run is removed last, so that the rest of an interrupted removal is found again.
    """
    orphans, models = orphaned(model), list[str]()
    for orphan in orphans:
        for version in orphan.versions:
            model.home.registry.delete_version(model.config.registered_name, version)
        for model_id in model.home.registry.models_of_run(orphan.run_id):
            model.home.registry.delete_model(model_id)
            models.append(model_id)
        if orphan.run_goes:
            model.home.tracking.delete_run(orphan.run_id)
        else:
            model.home.tracking.log(orphan.run_id, tags={FILES_TAG: "removed"})
    runs = tuple(orphan.run_id for orphan in orphans if orphan.run_goes)
    return Orphans(runs, tuple(v for orphan in orphans for v in orphan.versions), tuple(models))
