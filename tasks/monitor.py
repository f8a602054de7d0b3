"""Monitor, as a task that shows the diagnosis."""

from __future__ import annotations

from datetime import datetime

from tasks.artifacts import of_diagnosis, publish
from tasks.wrap import stage
from trueup.config.schema import ModelConfig
from trueup.stages.monitor import monitor as watch
from trueup.stages.ports import Ports
from trueup.stages.references import Checked, Observed
from trueup.stages.report import drift_page


@stage("monitor")
def monitor(config: ModelConfig, ports: Ports, checked: Checked, as_of: datetime) -> Observed:
    """Watch a batch and show its diagnosis."""
    observed = watch(config, ports, checked, as_of)
    drifted = observed.figures.get("drift") is not None
    pages = [("Drift report", drift_page(ports.root, config.model, observed.window))] if drifted else []
    publish("diagnosis", config.model, of_diagnosis(observed, pages), str(observed.window))
    return observed
