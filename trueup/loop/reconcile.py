"""Put right what crashes and absent servers leave behind. Doing it twice changes nothing more."""

from __future__ import annotations

from dataclasses import dataclass, field

from trueup.config.schema import ModelConfig
from trueup.governance.approval import settle
from trueup.governance.champion import align, champion
from trueup.home import HOME_TAG, Ports
from trueup.upkeep.orphans import Orphans, collect_orphans, orphaned


@dataclass(frozen=True)
class Mended:
    """What was put right for one model."""

    model: str
    alias: int | None = None  # the version that MLflow's alias was set to, where it named another
    closed_runs: tuple[str, ...] = ()  # MLflow runs that a dead process had left open
    orphans: Orphans = field(default_factory=Orphans)  # what trainings that came to no decision had left in MLflow
    note: str = ""


def reconcile(config: ModelConfig, ports: Ports) -> Mended:
    """Settle approvals, set MLflow's alias to what the ledger says, close runs of dead trainings, and collect orphans.

    While a retrain is at work its runs are left alone, and a retrain that is asked for while we hold its lock is refused:
    so the lock is taken only when there is something to do. Locks need no care: they end with their holder.
    """
    settle(config, ports)
    alias = None
    current = champion(config, ports)
    if current is not None and not ports.registry.alias_agrees(config.registered_name, current.version):
        align(config, ports)
        alias = current.version
    if not _open_runs(config, ports) and not orphaned(config, ports):
        return Mended(config.model, alias)
    with ports.retraining(config.model) as alone:
        if not alone:
            return Mended(config.model, alias, note="a retrain is at work; its runs were left alone")
        return Mended(config.model, alias, tuple(close_dead_runs(config, ports)), collect_orphans(config, ports))


def close_dead_runs(config: ModelConfig, ports: Ports) -> list[str]:
    """End as KILLED the runs that this home began and nobody ended.

    To be called by whoever holds the retrain lock: a run is open only while its retrain holds it.
    """
    dead = _open_runs(config, ports)
    for run_id in dead:
        ports.tracking.finish(run_id, "KILLED")
    return dead


def _open_runs(config: ModelConfig, ports: Ports) -> list[str]:
    return ports.tracking.open_runs(config.model, {HOME_TAG: ports.identity})
