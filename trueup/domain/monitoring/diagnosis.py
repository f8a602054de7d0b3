"""Diagnose a champion before anything is retrained.

Raw loss follows the season, so decay is judged on *paired skill*: how much smaller the champion's loss is than that of
a cheap reference on the same rows, as a share of the reference's loss. The reference is refitted for each batch on what
was known by then. A batch is *bad* if its skill is below the gate's by more than noise and a minimum. Two effects lower
the skill of a good champion and are removed first:

- Noise that no model can explain raises the reference's loss, so that the same gain is a smaller share of it. If the
  reference's loss is larger than it was at the gate, the gate's gain is expected again, not the gate's share.
- Inputs move to where there is less to gain, or the reference gets better. The gain that the champion's predictions
  promise on these rows moves as well, as long as they are right. So the *shortfall*, the promise minus the gain, must
  also have grown. For log loss and squared error the shortfall is a test of forecast encompassing (Chong & Hendry 1986):
  it is positive if the reference explains a part of the champion's errors.

Both depend on the reference, which for weeks after a change of the relation learns from the old one and is as wrong as
the champion. So a champion that does *worse than chance* beyond noise, worse than the constant of the reference's own
labels, is bad in any case, by its loss against such a constant since its gate. The constant uses only what was known
when the batch began. One that had seen the batch's labels would know a level that nobody could know, and would beat
models that are right.

The drop between gate and batch, two independent samples, is bounded by MOVER (Zou & Donner 2008) from their intervals
alone, so a stored skill is a handful of plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import scipy
from numpy.typing import ArrayLike

from trueup.config.durations import later, write_duration
from trueup.config.sections.monitoring import MonitorConfig
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import MIN_BLOCKS, Floats, Interval, paired_interval
from trueup.domain.monitoring.drift import MIN_ROWS, DriftResult
from trueup.domain.monitoring.estimates.estimate import Estimate
from trueup.domain.monitoring.skew import Skew
from trueup.domain.records import High, Low
from trueup.domain.types import Figures, Status, Verdict

DATA_BROKEN, UNKNOWN, DECAYED = "data_broken", "unknown", "decayed"
STALE, UNUSUAL, SKEWED, SHIFTED, HEALTHY = "stale", "unusual", "skewed", "shifted", "healthy"
ESTIMATED_DECAY = "estimated_decay"
NAMES = (
    DATA_BROKEN,
    UNKNOWN,
    DECAYED,
    STALE,
    UNUSUAL,
    SKEWED,
    ESTIMATED_DECAY,
    SHIFTED,
    HEALTHY,
)  # the first finding in this order is the batch's diagnosis


@dataclass(frozen=True)
class Bounds:
    """A share of the reference's loss with its interval; the bounds are infinite without enough data."""

    mean: float
    low: Low
    high: High

    @classmethod
    def of(cls, interval: Interval) -> Bounds:
        return cls(float(interval.mean), float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Skill:
    """A model's paired skill on some rows: 1 - loss_model / loss_reference.

    `shortfall` is the gain that the model's predictions promised minus their gain, `over_constant` its gain over the
    best constant that was known before these rows; both are shares of the same loss.
    """

    mean: float
    low: Low
    high: High
    confidence: float
    n: int
    blocks: int
    loss_model: float
    loss_reference: float
    shortfall: Bounds | None = None
    over_constant: Bounds | None = None

    @property
    def gain(self) -> Bounds:
        """The skill and its interval."""
        return Bounds(self.mean, self.low, self.high)


def skill(
    loss_model: ArrayLike,
    loss_reference: ArrayLike,
    event_time: ArrayLike,
    block: timedelta,
    confidence: float,
    *,
    promised: ArrayLike | None = None,
    constant: ArrayLike | None = None,
) -> Skill | None:
    """Measure a model's paired skill from the losses (n,) of both on the same rows, with block-bootstrap intervals.

    `promised` (n,) is from `promised_gain`. Without it, a season with less to gain can look like decay. `constant` (n,)
    is from `constant_losses`. Without it, a change that the reference has not seen may go unnoticed. Returns None if
    the reference makes no error, because no gain is possible then. Raises ValueError without rows, or if a loss is not
    finite.
    """
    model, reference = np.asarray(loss_model, dtype=np.float64), np.asarray(loss_reference, dtype=np.float64)
    promise = None if promised is None else np.asarray(promised, dtype=np.float64)
    chance = None if constant is None else np.asarray(constant, dtype=np.float64)
    losses = {"model's loss": model, "reference's loss": reference, "promised gain": promise, "constant's loss": chance}
    for name, values in losses.items():
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"the {name} is not finite in {int((~np.isfinite(values)).sum())} rows: no skill")
    if len(reference) and not reference.any():
        return None

    def share(values: Floats) -> Interval:
        return paired_interval(values, event_time, block, confidence, over=reference)

    gain = share(reference - model)
    return Skill(
        **asdict(Bounds.of(gain)),
        confidence=confidence,
        n=len(model),
        blocks=gain.blocks,
        loss_model=float(model.mean()),
        loss_reference=float(reference.mean()),
        shortfall=None if promise is None else Bounds.of(share(promise - (reference - model))),
        over_constant=None if chance is None else Bounds.of(share(chance - model)),
    )


def promised_gain(task: Task, prediction: ArrayLike, reference: ArrayLike) -> Floats:
    """By how much a model would beat the reference on each row (n,) if its predictions were the truth.

    Binary: probabilities (n,) of both; multiclass: probabilities (n, k). Their Kullback-Leibler divergence,
    probabilities clipped as in log loss. Regression: values (n,) of both; their squared difference.
    """
    p, q = np.asarray(prediction, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if task is Task.REGRESSION:
        return np.asarray((p - q) ** 2)
    p, q = np.clip(p, 1e-15, 1 - 1e-15), np.clip(q, 1e-15, 1 - 1e-15)
    if task is Task.BINARY:
        return np.asarray(scipy.special.rel_entr(p, q) + scipy.special.rel_entr(1 - p, 1 - q))
    return np.asarray(scipy.special.rel_entr(p, q).sum(axis=1))


def constant_losses(task: Task, y: ArrayLike, earlier: ArrayLike) -> Floats:
    """Each row's loss (n,) under the best constant for labels known before (m,): the classes' shares, or the mean.

    A class that was never seen before counts as half a row of the known ones.

    >>> constant_losses(Task.BINARY, [1, 0], earlier=[1, 0, 0, 0]).round(3).tolist()
    [1.386, 0.288]
    """
    labels, before = np.asarray(y), np.asarray(earlier)
    if task is Task.REGRESSION:
        return np.asarray((labels - before.mean()) ** 2, dtype=np.float64)
    values, counts = np.unique(before, return_counts=True)
    rows = dict(zip(values.tolist(), counts.tolist(), strict=True))
    distinct, codes = np.unique(labels, return_inverse=True)
    losses = [-np.log(rows.get(label, 0.5) / len(before)) for label in distinct.tolist()]
    return np.asarray(losses, dtype=np.float64)[codes]


@dataclass(frozen=True)
class Drop:
    """How far a batch's skill is below the gate's: the smaller of raw drop and growth of the shortfall.

    If the model is worse than chance in a batch, it is the loss against the constant if that is larger.
    """

    value: float
    lower: float
    worse_than_chance: bool = False

    @classmethod
    def between(cls, gate: Skill, batch: Skill) -> Drop:
        """Compare a batch with the gate. `lower` is a one-sided bound at (1 + confidence) / 2."""
        scale = min(1.0, gate.loss_reference / batch.loss_reference)
        expected = Bounds(scale * gate.mean, scale * gate.low, scale * gate.high)
        drop = _excess(expected, batch.gain)
        if gate.shortfall is not None and batch.shortfall is not None:
            drop = min(drop, _excess(batch.shortfall, gate.shortfall), key=lambda d: d.lower)
        if gate.over_constant is None or batch.over_constant is None or batch.over_constant.high >= 0:
            return drop
        # Against the gate, too: a lag that existed at promotion is not decay.
        lost = replace(_excess(gate.over_constant, batch.over_constant), worse_than_chance=True)
        return max(drop, lost, key=lambda d: d.lower)


def _excess(a: Bounds, b: Bounds) -> Drop:
    """Lower bound of a - b, for independent a and b: MOVER."""
    difference = a.mean - b.mean
    return Drop(difference, float(difference - np.hypot(a.mean - a.low, b.high - b.mean)))


@dataclass(frozen=True)
class Observation:
    """The facts about a batch at `as_of`. `trained_until` and `gate` (its skill there) are None without a champion.

    `matured` counts the champion's predictions with a known label; `classes` counts their distinct labels (None:
    regression); `of_others` counts predictions of an earlier champion, which say nothing about this one.
    """

    as_of: datetime
    validation: Verdict
    rows: int
    matured: int
    classes: int | None
    trained_until: datetime | None
    gate: Skill | None
    skill: Skill | None
    drift: DriftResult | None
    of_others: int = 0
    unusual: tuple[str, ...] = ()  # in words, how the batch differs from those before
    skew: Skew | None = None  # None: no served features to compare
    estimate: Estimate | None = None  # performance without labels


@dataclass(frozen=True)
class Finding:
    """One finding, its reason, and the figures behind it."""

    name: str
    reason: str
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """All findings in the order of NAMES; the first one is the batch's diagnosis."""

    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        return self.findings[0].name

    @property
    def reasons(self) -> list[str]:
        return [f"{f.name}: {f.reason}" for f in self.findings]

    @property
    def awaits_labels(self) -> bool:
        """Whether more labels could resolve what is unknown."""
        return any(f.name == UNKNOWN and f.figures["awaits_labels"] for f in self.findings)


def diagnose(observation: Observation, history: Sequence[Skill], config: MonitorConfig) -> Diagnosis:
    """Diagnose the champion on a batch.

    `history` has the skills of the earlier batches since the promotion, oldest first. Batches without a measured skill
    are not in it, and do not count among the last M.
    """
    findings = [
        _data_broken(observation),
        _unknown(observation, config),
        _decayed(observation, history, config),
        _stale(observation, config),
        Finding(UNUSUAL, "; ".join(unusual), {"count": len(unusual)}) if (unusual := observation.unusual) else None,
        _skewed(observation),
        _estimated_decay(observation, config),
        _shifted(observation),
    ]
    return Diagnosis(tuple(f for f in findings if f) or (_healthy(observation),))


def _data_broken(seen: Observation) -> Finding | None:
    if seen.validation.status is not Status.FAIL:
        return None
    return Finding(DATA_BROKEN, "; ".join(seen.validation.reasons) or "validation failed", seen.validation.figures)


def _unknown(seen: Observation, config: MonitorConfig) -> Finding | None:
    """List everything that prevents a judgement of decay."""
    why = []
    if seen.trained_until is None:
        why.append("no champion yet")
    elif seen.gate is None:
        why.append("the champion's skill at its gate is not known")
    if seen.validation.status is Status.INCONCLUSIVE:
        why += seen.validation.reasons or ("validation was inconclusive",)
    if seen.rows < MIN_ROWS:
        why.append(f"{seen.rows} rows; at least {MIN_ROWS} are needed")
    blocks = seen.skill.blocks if seen.skill is not None else None
    missing = missing_labels(seen.matured, seen.classes, blocks, config)
    if missing is not None:
        others = f" ({seen.of_others} more are of predictions that an earlier champion made)" if seen.of_others else ""
        why.append(missing + others)
    elif seen.skill is None:
        why.append("paired skill could not be measured")
    figures = {"rows": seen.rows, "matured": seen.matured, "awaits_labels": missing is not None}
    return Finding(UNKNOWN, "; ".join(why), figures) if why else None


def missing_labels(matured: int, classes: int | None, blocks: int | None, config: MonitorConfig) -> str | None:
    """Explain why so many matured labels, classes and blocks of time are too few to judge decay.

    `classes` is None for a regression, `blocks` if they were not counted.
    """
    if matured < config.min_matured:
        return f"{matured} matured labels; monitor.min_matured is {config.min_matured}"
    if classes is not None and classes < 2:
        return "the matured labels are all of one class"
    if blocks is not None and blocks < MIN_BLOCKS:
        return (
            f"the matured labels span {blocks} blocks of time; at least {MIN_BLOCKS} are needed: if no more come, make "
            "evaluate.block shorter or ingest.period longer"
        )
    return None


def _decayed(seen: Observation, history: Sequence[Skill], config: MonitorConfig) -> Finding | None:
    if seen.gate is None or seen.skill is None or seen.classes == 1:
        return None
    decay = config.decay
    latest = Drop.between(seen.gate, seen.skill)
    recent = [*history, seen.skill][-decay.of_last :]
    bad = [_above(decay.min_drop, seen.gate, s, config) for s in recent]
    severe = _above(decay.severe, seen.gate, seen.skill, config)
    if not bad[-1] or not (severe or sum(bad) >= decay.batches):
        return None
    why = "worse than chance; " if latest.worse_than_chance else ""
    why += "severe" if severe else f"bad in {sum(bad)} of the last {len(bad)} batches"
    reason = (
        f"skill {seen.skill.mean:.3f}, {seen.gate.mean:.3f} at the gate: {latest.value:.3f} of the reference's loss "
        f"is lost (at least {latest.lower:.3f}); {why}"
    )
    figures = {"drop": latest.value, "drop_low": latest.lower, "bad": sum(bad), "of": len(bad), "severe": severe}
    return Finding(DECAYED, reason, figures)


def _above(limit: float, gate: Skill, batch: Skill, config: MonitorConfig) -> bool:
    enough = batch.blocks >= MIN_BLOCKS and batch.n >= config.min_matured
    return enough and Drop.between(gate, batch).lower > limit


def _stale(seen: Observation, config: MonitorConfig) -> Finding | None:
    if config.stale_after is None or seen.trained_until is None:
        return None
    if seen.as_of <= later(seen.trained_until, config.stale_after):
        return None
    days = (seen.as_of - seen.trained_until) / timedelta(days=1)
    limit = write_duration(config.stale_after)
    return Finding(STALE, f"trained on data until {days:.0f} days ago; monitor.stale_after is {limit}", {"days": days})


def _skewed(seen: Observation) -> Finding | None:
    if seen.skew is None or not seen.skew.skewed:
        return None
    figures = {"rows": seen.skew.rows, "differing": seen.skew.differing, "features": seen.skew.features}
    return Finding(SKEWED, seen.skew.reason, figures)


def _estimated_decay(seen: Observation, config: MonitorConfig) -> Finding | None:
    """An estimate beyond its limit, while too few labels are known to measure skill. It starts nothing."""
    if seen.skill is not None or seen.estimate is None or not seen.estimate.worse:
        return None
    missing = max(config.min_matured - seen.matured, 0)
    settles = f"{missing} more labels" if missing else "labels of more classes and blocks of time"
    doubts = f"; {seen.estimate.doubts}" if seen.estimate.doubts else ""
    reason = f"{seen.estimate.reason}; {settles} would settle it{doubts}"
    figures = {m.name: m.value for m in seen.estimate.metrics} | {"labels_missing": missing}
    return Finding(ESTIMATED_DECAY, reason, figures)


def _shifted(seen: Observation) -> Finding | None:
    if seen.drift is None or not seen.drift.shifted:
        return None
    return Finding(SHIFTED, seen.drift.reason, {"drifted": list(seen.drift.drifted)})


def _healthy(seen: Observation) -> Finding:
    """Describe what was checked, and what could not be: a comparison of inputs that was not made is not a pass."""
    words, figures = [], {}
    if seen.skill is not None and seen.gate is not None:
        drop = Drop.between(seen.gate, seen.skill)
        words.append(f"skill {seen.skill.mean:.3f}, {seen.gate.mean:.3f} at the gate")
        figures = {"drop": drop.value, "drop_low": drop.lower}
    if seen.drift is None or seen.drift.shifted is None:
        words.append(f"inputs not judged ({seen.drift.reason if seen.drift else 'not compared'})")
    else:
        words.append(seen.drift.reason)
    return Finding(HEALTHY, "; ".join(words), figures)
