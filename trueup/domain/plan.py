"""Which rows a challenger is trained on, and which rows judge it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from trueup.config.schema import PromoteConfig, TrainConfig
from trueup.domain.types import Window

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Plan:
    """The windows of one training: `train` lies wholly before `gate`; `refit` is both together."""

    train: Window
    gate: Window

    @property
    def refit(self) -> Window:
        """All that an accepted recipe is fitted on again."""
        return Window(self.train.start, self.gate.end)


@dataclass(frozen=True)
class Hold:
    """No training now, and why. A hold is not a rejection."""

    reason: str


def plan_training(
    matured: Window, trained_until: datetime | None, train: TrainConfig, promote: PromoteConfig
) -> Plan | Hold:
    """Split the matured span into a training window and a gate window.

    `matured` runs from the first row to the newest row whose label counts; `trained_until` is the newest row the
    champion was trained on (None without a champion). The gate window is the newest `promote.gate_window`, but never
    more than half of what the champion has not seen, so that the challenger learns something new, and it starts after
    the champion's training: no row is judged by a model that was trained on it.

    >>> month = Window(datetime(2013, 1, 1), datetime(2013, 4, 1))
    >>> plan = plan_training(month, datetime(2013, 2, 28), TrainConfig(), PromoteConfig())
    >>> print(plan.train, plan.gate)
    [2013-01-01, 2013-03-18) [2013-03-18, 2013-04-01)
    """
    new_since = trained_until if trained_until is not None else matured.start
    new_span = matured.end - new_since
    if trained_until is None and new_span < train.min_history:
        return Hold(f"not enough history: {_days(new_span)} of matured labels, {_days(train.min_history)} wanted")
    if trained_until is not None and new_span < timedelta(days=promote.min_new_days):
        return Hold(
            f"not enough new labels: {_days(max(new_span, timedelta()))} since the champion's training, "
            f"{promote.min_new_days:g} days wanted"
        )
    newest = _midnight(matured.end - promote.gate_window)
    gate_start = max(newest, new_since + new_span / 2)
    start = matured.start if train.window == "expanding" else max(matured.start, gate_start - train.window)
    return Plan(train=Window(start, gate_start), gate=Window(gate_start, matured.end))


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _days(span: timedelta) -> str:
    return f"{span / _DAY:.1f} days"
