"""The calibration gate: bound the distance of predicted from observed shares.

The calibration error is a mean of distances, so noise makes it larger than the truth, and a resample adds the same bias
again. The bootstrap's estimate of this bias (Efron 1979) is subtracted; the bins are those of the sample. About half of the
bias remains: the corrected error of a perfectly calibrated model is still above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Floats, Interval
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, Case
from trueup.domain.judging.gates.gate import BEHAVES
from trueup.domain.judging.gates.margin import MarginGate, bound, bounds_words, resample, status, unusable
from trueup.domain.judging.gates.phrases import too_few_blocks
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Figures, Status, Verdict

_BINS = 10
_WORDS = {"ece": "calibration error", "bias": "bias of the mean prediction"}

Draw = Callable[[Floats], Floats]  # multiplicities (resamples, blocks) -> the error in each resample


class Calibration(MarginGate):
    """Predicted probabilities agree with observed shares."""

    HEADING = BEHAVES
    SILENT = True
    METRICS = {Task.BINARY: ("ece", "bias"), Task.MULTICLASS: ("ece", "bias"), Task.REGRESSION: ("bias",)}

    kind: Literal["calibration"] = "calibration"
    metric: Literal["ece", "bias"] | None = Field(
        None,
        description="`ece`: mean distance of predicted and observed shares over ten bins of equal rows, corrected for its upward bias (binary, multiclass). `bias`: distance of mean prediction and mean outcome (of a multiclass task the largest of its classes), in the label's unit. Default: `ece`, for a regression `bias`.",
    )

    @property
    def check(self) -> str:
        return f"{self.name} {self.metric}"

    def judge(self, case: Case) -> Verdict:
        """Bound the error; inconclusive with fewer than `MIN_BLOCKS` blocks."""
        if self.metric is None:
            return self.model_copy(update={"metric": self.METRICS[case.task][0]}).judge(case)
        metric, compared = self.metric, self.against == "champion"
        if compared and not case.has_champion:
            return self.passed(case.without_champion)
        if unknown := unusable(case):
            return self.inconclusive(unknown)
        roles = [CHALLENGER, CHAMPION] if compared else [CHALLENGER]
        values, error = _bounded(case, metric, roles)
        figures = {
            "metric": metric,
            **values,
            "margin": self.margin,
            "difference" if compared else "error": error.mean,
            "low": error.low if np.isfinite(error.low) else None,
            "high": error.high if np.isfinite(error.high) else None,
            "confidence": error.confidence,
            "blocks": error.blocks,
        }
        if not error.enough:
            return self.answer(Status.INCONCLUSIVE, [too_few_blocks(error)], figures)
        span, margin = bounds_words(error.low, error.high, error.confidence), figure(self.margin, 3)
        sentence = f"{_WORDS[metric]} {figure(values[CHALLENGER], 3)}"
        if compared:
            side = "above" if error.mean > 0 else "below"
            sentence += f" is {figure(abs(error.mean), 3)} {side} the champion's"
        outcome = status(error.low, error.high, self.margin)
        place = {Status.FAIL: "above", Status.PASS: "not above", Status.INCONCLUSIVE: "perhaps above"}[outcome]
        return self.answer(outcome, [f"{sentence} ({span}): {place} the margin {margin}"], figures)

    @classmethod
    def rule(cls, figures: Figures) -> str:
        what = "the error is above the champion's by at most" if "difference" in figures else "the error is at most"
        corrected = "; the error is corrected for its upward bias, and so smaller than that of the table of metrics"
        corrected = corrected if figures["metric"] == "ece" else ""
        return f"Passes when {what} {figure(figures['margin'], 3)}, with its whole interval{corrected}."


def _bounded(case: Case, metric: str, roles: list[str]) -> tuple[dict[str, float], Interval]:
    """Each role's error, and bounds of the first one, or of its excess over the second."""
    blocks, e = case.blocks, case.evaluate
    residuals = {role: _residuals(case, metric, role) for role in roles}
    # A block moves the error by its residuals, which determine the run length.
    gaps = [blocks.sums(r.sum(axis=1)) - blocks.sums() * r.sum(axis=1).mean() for r, _ in residuals.values()]
    drawn, length = resample(gaps[0] if len(gaps) == 1 else gaps[0] - gaps[1], e.resamples, case.seed)
    values: dict[str, float] = {}
    draws: list[Floats] = []
    for role, (residual, cells) in residuals.items():
        draw = _draw(case, metric, residual, cells)
        value, resampled = float(draw(np.ones((1, blocks.count)))[0]), draw(drawn)
        excess = max(float(resampled.mean()) - value, 0.0) if metric == "ece" else 0.0
        values[role] = max(value - excess, 0.0)
        draws.append(resampled)
    mean, statistic = values[roles[0]], draws[0]
    if len(roles) > 1:
        mean, statistic = mean - values[roles[1]], statistic - draws[1]
    return values, bound(mean, statistic, blocks.count, length, e.confidence)


def _residuals(case: Case, metric: str, role: str) -> tuple[Floats, NDArray[np.intp]]:
    """Prediction minus outcome, (n, 1) or (n, classes), and the bin of each row (n,)."""
    p = np.asarray(case.predictions[role], dtype=np.float64)
    if case.task is not Task.MULTICLASS:
        residual = (p - np.asarray(case.y, dtype=np.float64))[:, None]
        return residual, _bins(p) if metric == "ece" else np.zeros(len(p), dtype=np.intp)
    hits = np.asarray(case.y, dtype=object)[:, None] == np.asarray(case.classes, dtype=object)[None, :]
    if metric == "bias":
        return p - hits, np.zeros(len(p), dtype=np.intp)
    rows, top = np.arange(len(p)), p.argmax(axis=1)  # the confidence in the predicted class
    return (p - hits)[rows, top][:, None], _bins(p[rows, top])


def _bins(p: Floats) -> NDArray[np.intp]:
    """Bins of equal row counts, as in `metrics.calibration_table`; equal predictions share one."""
    edges = np.unique(np.quantile(p, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.asarray(pd.factorize(np.searchsorted(edges, p, side="right"), sort=True)[0], dtype=np.intp)


def _draw(case: Case, metric: str, residual: Floats, cells: NDArray[np.intp]) -> Draw:
    """Compute the error of resamples from sums by block and bin."""
    blocks = case.blocks
    bins = int(cells.max()) + 1
    places = cells * blocks.count + blocks.codes
    sums = np.vstack([
        np.bincount(places, column, minlength=bins * blocks.count).reshape(bins, blocks.count) for column in residual.T
    ])  # fmt: skip
    # The mean of all bins' distances, or the largest of all classes'.
    over = partial(np.sum, axis=1) if metric == "ece" else partial(np.max, axis=1)
    rows = blocks.sums()
    return lambda drawn: np.asarray(over(np.abs(drawn @ sums.T)) / (drawn @ rows), dtype=np.float64)
