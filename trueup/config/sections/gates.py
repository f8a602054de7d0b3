"""The config of gates in `promote.gates`: their keys, and checks against the rest of the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from pydantic import ValidationError

from trueup.config.content import Location
from trueup.config.plugins import Kinds, Plugin
from trueup.config.tasks import Task


class GateConfig(Plugin):
    """A gate: decides whether a challenger may become the champion."""

    KINDS = Kinds(
        "gate",
        "trueup.domain.judging.gates:Gate",
        {
            "paired": "trueup.domain.judging.gates.paired:Paired",
            "baseline": "trueup.domain.judging.gates.baseline:Baseline",
            "absolute": "trueup.domain.judging.gates.absolute:Absolute",
            "slices": "trueup.domain.judging.gates.slices:Slices",
            "fairness": "trueup.domain.judging.gates.fairness:Fairness",
            "calibration": "trueup.domain.judging.gates.calibration:Calibration",
            "behaviour": "trueup.domain.judging.gates.behaviour:Behaviour",
            "budget": "trueup.domain.judging.gates.budget:Budget",
            "features": "trueup.domain.judging.gates.worth:Features",
        },
    )
    TASKS: ClassVar[tuple[Task, ...]] = tuple(Task)  # that the gate can judge
    METRICS: ClassVar[dict[Task, tuple[str, ...]]] = {}  # allowed values of its key `metric`; empty: any

    @property
    def groups(self) -> list[str]:
        """Landed columns with the groups that the gate compares; `Case.groups` has them as text."""
        return []

    @classmethod
    def named_columns(cls, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        with suppress(ValidationError):
            yield from (((), column) for column in cls.model_validate(content).groups)

    @classmethod
    def problems(cls, content: Mapping[str, Any], task: Task, features: Any) -> Iterator[tuple[Location, str]]:
        """Contradictions to the rest of the config: the place within the gate, and what to write.

        `content` is the raw gate and `features` that raw section, which may have other mistakes, too.
        """
        del features
        if task not in cls.TASKS:
            yield ("kind",), f"is for a {' or '.join(cls.TASKS)} task, this one is {task}; remove it"
        metric = content.get("metric")
        if cls.METRICS and isinstance(metric, str) and metric not in cls.METRICS[task]:
            yield ("metric",), f"a {task} task has no metric {metric!r}; it has {', '.join(cls.METRICS[task])}"
