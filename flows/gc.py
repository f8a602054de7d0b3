# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Apply the retention of the configs: remove old reports, snapshots and predictions."""

from __future__ import annotations

import logging

from prefect import flow

from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.upkeep.retention import Cleared, clear_out

log = logging.getLogger(__name__)


@flow(name="gc", flow_run_name="gc", **FLOW_OPTIONS)
def gc(dry_run: bool = False) -> Cleared:
    """Apply the retention of every config in the home.

    Args:
        dry_run: Only show what would be removed.
    """
    cleared = clear_out(dry_run=dry_run)
    for problem in cleared.problems:
        log.warning("%s", problem)
    return cleared
