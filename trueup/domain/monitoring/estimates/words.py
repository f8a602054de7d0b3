"""Estimates of performance in words, for people."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.domain.monitoring.estimates.estimate import Estimate, EstimateCheck
from trueup.domain.types import Metric


def words_of(estimate: Estimate | None) -> list[str]:
    """An estimate in lines: the deciding loss beside the gate's, then how far to rely on it.

    >>> one = Estimate("cbpe", 900, (Metric("log_loss", 0.48, 900, 0.46, 0.51, 0.95),), (Metric("log_loss", 0.47, 500),), False, "")
    >>> words_of(one)
    ['estimated without labels: log-loss 0.48 (95 % 0.46 to 0.51), 0.47 at the gate']
    """
    if estimate is None or not estimate.metrics:
        return []
    gate = {m.name: m.value for m in estimate.gate}
    loss = estimate.metrics[0]
    beside = f", {_figure(gate[loss.name])} at the gate" if loss.name in gate else ""
    lines = [f"estimated without labels: {_in_words(loss)}{beside}"]
    if estimate.check is not None:
        lines.append(f"the estimate beside the labels: {estimate.check.words}")
    elif estimate.doubts:
        lines.append(f"do not rely on the estimate: {estimate.doubts}")
    return lines


def doubts_of(checks: Sequence[EstimateCheck]) -> str:
    """Why not to rely on estimates of a champion, from those that labels could check (oldest first); else empty."""
    if not checks or not checks[-1].off:
        return ""
    off = sum(c.off for c in checks)
    which = "the last estimate with labels was" if off == 1 else f"{off} of {len(checks)} estimates with labels were"
    return f"{which} off: {checks[-1].words}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _in_words(metric: Metric) -> str:
    span = ""
    if metric.low is not None and metric.high is not None and metric.confidence is not None:
        at = f"{100 * metric.confidence:.0f} %"
        span = f" ({at} {_figure(metric.low)} to {_figure(metric.high)})"
    return f"{metric.name.replace('_', '-')} {_figure(metric.value)}{span}"
