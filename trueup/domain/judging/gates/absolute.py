"""The absolute gate: compare one metric of the challenger with fixed bounds."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.config.sections.gates import AbsoluteGate
from trueup.domain.data.types import Verdict
from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.metrics import figure


@dataclass(frozen=True)
class Absolute:
    """Bound one metric of the challenger."""

    config: AbsoluteGate

    def judge(self, case: Case) -> Verdict:
        """Fail beyond the bound, and when there is no such metric."""
        config = self.config
        name, value = f"absolute {config.metric}", case.metrics.get(config.metric)
        figures = {"metric": config.metric, "value": value, "at_most": config.at_most, "at_least": config.at_least}
        if value is None:
            known = ", ".join(sorted(case.metrics))
            return Verdict.failed(name, f"promotion refused: there is no {config.metric}; known are {known}", **figures)
        if config.at_most is not None and value > config.at_most:
            return Verdict.failed(name, f"{config.metric} {figure(value)} is above {figure(config.at_most)}", **figures)
        if config.at_least is not None and value < config.at_least:
            return Verdict.failed(
                name, f"{config.metric} {figure(value)} is below {figure(config.at_least)}", **figures
            )
        return Verdict.passed(name, f"{config.metric} {figure(value)} is within its bounds", **figures)
