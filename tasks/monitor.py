"""Monitor, as a task that shows the diagnosis."""

from __future__ import annotations

from datetime import datetime

from tasks.artifacts import show_diagnosis
from tasks.wrap import stage
from trueup.config.schema import ModelConfig
from trueup.handoffs import Checked, Observed
from trueup.home import Ports
from trueup.stages.monitor import monitor as watch


@stage("monitor")
def monitor(config: ModelConfig, ports: Ports, checked: Checked, as_of: datetime) -> Observed:
    """Watch a batch and show its diagnosis."""
    observed = watch(config, ports, checked, as_of)
    show_diagnosis(config, ports, checked, observed)
    return observed
