"""Plain values, as a replay's report holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

from trueup.domain.judging.bootstrap import Interval

Plain = dict[str, Any]


def bound(of: Interval, value: float) -> float | None:
    """A bound, or None if there is too little time for a reliable one."""
    return value if of.enough and np.isfinite(of.error) else None


def plain(of: Interval) -> dict[str, float | None]:
    """A difference with its bounds; below 0 the first of the two is better."""
    return {"difference": of.mean, "low": bound(of, of.low), "high": bound(of, of.high)}
