"""The command and flow `reconcile`: repairs the home (`trueup.loop.reconcile`) and, with a server, Prefect's runs.

Failures on the server without a run of ours are announced from here, too: failed automations and dead flow runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from trueup.adapters.apprise import addresses
from trueup.audit.dossiers import dossiers_kept_current
from trueup.audit.verify import anchor
from trueup.config.load import load_model, model_names
from trueup.home import Home
from trueup.loop import reconcile
from trueup.loop.failed_automations import announce_failures
from trueup.loop.notices import notify
from trueup.loop.outbox import Relayed, relay
from trueup.loop.reconcile import Mended
from trueup.orchestration.hooks import event_api
from trueup.orchestration.recovery.approval_pages import end_decided
from trueup.orchestration.recovery.dead_runs import Flipped, flip
from trueup.orchestration.recovery.death_notices import announce_deaths
from trueup.orchestration.recovery.superseded_runs import drop_overtaken

T = TypeVar("T")


@dataclass(frozen=True)
class Reconciled:
    """The repairs, and the failed ones."""

    failed_automations: int  # not announced before
    events: Relayed
    notices: Relayed
    models: tuple[Mended, ...]
    views: tuple[str, ...]  # resumed flow runs of decided approvals
    prefect: Flipped
    overtaken: tuple[str, ...]  # models with a cancelled superseded run
    problems: tuple[str, ...]


def reconcile_home(models: list[str] | None = None) -> Reconciled:
    """Reconcile all models, or the named ones, and deliver events; a failing part does not stop the others."""
    from trueup.model import Model

    home, problems = Home(), list[str]()

    def tried(what: str, part: Callable[[], T], otherwise: T) -> T:
        try:
            return part()
        except Exception as error:
            problems.append(f"{what}: {error}")
            return otherwise

    def mend_one(name: str) -> Mended | None:
        return tried(name, lambda: reconcile.reconcile(Model(load_model(home.configs, name), home)), None)

    try:
        api, configured = event_api(), model_names(home.configs)
        tried("the ledger's head could not be anchored", lambda: anchor(home), None)
        with dossiers_kept_current(home):
            mended = [mend_one(name) for name in (models if models is not None else configured)]
        failed, views, overtaken, flipped = 0, tuple[str, ...](), tuple[str, ...](), Flipped()
        if api is not None:
            unseen = "Prefect's automations could not be read"
            failed = tried(unseen, lambda: announce_failures(home, api, configured), failed)
            views = tried("Prefect's approvals could not be read", lambda: end_decided(home), views)
            flipped = tried("Prefect's runs could not be read", flip, flipped)
            overtaken = tried("Prefect's queues could not be read", drop_overtaken, overtaken)
            tried("dead runs could not be announced", lambda: announce_deaths(home, flipped.deaths, configured), None)
        events, notices = relay(home, api, lost=True), notify(home, addresses(home.settings.notify))
        problems += [relayed.problem for relayed in (events, notices) if relayed.problem]
    finally:
        home.close()
    done = tuple(m for m in mended if m is not None)
    return Reconciled(failed, events, notices, done, views, flipped, overtaken, tuple(problems))
