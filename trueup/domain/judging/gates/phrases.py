"""Describe an interval in words and in plain values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trueup.domain.judging.bootstrap import MIN_BLOCKS, Interval
from trueup.domain.judging.gates.context import CHALLENGER, LOSS, Case
from trueup.domain.judging.metrics import figure, loss_name, loss_words, shortfall
from trueup.domain.types import Figures


def compare(case: Case, role: str, difference: Interval, metric: str = LOSS) -> str:
    """Compare the challenger's loss, or another metric, with that of another role in words, with the interval.

    `difference` is that of `Case.weigh` for the loss, which is measured on all evidence, else of `Case.difference`.
    """
    difference = _as_measured(difference, metric)
    side = "above" if difference.mean > 0 else "below"
    bounds = f"{100 * difference.confidence:g} % {figure(difference.low, 3)} to {figure(difference.high, 3)}"
    word = loss_words(case.task) if metric == LOSS else metric
    owner = "simple model" if role == "simple" else role
    return f"{word} {figure(_value(case, CHALLENGER, metric))} is {figure(abs(difference.mean), 3)} {side} the {owner}'s ({bounds})"


def _value(case: Case, role: str, metric: str) -> float:
    """A role's mean loss over all evidence, or another metric on the gate rows."""
    return case.evidence.mean(role) if metric == LOSS else case.value(role, metric)


def _as_measured(difference: Interval, metric: str) -> Interval:
    """Give the difference of the metric itself; that of an AUC is measured on 1 - AUC."""
    if shortfall(metric, 0.0) == 0:
        return difference
    return replace(difference, mean=-difference.mean, low=-difference.high, high=-difference.low)


def too_few_blocks(difference: Interval) -> str:
    """Say how many blocks an interval lacks."""
    return f"the rows span {difference.blocks} blocks of time; at least {MIN_BLOCKS} are needed to tell noise from gain"


def figures_of(case: Case, role: str, difference: Interval, metric: str = LOSS) -> Figures:
    """Plain values of a comparison; a bound that does not exist is None, for JSON knows no infinity."""
    difference = _as_measured(difference, metric)
    return {
        "loss": loss_name(case.task) if metric == LOSS else metric,
        CHALLENGER: _value(case, CHALLENGER, metric),
        role: _value(case, role, metric),
        "difference": difference.mean,
        "low": difference.low if np.isfinite(difference.low) else None,
        "high": difference.high if np.isfinite(difference.high) else None,
        "confidence": difference.confidence,
        "blocks": difference.blocks,
        "block_length": difference.block_length,
        "rows": int(case.evidence.rows.sum()) if metric == LOSS else len(case.y),
    }
