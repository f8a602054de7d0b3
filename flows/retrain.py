"""Train a challenger, judge it against the champion, and promote or refuse it."""

from __future__ import annotations

from prefect import flow

from trueup.domain.data.types import Reason
from trueup.handoffs import Decided
from trueup.orchestration.context import opened
from trueup.orchestration.hooks import TOLD
from trueup.orchestration.parameters import AsOf, ModelName, Text


@flow(name="retrain", flow_run_name="retrain {model}: {reason}", **TOLD)
def retrain(model: ModelName, as_of: AsOf = None, reason: Reason = "manual", by: Text | None = None) -> Decided:
    """Retrain on the validated batches; asked again for the same reason and batch, give the recorded decision.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment to stand at, in the time zone chosen; default: by the config's clock.
        reason: Why; it stands in the ledger.
        by: Who asks, where a person does; it stands in the ledger.
    """
    with opened(model, as_of, by=by or "") as o:
        import tasks
        from tasks.artifacts import show_decision
        from trueup.loop import turn

        decided = turn.retrain(tasks, o.model, o.as_of, reason)
        show_decision(o.model, decided)
        return decided
