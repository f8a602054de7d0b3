"""The fairness gate: bound the distance between every two groups.

fairlearn computes the figures of the groups. The largest of many noisy distances is larger than the true gap, so each pair
is bounded on its own. The gate fails when some pair is shown to be further apart than the margin, with the level shared
among the pairs (Bonferroni). It passes when every pair is bounded below the margin (an intersection-union test, Berger
1982, which needs no such correction).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from trueup.config.content import Location, items
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import MIN_BLOCKS, Floats, Interval
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, Case
from trueup.domain.judging.gates.gate import FAIR
from trueup.domain.judging.gates.margin import MarginGate, Ratios, bound, bounds_words, resample, status, unusable
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Figures, Status, Verdict

_LISTED = 50  # number of too small groups in the figures
_RATES = {"equalized_odds": ("true_positive_rate", "false_positive_rate")}


@dataclass(frozen=True)
class Pair:
    """Two groups and one rate: their distance, or its excess over that under the champion."""

    rate: str
    groups: tuple[str, str]
    values: tuple[float, float]
    apart: Interval
    lower: float  # at the level shared among all pairs


class Fairness(MarginGate):
    """Differences between groups are within a margin."""

    HEADING = FAIR
    SILENT = True
    METRICS = {
        Task.BINARY: (
            "selection_rate",
            "true_positive_rate",
            "false_positive_rate",
            "equalized_odds",
            "mean_error",
            "loss",
        ),
        Task.MULTICLASS: ("loss",),
        Task.REGRESSION: ("mean_error", "mean_absolute_error", "loss"),
    }

    kind: Literal["fairness"] = "fairness"
    columns: list[str] = Field(
        min_length=1,
        description="Columns with the groups, each column separately. They are landed and need not be features.",
    )
    metric: Literal[
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "equalized_odds",
        "mean_error",
        "mean_absolute_error",
        "loss",
    ] = Field(
        description="The compared figure. Binary: the first four at `threshold`, `mean_error` (prediction minus outcome), `loss`. Multiclass: `loss`. Regression: the last three."
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="For a binary task: the probability from which a row is selected. Default: 0.5.",
    )
    required: list[str] = Field(
        default=[], description="`column=value` groups that must have enough rows (`evaluate.min_slice_rows`)."
    )

    @property
    def groups(self) -> list[str]:
        return self.columns

    @property
    def check(self) -> str:
        return f"{self.name} {self.metric}"

    @classmethod
    def named_columns(cls, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        yield from items(content, "columns")

    @classmethod
    def problems(cls, content: Mapping[str, Any], task: Task, features: Any) -> Iterator[tuple[Location, str]]:
        yield from super().problems(content, task, features)
        if task is not Task.BINARY and content.get("threshold") is not None:
            yield ("threshold",), f"is for a binary task, this one is {task}; remove it"

    def judge(self, case: Case) -> Verdict:
        """Bound the distance of every two groups that are large enough, and list those that are not."""
        if self.against == "champion" and not case.has_champion:
            return self.passed(case.without_champion)
        if unknown := unusable(case):
            return self.inconclusive(unknown)
        if absent := [c for c in self.columns if c not in case.groups.columns]:
            return self.inconclusive(f"the gate rows have no column {', '.join(absent)}")
        judged = {column: _judged(case, self, column) for column in self.columns}
        small = sorted(s for _, _, left in judged.values() for s in left)
        figures: Figures = {"metric": self.metric, "margin": self.margin, "against": self.against}
        figures |= {"groups": {c: g for c, (g, _, _) in judged.items()}, "too_small": small[:_LISTED]}
        pairs = [pair for _, listed, _ in judged.values() for pair in listed]
        alone = [c for c, (_, listed, _) in judged.items() if not listed]
        unjudged = [g for g in self.required if not any(g in p.groups for p in pairs)]
        figures |= {"pairs": [_plain(p) for p in sorted(pairs, key=lambda p: -p.apart.mean)[:_LISTED]]}
        statuses = {p: status(p.lower, p.apart.high, self.margin) for p in pairs}
        if failed := [p for p, s in statuses.items() if s is Status.FAIL]:
            return self.answer(Status.FAIL, [_words(self, p, "above") for p in failed], figures)
        if unjudged:
            reason = f"too small to tell, but required: {', '.join(unjudged)}"
            return self.inconclusive(reason, **figures)
        reasons = [_words(self, p, "perhaps above") for p, s in statuses.items() if s is Status.INCONCLUSIVE]
        reasons += [f"{column}: fewer than two groups are large enough to tell" for column in alone]
        if reasons:
            return self.answer(Status.INCONCLUSIVE, reasons, figures)
        widest = max(pairs, key=lambda p: p.apart.mean)
        reasons = [_words(self, widest, "not above")]
        if small:
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            reasons.append(f"too small to tell: {', '.join(small[:5])}{more}")
        return self.passed(*reasons, **figures)

    @classmethod
    def rule(cls, figures: Figures) -> str:
        margin = figure(figures["margin"], 3)
        if figures["against"] == "champion":
            return f"Passes when no gap between two groups has grown, against the champion's, by more than {margin}."
        return f"Passes when no gap between two groups is wider than {margin}."


def by_group(case: Case, gate: Fairness, column: str, role: str = CHALLENGER) -> pd.DataFrame:
    """Fairlearn's figures of each group: a row per group, a column per rate."""
    from fairlearn import metrics as fair

    kinds = {n: getattr(fair, n) for n in ("selection_rate", "true_positive_rate", "false_positive_rate")}
    rates = _RATES.get(gate.metric, (gate.metric,))
    chosen, rows = {r: kinds.get(r, fair.mean_prediction) for r in rates}, _rows(case, gate, role)
    truth = case.y if case.task is Task.BINARY else np.zeros(len(case.y))
    # For fairlearn a mean over rows is the mean of "predictions".
    frames = [
        fair.MetricFrame(
            metrics={rate: metric},
            y_true=truth,
            y_pred=rows[rate][0] if metric is fair.mean_prediction else _selected(case, gate, role),
            sensitive_features=_names(case, column),
        ).by_group
        for rate, metric in chosen.items()
    ]
    by_rate: pd.DataFrame = pd.concat(frames, axis=1)
    return by_rate


def _judged(
    case: Case, gate: Fairness, column: str
) -> tuple[dict[str, dict[str, float | None]], list[Pair], list[str]]:
    """Figures by group, the pairs of groups, and the names of groups too small to compare."""
    figures, names = by_group(case, gate, column), _names(case, column)
    large, small = _sizes(case, gate, names, list(figures.index))
    pairs: list[Pair] = []
    for rate in figures.columns:
        values = {str(group): float(value) for group, value in figures[rate].items()}
        ours = _ratios(case, gate, names, large, rate, CHALLENGER)
        theirs = _ratios(case, gate, names, large, rate, CHAMPION) if gate.against == "champion" else None
        tests = len(figures.columns) * len(large) * (len(large) - 1) / 2 * len(gate.columns)
        pairs += [
            Pair(
                str(rate),
                (large[a], large[b]),
                (values[large[a]], values[large[b]]),
                apart := _apart(case, ours, theirs, a, b),
                apart.lower((1 - case.evaluate.confidence) / 2 / tests),
            )
            for a, b in combinations(range(len(large)), 2)
        ]
    plain = {
        str(group): {str(rate): float(v) if np.isfinite(v) else None for rate, v in rates.items()}
        for group, rates in figures.to_dict(orient="index").items()
    }
    return plain, pairs, small


def _names(case: Case, column: str) -> pd.Series[Any]:
    codes, values = pd.factorize(case.groups[column].astype(object), use_na_sentinel=False)
    names = np.array([f"{column}={'missing' if pd.isna(value) else value}" for value in values], dtype=object)
    return pd.Series(names[codes], index=case.groups.index)


def _sizes(case: Case, gate: Fairness, names: pd.Series[Any], groups: list[str]) -> tuple[list[str], list[str]]:
    """Groups with enough rows that count, in enough blocks of time, for every rate; and the others."""
    large = []
    for group in groups:
        sums = [case.blocks.sums(counted & (names == group).to_numpy()) for _, counted in _rows(case, gate).values()]
        if all(h.sum() >= case.evaluate.min_slice_rows and (h > 0).sum() >= MIN_BLOCKS for h in sums):
            large.append(group)
    return large, [g for g in groups if g not in large]


def _rows(case: Case, gate: Fairness, role: str = CHALLENGER) -> dict[str, tuple[Floats, NDArray[np.bool_]]]:
    """The value of each row (n,) per rate, and whether the row counts for it."""
    everyone = np.ones(len(case.y), dtype=bool)
    rows: dict[str, tuple[Floats, NDArray[np.bool_]]] = {}
    for rate in _RATES.get(gate.metric, (gate.metric,)):
        counted = everyone
        if rate == "loss":
            value = case.losses[role]
        elif rate.startswith("mean_"):
            error = np.asarray(case.predictions[role] - case.y, dtype=np.float64)
            value = np.abs(error) if rate == "mean_absolute_error" else error
        else:
            value = _selected(case, gate, role)
            if rate != "selection_rate":
                counted = np.asarray(case.y == (1 if rate == "true_positive_rate" else 0), dtype=bool)
        rows[rate] = value, counted
    return rows


def _selected(case: Case, gate: Fairness, role: str) -> Floats:
    threshold = 0.5 if gate.threshold is None else gate.threshold
    return np.asarray(case.predictions[role] >= threshold, dtype=np.float64)


def _ratios(case: Case, gate: Fairness, names: pd.Series[Any], groups: list[str], rate: str, role: str) -> Ratios:
    value, counted = _rows(case, gate, role)[rate]
    members = [(names == group).to_numpy() & counted for group in groups]
    shape = (len(groups), case.blocks.count)
    return Ratios(
        np.reshape([case.blocks.sums(value * m) for m in members], shape),
        np.reshape([case.blocks.sums(m) for m in members], shape),
    )


def _apart(case: Case, ours: Ratios, theirs: Ratios | None, a: int, b: int) -> Interval:
    """Bound the distance of two groups, or its excess over that under the champion."""
    e = case.evaluate
    signs = [np.sign(r.values[a] - r.values[b]) or 1.0 for r in (ours, theirs) if r is not None]
    moved = [s * (r.deviations[a] - r.deviations[b]) for s, r in zip(signs, _existing(ours, theirs), strict=True)]
    drawn, length = resample(moved[0] - (moved[1] if len(moved) > 1 else 0.0), e.resamples, case.seed)
    gaps, draws = [], []
    for sign, ratios in zip(signs, _existing(ours, theirs), strict=True):
        resampled = ratios.draws(drawn)
        gaps.append(float(sign * (ratios.values[a] - ratios.values[b])))
        draws.append(sign * (resampled[:, a] - resampled[:, b]))
    if theirs is None:
        return bound(gaps[0], draws[0], case.blocks.count, length, e.confidence)
    # Distances, not signed gaps: two small gaps of opposite signs would be as uncertain as both together.
    further = np.abs(draws[0]) - np.abs(draws[1])
    return bound(gaps[0] - gaps[1], further, case.blocks.count, length, e.confidence)


def _existing(*ratios: Ratios | None) -> Iterator[Ratios]:
    yield from (r for r in ratios if r is not None)


def _words(gate: Fairness, pair: Pair, place: str) -> str:
    rates = " and ".join(f"{g} {figure(v, 3)}" for g, v in zip(pair.groups, pair.values, strict=True))
    low = pair.lower if place == "above" else pair.apart.low
    span = bounds_words(low, pair.apart.high, pair.apart.confidence)
    sentence = f"{pair.rate.replace('_', ' ')} of {rates}: {figure(pair.apart.mean, 3)} apart"
    if gate.against == "champion":
        sentence = sentence.replace(" apart", " further apart than under the champion")
    return f"{sentence} ({span}), {place} the margin {figure(gate.margin, 3)}"


def _plain(pair: Pair) -> Mapping[str, Any]:
    bounds = {"low": pair.apart.low, "adjusted_low": pair.lower, "high": pair.apart.high}
    finite = {name: value if np.isfinite(value) else None for name, value in bounds.items()}
    return {"rate": pair.rate, "groups": list(pair.groups), "apart": pair.apart.mean, **finite}
