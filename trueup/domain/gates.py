"""Whether a challenger may become the champion: small judgements of the same rows, each with a verdict and its reasons.

A gate is a class with `judge(case) -> Verdict`, listed in `GATES` under the kind that the configuration names. Before any
gate come the integrity checks, which no configuration can leave out: gates that judge on broken ground would mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.config import schema
from trueup.config.schema import EvaluateConfig, Task
from trueup.domain.bootstrap import MIN_BLOCKS, Blocks, Floats, Interval, sums_interval
from trueup.domain.metrics import by_slice, figure, loss_name, loss_words, row_losses
from trueup.domain.types import Verdict

MIN_ROWS = 30
NO_CHAMPION = "no champion yet"
CHALLENGER, CHAMPION = "challenger", "champion"
_LISTED = 50  # slices too small to tell that are named in the figures


@dataclass(frozen=True, eq=False)
class Case:
    """The rows of a gate window and what each model said about them.

    `predictions` by role: `challenger`, `champion` unless there is none yet, and the baselines `prior` and `simple`; shapes as in
    `trueup.domain.metrics`. `trained_until` by role is the end, exclusive, of the event times that a model was trained on.
    `metrics` are the challenger's. `slices` (n rows) has one column a declared slice. `without_champion` says why there are no
    predictions of a champion, where there are none.
    """

    task: Task
    y: NDArray[Any]
    event_time: NDArray[np.datetime64]
    predictions: Mapping[str, NDArray[Any]]
    trained_until: Mapping[str, datetime]
    metrics: Mapping[str, float]
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    classes: Sequence[str] | None = None
    seed: int = 0
    without_champion: str = NO_CHAMPION

    def __post_init__(self) -> None:
        sizes = {"event_time": len(self.event_time)} | {role: len(p) for role, p in self.predictions.items()}
        if not self.slices.columns.empty:
            sizes["slices"] = len(self.slices)
        if wrong := {name: size for name, size in sizes.items() if size != len(self.y)}:
            raise ValueError(f"a case of {len(self.y)} labels, but of other lengths: {wrong}")

    @property
    def has_champion(self) -> bool:
        """Whether there is a champion to compare with."""
        return CHAMPION in self.predictions

    @property
    def judged(self) -> list[str]:
        """The models between which the decision falls."""
        return [CHALLENGER, CHAMPION] if self.has_champion else [CHALLENGER]

    @cached_property
    def losses(self) -> dict[str, Floats]:
        """Row losses (n,) by role."""
        return {role: row_losses(self.task, self.y, p, self.classes) for role, p in self.predictions.items()}

    @cached_property
    def blocks(self) -> Blocks:
        """The rows' blocks of time."""
        return Blocks.of(self.event_time, self.evaluate.block)

    def loss(self, role: str) -> float:
        """Mean loss of a role."""
        return float(self.losses[role].mean())

    def interval(self, sums: Floats, rows: Floats) -> Interval:
        """Bound a mean given by block sums, as the configuration asks."""
        return sums_interval(sums, rows, self.evaluate.resamples, self.evaluate.confidence, self.seed)

    def difference(self, role: str) -> Interval:
        """Bound the challenger's mean loss less that of another role; below 0 the challenger is better."""
        return self.interval(self.blocks.sums(self.losses[CHALLENGER] - self.losses[role]), self.blocks.sums())


class Gate(Protocol):
    """One judgement of a case."""

    def judge(self, case: Case) -> Verdict:
        """Pass, fail or inconclusive, with reasons."""


def judge(gates: Sequence[schema.Gate], case: Case) -> list[Verdict]:
    """Judge a case: the integrity checks, then, if all of these pass, each configured gate in order.

    Without a champion to compare with, the baseline gate is judged even where none is configured: some other gates pass
    then, and a model that nothing was compared with must not come into office. The first integrity check that does not pass is the last verdict of the list. `types.overall` sums a list up.
    """
    verdicts = []
    for check in (no_overlap, enough_rows, all_finite, not_identical):
        verdicts.append(check(case))
        if not verdicts[-1].ok:
            return verdicts
    if not case.has_champion and not any(isinstance(config, schema.BaselineGate) for config in gates):
        gates = [*gates, schema.BaselineGate(kind="baseline")]
    return verdicts + [GATES[config.kind](config).judge(case) for config in gates]


def no_overlap(case: Case) -> Verdict:
    """Fail when a judged model was trained on rows of the gate window."""
    name = "overlap"
    if unknown := [role for role in case.judged if role not in case.trained_until]:
        return Verdict.inconclusive(name, f"it is not known until when the {' and the '.join(unknown)} was trained")
    if not len(case.event_time):
        return Verdict.inconclusive(name, "there are no rows to judge on")
    moments = np.asarray(case.event_time, dtype="datetime64[us]")
    figures: dict[str, Any] = {"rows_from": str(moments.min())}
    reasons = []
    for role in case.judged:
        until = case.trained_until[role]
        shared = int((moments < np.datetime64(until, "us")).sum())
        figures[f"{role}_trained_until"], figures[f"{role}_shared_rows"] = until.isoformat(), shared
        if shared:
            reasons.append(
                f"{shared:,} of {len(moments):,} gate rows lie before {until:%Y-%m-%d %H:%M}, where the training of the {role} ends"
            )
    if reasons:
        return Verdict.failed(name, *reasons, **figures)
    return Verdict.passed(name, "no judged model was trained on the gate rows", **figures)


def enough_rows(case: Case) -> Verdict:
    """Inconclusive for fewer rows than `MIN_ROWS`, or when all labels are the same."""
    name, rows = "rows", len(case.y)
    if rows < MIN_ROWS:
        return Verdict.inconclusive(
            name, f"{rows} rows are too few to judge on; at least {MIN_ROWS} are needed", rows=rows
        )
    counts = pd.Series(case.y).value_counts()
    if len(counts) == 1:
        reason = f"all {rows:,} labels are {counts.index[0]}: no model can be told from another"
        return Verdict.inconclusive(name, reason, rows=rows)
    if case.task is Task.REGRESSION:
        return Verdict.passed(name, f"{rows:,} rows", rows=rows)
    classes = {str(label): int(count) for label, count in counts.items()}
    return Verdict.passed(name, f"{rows:,} rows of {len(classes)} classes", rows=rows, classes=classes)


def all_finite(case: Case) -> Verdict:
    """Fail when a label, a prediction or a metric of the challenger is absent, NaN or infinite."""
    reasons = []
    if CHALLENGER not in case.predictions:
        reasons.append("there are no predictions of the challenger")
    if missing := int(pd.isna(case.y).sum()):
        reasons.append(f"{missing:,} labels are missing")
    for role, losses in case.losses.items():
        bad = ~np.isfinite(losses) | ~np.isfinite(_rowwise(case.predictions[role]))
        if bad.any():
            reasons.append(f"{int(bad.sum()):,} of {len(bad):,} predictions of the {role} are missing or infinite")
    decides = loss_name(case.task)
    if decides not in case.metrics:
        reasons.append(f"the challenger's {decides} is absent")
    reasons += [f"the challenger's {m} is {value}" for m, value in case.metrics.items() if not np.isfinite(value)]
    if reasons:
        return Verdict.failed("finite", *[f"promotion refused: {reason}" for reason in reasons])
    return Verdict.passed("finite", "all labels, predictions and metrics are finite numbers")


def not_identical(case: Case) -> Verdict:
    """Fail when the challenger predicts just what the champion does."""
    name = "identical"
    if not case.has_champion:
        return Verdict.passed(name, case.without_champion)
    apart = np.abs(case.predictions[CHALLENGER] - case.predictions[CHAMPION])
    largest = float(apart.max())
    if largest <= 1e-9 * float(np.abs(case.predictions[CHAMPION]).max()):
        return Verdict.failed(
            name, "equal: the challenger's predictions are the champion's", largest_difference=largest
        )
    return Verdict.passed(name, f"predictions differ by up to {figure(largest, 3)}", largest_difference=largest)


@dataclass(frozen=True)
class Paired:
    """Not worse than the champion beyond a margin, and better by a minimum, on the same rows."""

    config: schema.PairedGate

    def judge(self, case: Case) -> Verdict:
        """Compare mean losses; inconclusive with fewer than `MIN_BLOCKS` blocks."""
        if not case.has_champion:
            return Verdict.passed("paired", case.without_champion)
        difference, champion = case.difference(CHAMPION), case.loss(CHAMPION)
        margin, gain = self.config.margin * champion, self.config.min_gain * champion
        figures = {**_figures(case, CHAMPION, difference), "margin": margin, "min_gain": gain}
        said = _compare(case, CHAMPION, difference)
        if not difference.enough:
            return Verdict.inconclusive("paired", _too_few_blocks(difference), said, **figures)
        if difference.mean > 0:
            return Verdict.failed("paired", said, **figures)
        if difference.mean > -gain or difference.mean == 0:
            return Verdict.failed(
                "paired", f"equal in practice: {said}; a gain of {figure(gain, 3)} is asked for", **figures
            )
        if difference.high >= margin:
            return Verdict.failed(
                "paired",
                f"{said}: the bound {figure(difference.high, 3)} is not below the margin {figure(margin, 3)}",
                **figures,
            )
        if self.config.significant and difference.high >= 0:
            return Verdict.failed("paired", f"{said}: not significantly better", **figures)
        return Verdict.passed("paired", said, **figures)


@dataclass(frozen=True)
class Baseline:
    """Better than a prior beyond noise, and than a simple model in the mean.

    Skill over the prior must be proved. A simple model may be nearly as good as the truth allows: it only has to be
    beaten on the gate rows.
    """

    config: schema.BaselineGate

    def judge(self, case: Case) -> Verdict:
        """Compare mean losses; inconclusive with fewer than `MIN_BLOCKS` blocks or without a baseline's predictions."""
        if not self.config.beat:
            return Verdict.inconclusive("baseline", "nothing is named to beat; set `beat` to prior, simple or both")
        if absent := [role for role in self.config.beat if role not in case.predictions]:
            return Verdict.inconclusive(
                "baseline", f"there are no predictions of the {' and the '.join(absent)} to compare with"
            )
        figures: dict[str, Any] = {}
        said, failed = [], []
        for role in self.config.beat:
            difference = case.difference(role)
            figures[role] = _figures(case, role, difference)
            said.append(_compare(case, role, difference))
            if not difference.enough:
                return Verdict.inconclusive("baseline", _too_few_blocks(difference), *said, **figures)
            if difference.mean >= 0:
                failed.append(said[-1])
            elif role == "prior" and difference.high >= 0:
                failed.append(f"{said[-1]}: not significantly better")
        if failed:
            return Verdict.failed("baseline", *failed, **figures)
        return Verdict.passed("baseline", *said, **figures)


@dataclass(frozen=True)
class Absolute:
    """A bound on one metric of the challenger."""

    config: schema.AbsoluteGate

    def judge(self, case: Case) -> Verdict:
        """Fail beyond the bound, and when there is no such metric."""
        config = self.config
        name, value = f"absolute {config.metric}", case.metrics.get(config.metric)
        figures = {"metric": config.metric, "value": value, "at_most": config.at_most, "at_least": config.at_least}
        if value is None:
            known = ", ".join(sorted(case.metrics))
            return Verdict.failed(name, f"promotion refused: there is no {config.metric}; known are {known}", **figures)
        if config.at_most is not None and value > config.at_most:
            return Verdict.failed(name, f"{config.metric} {figure(value)} is above {figure(config.at_most)}", **figures)
        if config.at_least is not None and value < config.at_least:
            return Verdict.failed(
                name, f"{config.metric} {figure(value)} is below {figure(config.at_least)}", **figures
            )
        return Verdict.passed(name, f"{config.metric} {figure(value)} is within its bounds", **figures)


@dataclass(frozen=True)
class Slices:
    """No slice is harmed beyond a margin."""

    config: schema.SliceGate

    def judge(self, case: Case) -> Verdict:
        """Test every slice for harm at a family-wise level (Holm 1979), and list those too small to tell."""
        if not case.has_champion:
            return Verdict.passed("slices", case.without_champion)
        if case.slices.columns.empty:
            return Verdict.passed("slices", "no slices are declared")
        tested, small = slice_tests(case, self.config.margin)
        untold = [name for name in self.config.required if name not in {t["slice"] for t in tested}]
        figures = {"slices": tested, "too_small": small[:_LISTED], "too_small_count": len(small)}
        harmed = [t for t in tested if t["harmed"]]
        if harmed:
            return Verdict.failed("slices", *[_harm(case, t) for t in harmed], **figures)
        if untold:
            return Verdict.inconclusive("slices", f"too small to tell, but required: {', '.join(untold)}", **figures)
        reasons = [f"no harm in {len(tested)} slices"]
        if small:
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            reasons.append(f"too small to tell: {', '.join(small[:5])}{more}")
        return Verdict.passed("slices", *reasons, **figures)


def slice_tests(case: Case, margin: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Test each slice of a case against harm beyond `margin`, a share of the champion's loss in the slice.

    Gives one record a slice that is large enough, and the names (`column=value`) of the others. `lower` is the bound
    that Holm's step-down procedure compares with the margin, at 1 - confidence over all slices together.
    """
    found, small = [], []
    difference = case.losses[CHALLENGER] - case.losses[CHAMPION]
    for name, rows, (sums, base) in by_slice(case.slices, case.blocks, difference, case.losses[CHAMPION]):
        size = int(rows.sum())
        if size < case.evaluate.min_slice_rows or (rows > 0).sum() < MIN_BLOCKS:
            small.append(name)
            continue
        allowed = margin * float(base.sum()) / size
        found.append((name, size, allowed, case.interval(sums, rows)))
    return _holm(found, 1 - case.evaluate.confidence), sorted(small)


def _holm(tests: list[tuple[str, int, float, Interval]], alpha: float) -> list[dict[str, Any]]:
    """Step down from the clearest case of harm; the first that is not proved ends the procedure."""
    records: list[dict[str, Any]] = []
    proved = True
    for left, (name, rows, allowed, difference) in zip(
        range(len(tests), 0, -1), sorted(tests, key=lambda t: t[3].p_above(t[2])), strict=True
    ):
        lower = difference.lower(alpha / left)
        proved = proved and lower > allowed
        records.append(
            {
                "slice": name,
                "rows": rows,
                "difference": difference.mean,
                "lower": lower,
                "margin": allowed,
                "harmed": proved,
            }
        )
    return records


def _harm(case: Case, test: Mapping[str, Any]) -> str:
    word = loss_words(case.task)
    return (
        f"{test['slice']}: {word} {figure(test['difference'], 3)} above the champion's on {test['rows']:,} rows; "
        f"the adjusted bound {figure(test['lower'], 3)} is above the margin {figure(test['margin'], 3)}"
    )


def _compare(case: Case, role: str, difference: Interval) -> str:
    side = "above" if difference.mean > 0 else "below"
    bounds = f"{100 * difference.confidence:g} % {figure(difference.low, 3)} to {figure(difference.high, 3)}"
    word, owner = loss_words(case.task), "simple model" if role == "simple" else role
    return (
        f"{word} {figure(case.loss(CHALLENGER))} is {figure(abs(difference.mean), 3)} {side} the {owner}'s ({bounds})"
    )


def _too_few_blocks(difference: Interval) -> str:
    return f"the rows span {difference.blocks} blocks of time; at least {MIN_BLOCKS} are needed to tell noise from gain"


def _figures(case: Case, role: str, difference: Interval) -> dict[str, Any]:
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


def _rowwise(prediction: NDArray[Any]) -> Floats:
    """One number a row that is finite only if all of the row's are."""
    values = np.asarray(prediction, dtype=np.float64)
    return values if values.ndim == 1 else np.asarray(values.sum(axis=1))


GATES: dict[str, Callable[[Any], Gate]] = {
    "paired": Paired,
    "baseline": Baseline,
    "absolute": Absolute,
    "slices": Slices,
}
