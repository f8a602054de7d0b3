"""Validate, as a task that shows what failed."""

from __future__ import annotations

from datetime import datetime

from tasks.artifacts import show_validation
from tasks.wrap import stage
from trueup.config.schema import ModelConfig
from trueup.domain.data.types import Batch
from trueup.handoffs import Checked
from trueup.home import Ports
from trueup.stages import validate as logic


@stage("validate")
def validate(config: ModelConfig, ports: Ports, batch: Batch, as_of: datetime) -> Checked:
    """Check a batch and show the verdict."""
    checked = logic.validate(config, ports, batch, as_of)
    show_validation(config, ports, checked)
    return checked
