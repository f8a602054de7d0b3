"""Put right what crashes and absent servers leave behind. Doing it twice changes nothing more."""

from __future__ import annotations

from dataclasses import dataclass, field

from trueup.governance.alias import align
from trueup.governance.approval import settle
from trueup.home import HOME_TAG
from trueup.model import Model
from trueup.upkeep.orphans import Orphans, collect_orphans, orphaned


@dataclass(frozen=True)
class Mended:
    """What was put right for one model."""

    model: str
    alias: int | None = None  # the version that MLflow's alias was set to, where it named another
    closed_runs: tuple[str, ...] = ()  # MLflow runs that a dead process had left open
    orphans: Orphans = field(default_factory=Orphans)  # what trainings that came to no decision had left in MLflow
    note: str = ""


def reconcile(model: Model) -> Mended:
    """Settle approvals, set MLflow's alias to what the ledger says, close runs of dead trainings, and collect orphans.

    While a retrain is at work its runs are left alone, and a retrain that is asked for while we hold its lock is refused:
    so the lock is taken only when there is something to do. Locks need no care: they end with their holder.
    """
    settle(model)
    alias = None
    current = model.champion()
    if current is not None and not model.home.registry.alias_agrees(model.config.registered_name, current.version):
        align(model)
        alias = current.version
    if not _open_runs(model) and not orphaned(model):
        return Mended(model.config.model, alias)
    with model.home.retraining(model.config.model) as alone:
        if not alone:
            return Mended(model.config.model, alias, note="a retrain is at work; its runs were left alone")
        return Mended(model.config.model, alias, tuple(close_dead_runs(model)), collect_orphans(model))


def close_dead_runs(model: Model) -> list[str]:
    """End as KILLED the runs that this home began and nobody ended.

    To be called by whoever holds the retrain lock: a run is open only while its retrain holds it.
    """
    dead = _open_runs(model)
    for run_id in dead:
        model.home.tracking.finish(run_id, "KILLED")
    return dead


def _open_runs(model: Model) -> list[str]:
    return model.home.tracking.open_runs(model.config.model, {HOME_TAG: model.home.identity})
