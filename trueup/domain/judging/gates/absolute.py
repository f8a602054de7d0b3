"""The absolute gate: compare one metric of the challenger with fixed bounds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trueup.config.tasks import METRICS
from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.gates.gate import BETTER, Gate
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Verdict


class Absolute(Gate):
    """A bound on one metric of the challenger alone."""

    HEADING = BETTER
    METRICS = METRICS

    kind: Literal["absolute"] = "absolute"
    metric: str = Field(description="A metric of the task, such as `auc` or `mae`.")
    at_most: float | None = Field(None, description="The largest allowed value.")
    at_least: float | None = Field(None, description="The smallest allowed value.")

    @model_validator(mode="after")
    def _bounded(self) -> Absolute:
        if self.at_most is None and self.at_least is None:
            raise ValueError("give at_most or at_least")
        return self

    @property
    def check(self) -> str:
        return f"{self.name} {self.metric}"

    def judge(self, case: Case) -> Verdict:
        """Fail beyond the bound, and if the metric does not exist."""
        value = case.metrics.get(self.metric)
        figures = {"metric": self.metric, "value": value, "at_most": self.at_most, "at_least": self.at_least}
        if value is None:
            existing = ", ".join(sorted(case.metrics))
            return self.failed(f"rejected: there is no {self.metric}; the metrics are {existing}", **figures)
        sentence = f"{self.metric} {figure(value)} is"
        if self.at_most is not None and value > self.at_most:
            return self.failed(f"{sentence} above {figure(self.at_most)}", **figures)
        if self.at_least is not None and value < self.at_least:
            return self.failed(f"{sentence} below {figure(self.at_least)}", **figures)
        return self.passed(f"{sentence} within its bounds", **figures)
