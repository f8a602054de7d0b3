"""Put right what crashes and absent servers leave behind. Doing it twice changes nothing more."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.config.schema import ModelConfig
from trueup.stages.champion import align, champion
from trueup.stages.ports import HOME_TAG, Ports


@dataclass(frozen=True)
class Mended:
    """What was put right for one model."""

    model: str
    alias: int | None = None  # the version that MLflow's alias was set to, where it named another
    closed_runs: tuple[str, ...] = ()  # MLflow runs that a dead process had left open
    note: str = ""


def reconcile(config: ModelConfig, ports: Ports) -> Mended:
    """Set MLflow's alias to what the ledger says, and close the runs of trainings that died.

    While a retrain is at work its runs are left alone. Locks need no care: they end with their holder.
    """
    alias = None
    current = champion(config, ports)
    if current is not None and not ports.registry.alias_agrees(config.registered_name, current.version):
        align(config, ports)
        alias = current.version
    with ports.retraining(config.model) as alone:
        if not alone:
            return Mended(config.model, alias, note="a retrain is at work; its runs were left alone")
        return Mended(config.model, alias, tuple(close_dead_runs(config, ports)))


def close_dead_runs(config: ModelConfig, ports: Ports) -> list[str]:
    """End as KILLED the runs that this home began and nobody ended.

    To be called by whoever holds the retrain lock: a run is open only while its retrain holds it.
    """
    dead = ports.tracking.open_runs(config.model, {HOME_TAG: ports.identity})
    for run_id in dead:
        ports.tracking.finish(run_id, "KILLED")
    return dead
