"""Orphans: what trainings that came to no decision left in MLflow. No ledger entry names it, and nobody will.

A killed training's run is marked as deleted, with its versions and the files of its models. Of one that failed the run
stays for people to look at, and only the files go, after `retention.reports`. Runs that finished are never touched: each
has its entry, and if a ledger lacks one, the ledger is what has to be put right.
"""

from __future__ import annotations

from dataclasses import dataclass

from trueup.config.schema import ModelConfig
from trueup.governance.evidence import named
from trueup.home import HOME_TAG, Ports
from trueup.upkeep.retention import AT_WORK

FILES_TAG = "trueup.model_files"  # on a failed run: "removed"


@dataclass(frozen=True)
class Orphan:
    """A run that came to no decision."""

    run_id: str
    versions: tuple[int, ...]
    run_goes: bool  # with what hangs on it


@dataclass(frozen=True)
class Orphans:
    """What was removed."""

    runs: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    models: tuple[str, ...] = ()  # logged models with their files


def orphaned(config: ModelConfig, ports: Ports) -> list[Orphan]:
    """Runs that this home began, that came to no decision and ended long ago.

    One of which a ledger entry or an alias names a version is none, nor one to whose model somebody gave another name.
    """
    mine, entries = {HOME_TAG: ports.identity}, named(ports.ledger.entries(config.model))
    killed = ports.tracking.ended_runs(config.model, "KILLED", ports.now() - AT_WORK, mine)
    failed = ports.tracking.ended_runs(config.model, "FAILED", ports.now() - config.retention.reports, mine)
    ended = [*((run, True) for run in killed), *((run, False) for run, tags in failed.items() if FILES_TAG not in tags)]
    found = []
    for run_id, run_goes in ended:
        if run_id in entries.runs:
            continue
        made = ports.registry.versions_of_run(run_id)
        needed = {*entries.versions, *ports.registry.aliases(config.registered_name).values()} if made else set()
        if all(name == config.registered_name and version not in needed for name, version in made):
            found.append(Orphan(run_id, tuple(version for _, version in made), run_goes))
    return found


def collect_orphans(config: ModelConfig, ports: Ports) -> Orphans:
    """Remove what is left of orphaned runs; to be called by whoever holds the retrain lock. Again it finds nothing.

    The run goes last, so that what a crash left is found again.
    """
    found, models = orphaned(config, ports), list[str]()
    for orphan in found:
        for version in orphan.versions:
            ports.registry.delete_version(config.registered_name, version)
        for model_id in ports.registry.models_of_run(orphan.run_id):
            ports.registry.delete_model(model_id)
            models.append(model_id)
        if orphan.run_goes:
            ports.tracking.delete_run(orphan.run_id)
        else:
            ports.tracking.log(orphan.run_id, tags={FILES_TAG: "removed"})
    runs = tuple(orphan.run_id for orphan in found if orphan.run_goes)
    return Orphans(runs, tuple(v for orphan in found for v in orphan.versions), tuple(models))
