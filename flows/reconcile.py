# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Repair what crashes and absent servers leave behind: the outbox, MLflow's aliases and runs, Prefect's runs."""

from __future__ import annotations

import logging

from prefect import flow

from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.orchestration.recovery.reconcile_home import Reconciled, reconcile_home

log = logging.getLogger(__name__)


@flow(name="reconcile", flow_run_name="reconcile", **FLOW_OPTIONS)
def reconcile() -> Reconciled:
    """Reconcile the home; failures are in the result and retried next time."""
    result = reconcile_home()
    for problem in result.problems:
        log.warning("%s", problem)
    return result
