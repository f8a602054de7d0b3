# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Train a challenger, judge it against the champion, and promote, hold or reject it."""

from __future__ import annotations

from prefect import flow

from trueup.domain.types import Reason
from trueup.handoffs import Decided
from trueup.orchestration.context import opened
from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.orchestration.parameters import AsOf, ModelName, Text


@flow(name="retrain", flow_run_name="retrain {model}: {reason}", **FLOW_OPTIONS)
def retrain(model: ModelName, as_of: AsOf = None, reason: Reason = "manual", by: Text | None = None) -> Decided:
    """Retrain on the validated batches; for the same reason and batch, return the recorded decision.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment for which to run, in the chosen time zone; default: by the config's clock.
        reason: The reason, which the ledger records.
        by: The person who requests it, if any; recorded in the ledger.
    """
    with opened(model, as_of, by=by or "") as o:
        import tasks
        from trueup.loop import turn
        from trueup.orchestration.artifacts import show_decision

        decided = turn.retrain(tasks, o.model, o.as_of, reason)
        show_decision(o.model, decided)
        return decided
