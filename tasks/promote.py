"""Judge and promote, as tasks; the decision is shown with its verdicts."""

from __future__ import annotations

from tasks.artifacts import of_decision, publish
from tasks.wrap import stage
from trueup.config.schema import ModelConfig
from trueup.stages import promote as logic
from trueup.stages.ports import Ports
from trueup.stages.references import Attempt, Decided
from trueup.stages.report import run_folder

judge = stage("judge")(logic.judge)


@stage("promote", retries=2)
def promote(config: ModelConfig, ports: Ports, attempt: Attempt) -> Decided:
    """Decide, and show the decision."""
    decided = logic.promote(config, ports, attempt)
    pages = []
    if attempt.trained is not None:
        pages = [("Report of the run", run_folder(ports.root, config.model, attempt.trained.run_id) / "report.html")]
    publish("decision", config.model, of_decision(decided, pages), f"{attempt.as_of:%Y-%m-%d}")
    return decided
