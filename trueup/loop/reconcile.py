"""Repairs a home after crashes, without Prefect: MLflow's aliases and runs, and the log of servers. Idempotent."""

from __future__ import annotations

from dataclasses import dataclass, field

from trueup.governance.alias import align
from trueup.governance.approval import settle
from trueup.handoffs import Drained
from trueup.home import HOME_TAG
from trueup.model import Model
from trueup.online.drain import drain
from trueup.upkeep.orphans import Orphans, collect_orphans, orphaned


@dataclass(frozen=True)
class Mended:
    """The repairs of one model."""

    model: str
    alias: int | None = None  # the version that MLflow's alias was corrected to
    closed_runs: tuple[str, ...] = ()  # MLflow runs that a dead process had left open
    orphans: Orphans = field(default_factory=Orphans)  # remains of trainings without a decision in MLflow
    note: str = ""
    drained: Drained | None = None  # from the log of servers; None without `serve`


def reconcile(model: Model) -> Mended:
    """Close outdated approvals, set MLflow's alias from the ledger, close runs of dead trainings, and collect orphans.

    What servers logged is stored, too, so that the log of a model with rare batches stays small.

    The runs of a running retrain are left alone. A retrain that starts while this holds its lock is refused, so the
    lock is taken only if there is something to repair. A lock ends with the process that holds it.
    """
    settle(model)
    drained = drain(model) if model.config.serve is not None else None
    alias = None
    current = model.champion()
    if current is not None and not model.home.registry.alias_agrees(model.config.registered_name, current.version):
        align(model)
        alias = current.version
    if not _open_runs(model) and not orphaned(model):
        return Mended(model.config.model, alias, drained=drained)
    with model.home.retraining(model.config.model) as alone:
        if not alone:
            note = "a retrain is at work; its runs were left alone"
            return Mended(model.config.model, alias, note=note, drained=drained)
        closed = tuple(close_dead_runs(model))
        return Mended(model.config.model, alias, closed, collect_orphans(model), drained=drained)


def close_dead_runs(model: Model) -> list[str]:
    """End as KILLED the unfinished runs of this home. The caller holds the retrain lock, so no retrain is running."""
    dead = _open_runs(model)
    for run_id in dead:
        model.home.tracking.finish(run_id, "KILLED")
    return dead


def _open_runs(model: Model) -> list[str]:
    return model.home.tracking.open_runs(model.config.model, {HOME_TAG: model.home.identity})
