"""The case that gates judge: the rows of a gate window and each model's predictions for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.config.sections.training import EvaluateConfig
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Blocks, Floats, Interval, sums_interval
from trueup.domain.judging.evidence import Evidence
from trueup.domain.judging.metrics import metrics, row_losses, shortfall_difference
from trueup.domain.types import Burden

if TYPE_CHECKING:
    from trueup.domain.judging.gates.behaviour import Violations
    from trueup.domain.judging.gates.budget import Cost
    from trueup.domain.judging.gates.worth import Worth

NO_CHAMPION = "no champion yet"
CHALLENGER, CHAMPION, PRIOR, SIMPLE = "challenger", "champion", "prior", "simple"
LOSS = "loss"
DOUBT = 0.2  # one-sided: the level at which a model counts as worse than another when doubt decides


@dataclass(frozen=True, eq=False)
class Case:
    """The rows of a gate window and each model's predictions for them.

    `predictions` has the roles `challenger`, `champion` (unless the model has no champion yet), and the baselines `prior` and `simple`;
    shapes are as in `trueup.domain.judging.metrics`. `trained_until` has by role the exclusive end of the training rows' event
    times. `metrics` are those of the challenger. `slices` (n rows) has one column per declared slice, `groups` (n rows) one
    per column of the fairness gates. `behaviour` has one record per declared check, and `budget` one for each batch size and
    number of repeats, as `BehaviourGate` and `BudgetGate` read them; `ablation` has one for each group of features. `without_champion` is the reason if there are no
    predictions of a champion.

    `walked` is the evidence about the challenger's recipe on all rows that count, including the gate rows; by default only
    the gate rows count. `folds` has the start of each earlier fold and the end of the rows that its fit learned from.
    `burden` is what the challenger has to prove, `attempt` the number of attempts against this champion, including this
    one. `contender` is the role of the model in the challenger's place: the challenger, or a baseline that does better.
    """

    task: Task
    y: NDArray[Any]
    event_time: NDArray[np.datetime64]
    predictions: Mapping[str, NDArray[Any]]
    trained_until: Mapping[str, datetime]
    metrics: Mapping[str, float]
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups: pd.DataFrame = field(default_factory=pd.DataFrame)
    behaviour: Sequence[Violations] = ()
    budget: Sequence[Cost] = ()
    ablation: Sequence[Worth] = ()
    classes: Sequence[str] | None = None
    seed: int = 0
    without_champion: str = NO_CHAMPION
    walked: Evidence | None = None
    folds: Sequence[tuple[datetime, datetime]] = ()
    burden: Burden = "routine"
    attempt: int = 1
    contender: str = CHALLENGER

    def __post_init__(self) -> None:
        sizes = {"event_time": len(self.event_time)} | {role: len(p) for role, p in self.predictions.items()}
        tables = {"slices": self.slices, "groups": self.groups}
        sizes |= {name: len(table) for name, table in tables.items() if not table.columns.empty}
        if wrong := {name: size for name, size in sizes.items() if size != len(self.y)}:
            raise ValueError(f"a case of {len(self.y)} labels, but of other lengths: {wrong}")

    @property
    def has_champion(self) -> bool:
        return CHAMPION in self.predictions

    @property
    def judged(self) -> list[str]:
        """The roles of the models that the decision is about."""
        return [CHALLENGER, CHAMPION] if self.has_champion else [CHALLENGER]

    @cached_property
    def losses(self) -> dict[str, Floats]:
        """Row losses (n,) by role."""
        return {role: row_losses(self.task, self.y, p, self.classes) for role, p in self.predictions.items()}

    @cached_property
    def blocks(self) -> Blocks:
        return Blocks.of(self.event_time, self.evaluate.block)

    @cached_property
    def evidence(self) -> Evidence:
        """Row losses by block of time on all rows that count."""
        if self.walked is not None:
            return self.walked
        return Evidence.of(self.event_time, self.losses, self.evaluate.block)

    def weigh(self, role: str, other: str) -> Interval:
        """Bound a role's loss minus another's on all evidence; below 0 the first is better."""
        return self.evidence.difference(role, other, self.evaluate.confidence)

    def shown_worse(self, role: str, other: str) -> bool:
        """Whether a role's mean loss is above another's, one-sided at `DOUBT`; False if one was not measured."""
        if role not in self.evidence.losses or other not in self.evidence.losses:
            return False
        difference = self.weigh(role, other)
        return difference.enough and difference.lower(DOUBT) > 0

    @cached_property
    def doubted(self) -> tuple[str, ...]:
        """The baselines that do better than the champion, which then has no benefit of doubt; see `gates.doubt`."""
        return tuple(role for role in (PRIOR, SIMPLE) if self.has_champion and self.shown_worse(CHAMPION, role))

    def loss(self, role: str) -> float:
        return float(self.losses[role].mean())

    def value(self, role: str, metric: str = LOSS) -> float:
        """A role's mean loss, or another metric. Raises ValueError like `difference`."""
        if metric == LOSS:
            return self.loss(role)
        return metrics(self.task, self.y, self.predictions[role], self.classes)[metric]

    def interval(self, sums: Floats, rows: Floats) -> Interval:
        """Bound a mean given by block sums, with the configured confidence."""
        return sums_interval(sums, rows, self.evaluate.confidence)

    def difference(self, role: str, metric: str = LOSS) -> Interval:
        """Bound the challenger's loss, or shortfall in a metric, minus that of another role; below 0 it is better.

        Raises ValueError for a metric that does not exist on these rows.
        """
        if metric != LOSS:
            pair, e = (self.predictions[CHALLENGER], self.predictions[role]), self.evaluate
            return shortfall_difference(self.task, self.y, pair, metric, self.blocks, e, self.seed, self.classes)
        return self.interval(self.blocks.sums(self.losses[CHALLENGER] - self.losses[role]), self.blocks.sums())
