"""What gates say of an interval, in words and in plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from trueup.domain.bootstrap import MIN_BLOCKS, Interval
from trueup.domain.gates.case import CHALLENGER, Case
from trueup.domain.metrics import figure, loss_name, loss_words


def compare(case: Case, role: str, difference: Interval) -> str:
    """Say how the challenger's loss stands to another's, with the interval."""
    side = "above" if difference.mean > 0 else "below"
    bounds = f"{100 * difference.confidence:g} % {figure(difference.low, 3)} to {figure(difference.high, 3)}"
    word, owner = loss_words(case.task), "simple model" if role == "simple" else role
    return (
        f"{word} {figure(case.loss(CHALLENGER))} is {figure(abs(difference.mean), 3)} {side} the {owner}'s ({bounds})"
    )


def too_few_blocks(difference: Interval) -> str:
    """Say why an interval is not to be trusted."""
    return f"the rows span {difference.blocks} blocks of time; at least {MIN_BLOCKS} are needed to tell noise from gain"


def figures_of(case: Case, role: str, difference: Interval) -> dict[str, Any]:
    """Plain values of a comparison; a bound that does not exist is None, for JSON knows no infinity."""
    return {
        "loss": loss_name(case.task),
        CHALLENGER: case.loss(CHALLENGER),
        role: case.loss(role),
        "difference": difference.mean,
        "low": difference.low if np.isfinite(difference.low) else None,
        "high": difference.high if np.isfinite(difference.high) else None,
        "confidence": difference.confidence,
        "blocks": difference.blocks,
        "block_length": difference.block_length,
        "rows": len(case.y),
    }
