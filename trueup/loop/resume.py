"""Resumes a challenger that was trained and logged, but not decided on when its process died. It keeps its version."""

from __future__ import annotations

from datetime import timedelta

from trueup.errors import RegistryUnavailable, UntrustedModel
from trueup.governance.evidence import named
from trueup.handoffs import Attempt, Trained
from trueup.home import HOME_TAG, Home
from trueup.model import Model

_STAGE = "train"


def remember(model: Model, attempt: Attempt, trained: Trained) -> None:
    """Record a trained challenger, so that another process can resume it."""
    model.home.store.record(
        model.config.model, _STAGE, trained.train, 0, attempt.as_of, trained, _basis(attempt, trained.run_id)
    )


def unfinished(model: Model, attempt: Attempt) -> Trained | None:
    """A complete challenger that a dead process trained for the same attempt; its run is reopened. None without one.

    The caller holds the retrain lock and has closed dead runs. A run with a second model died later, during a refit. It
    is not resumed, and is collected like any orphan.
    """
    mine = {HOME_TAG: model.home.identity}
    dead = model.home.tracking.ended_runs(model.config.model, "KILLED", model.home.now() + timedelta(minutes=1), mine)
    decided = named(model.home.ledger.entries(model.config.model)).runs if dead else frozenset()
    for result in reversed(model.home.store.results(model.config.model, _STAGE, Trained)):
        trained, run_id = result.body, result.body.run_id
        if run_id in decided or run_id not in dead or result.basis != _basis(attempt, run_id):
            continue
        if len(model.home.registry.models_of_run(run_id)) == 1 and _whole(model.home, trained):
            model.home.tracking.reopen(run_id)
            return trained
    return None


def _basis(attempt: Attempt, run_id: str) -> str:
    assert attempt.digest is not None
    return f"{attempt.digest[:32]}:{run_id}"


def _whole(home: Home, trained: Trained) -> bool:
    try:
        home.registry.check(trained.uri, trained.manifest_digest)
    except (UntrustedModel, RegistryUnavailable):
        return False
    return True
