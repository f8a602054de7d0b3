"""Chooses the pace of a loop over a new table, so that batches, gate windows and retrains have enough rows.

The pace follows from the table's volume and rhythm: rows per day, days with rows, the share of the rarer outcome, the
delay of outcomes, and the length of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import ceil, sqrt
from typing import Any

import pandas as pd
from scipy.stats import norm

from trueup.config.tasks import Task
from trueup.domain.data.periods import Period
from trueup.domain.judging.bootstrap import MIN_BLOCKS
from trueup.domain.judging.gates.paired import Paired
from trueup.domain.profiling.times import choose_period

_DAY = timedelta(days=1)
_BLOCKS = (1440, 720, 480, 360, 240, 180, 120, 60, 30, 5)  # minutes
_WINDOWS = (timedelta(days=7), timedelta(days=28))  # of histories
_USUAL = {"day": (14, 7, 4, 7), "week": (28, 14, 7, 28), "month": (56, 14, 20, 30)}  # history, gate, new, stale: days
_UNIT = {"day": 1, "week": 7, "month": 28}
_FREQUENCY = {"day": "D", "week": "W-SUN", "month": "M"}
_GATE_ROWS, _FIRST_ROWS, _REFERENCE_ROWS = 60, 240, 400  # rows of a gate window, a first training, the cheap reference
_GATE_RARE, _FIRST_RARE = 10, 20  # rows of the rarer of two outcomes, of a gate window and a first training
_ROOMY = 1.4  # blocks beyond the minimum, because holidays have no rows
_RETRAINS = 60  # the most retrains over the whole table
_STRETCHES = 8  # the fewest retrains over the whole table after stretching the pace
_REFERENCE = 56  # days
_WORTH = 0.05  # share of the loss that one gate has to detect
_DATED = 0.99  # share of moments at midnight from which rows have a date only


@dataclass(frozen=True)
class Spans:
    """The pace of a loop. `rows` is the median of a batch; `dated` means that rows have a date without time."""

    period: Period
    rows: float
    min_history: timedelta
    gate_window: timedelta
    min_new_days: int
    block: timedelta
    stale_after: timedelta
    reference: timedelta  # training span of the cheap reference
    windows: tuple[timedelta, ...]
    dated: bool


def pace_of(
    when: pd.Series[Any],
    wished: Period | None,
    takes: timedelta,
    outcome: pd.Series[Any],
    task: Task,
    judged: timedelta = timedelta(0),
) -> Spans:
    """Windows that the rows and the length of the whole table allow.

    `judged` is a span of rows that a retrain should be judged on, see `Power.wanted`. It is ignored if the table is
    shorter than eight such spans, because evidence of several retrains adds up.

    `when` are the rows' moments, `outcome` their labels, missing if unknown. If labels arrive later than one batch, the
    pace requires twice that delay of extra history: once before the gate window, once before the last search fold. It
    does not exceed what leaves two gate windows before the newest outcome. The age of a stale champion grows by the
    delay.
    """
    dated = float((when == when.dt.normalize()).mean()) > _DATED
    period, median = _period(when, wished, dated)
    low, high = when.quantile([0.001, 0.999])  # a few rows with a wrong date do not count
    whole = max((high - low).days, 1)
    active = when.dt.normalize().nunique() / (whole + 1)  # share of days that have rows
    seldom = _seldom(len(when) / (whole + 1), outcome, task)
    usual, unit = _USUAL[period], _UNIT[period]
    enough = MIN_BLOCKS * _ROOMY / active if period == "month" or dated else 0
    stretched = ceil(judged / _DAY) if judged <= timedelta(days=whole) / _STRETCHES else 0
    stale = max(usual[3], ceil(whole / _RETRAINS), stretched)
    gate = max(usual[1], enough, seldom(_GATE_ROWS, _GATE_RARE), stale / 2 if stale > usual[3] else 0)
    gate = max(min(ceil(gate), whole // 6), min(unit, usual[1]))
    history = max(usual[0], seldom(_FIRST_ROWS, _FIRST_RARE), 2 * gate)
    history = max(min(ceil(history), whole // 3), unit)
    stale = max(stale, gate)
    new = max(usual[2], ceil(2 * gate / 3)) if gate > usual[1] else usual[2]
    wait = ceil(takes / _DAY)
    slow = wait if takes > timedelta(days=unit) else 0
    limit = min(timedelta(days=unit), timedelta(days=gate), timedelta(days=new) / 2) / MIN_BLOCKS
    fitting = next(timedelta(minutes=m) for m in _BLOCKS if timedelta(minutes=m) <= limit)
    return Spans(
        period=period,
        rows=median,
        min_history=timedelta(days=max(min(history + 2 * slow, whole - slow - 2 * gate), history)),
        gate_window=timedelta(days=gate),
        min_new_days=new,
        block=fitting,
        stale_after=timedelta(days=stale + slow),
        reference=timedelta(days=max(_REFERENCE, ceil(seldom(_REFERENCE_ROWS, _FIRST_RARE))) + slow),
        windows=_WINDOWS,
        dated=dated,
    )


def _period(when: pd.Series[Any], wished: Period | None, dated: bool) -> tuple[Period, float]:
    """The period of a batch and the median of its rows. Rows with a date only need at least a month for a diagnosis."""
    period, median = choose_period(when)
    taken = wished or ("month" if dated else period)
    if taken != period:
        median = float(when.dt.to_period(_FREQUENCY[taken]).value_counts().median())
    return taken, median


def _seldom(a_day: float, outcome: pd.Series[Any], task: Task) -> Any:
    """The days needed for so many rows, and for so many of the rarer of two outcomes."""
    values = outcome.dropna()
    share = float(values.value_counts(normalize=True).min()) if task is Task.BINARY and len(values) else 1.0

    def days(rows: int, rare: int) -> float:
        return max(rows / a_day, rare / (a_day * share) if task is Task.BINARY and share < 1 else 0.0)

    return days


# Power

_GATE = Paired()  # as in the config of `new`
_SURE, _CASES = (
    float(norm.ppf(_GATE.confidence)),
    float(norm.ppf(0.8)),
)  # quantiles for the gate, and for four in five cases


@dataclass(frozen=True)
class Power:
    """The gain of a retrain that a gate can show, as shares of the loss.

    `error` is the standard error of the mean gain over `judged`, `gained` the average gain of a model refitted after
    `every`. A gain is shown if the default paired gate passes at a first attempt: the mean gain is at least `min_gain`,
    and above zero with its `confidence`.
    """

    gained: float
    error: float
    judged: timedelta
    every: timedelta

    def shown(self, span: timedelta) -> float:
        """The gain that the rows of a span show in four of five cases.

        A standard error falls with the root of the number of blocks of time, and so of the span.

        >>> power = Power(0.02, 0.01, judged=timedelta(days=400), every=timedelta(days=50))
        >>> round(power.shown(timedelta(days=100)), 4)
        0.0178
        """
        error = self.error * sqrt(self.judged / span)
        return max(_GATE.min_gain + _CASES * error, (_SURE + _CASES) * error)

    def span_for(self, gain: float) -> timedelta | None:
        """The span needed to show a gain in four of five cases; None if it is too small, or needs more than a century.

        >>> Power(0.02, 0.01, judged=timedelta(days=400), every=timedelta(days=50)).span_for(0.0178).days
        100
        """
        if gain <= _GATE.min_gain:
            return None
        error = min((gain - _GATE.min_gain) / _CASES, gain / (_SURE + _CASES))
        days = self.judged / _DAY * (self.error / error) ** 2
        return timedelta(days=days) if days < 36_525 else None

    @property
    def wanted(self) -> timedelta:
        """The span that shows the average gain on this table, or a twentieth of the loss if that is larger.

        Smaller gains are shown by several retrains together; waiting for them would cost more.
        """
        return self.span_for(max(self.gained, _WORTH)) or timedelta.max
