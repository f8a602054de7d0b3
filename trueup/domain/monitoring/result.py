"""The recorded result of monitoring a batch."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.domain.judging.probation import ProbationLook
from trueup.domain.monitoring.diagnosis import DATA_BROKEN, Skill
from trueup.domain.monitoring.drift import DriftResult
from trueup.domain.monitoring.estimates.estimate import Estimate
from trueup.domain.monitoring.learned_bounds import Oddity
from trueup.domain.monitoring.skew import Skew
from trueup.domain.types import Figures, Metric


@dataclass(frozen=True)
class Look:
    """The part of a monitoring result that later batches need. The first of the findings is the diagnosis."""

    diagnosis: str
    findings: tuple[str, ...]
    reasons: tuple[str, ...]
    awaits_labels: bool  # more labels could change the diagnosis `unknown`
    champion: int | None  # its version
    skill: Skill | None
    unusual: tuple[Oddity, ...]
    probation: ProbationLook | None

    @property
    def waits(self) -> bool:
        """Whether labels that arrive later could change the result."""
        return self.awaits_labels and self.diagnosis != DATA_BROKEN


@dataclass(frozen=True)
class SkewLook:
    """The part of a monitoring result about served features."""

    champion: int | None  # its version
    skew: Skew | None = None


@dataclass(frozen=True)
class MonitoringResult(Look):
    """A monitoring result in full."""

    champion_age_days: float | None
    landed: int
    matured: int  # the champion's predictions with a known label
    left_out: int  # labelled predictions of rows that a correction has taken out since
    of_others: int  # labelled predictions of an earlier champion
    metrics: tuple[Metric, ...]  # the deciding loss first; empty where they cannot be measured
    drift: DriftResult | None
    usual: Figures | None  # the bounds of an ordinary batch, for people
    shift: tuple[Metric, ...]  # of predictions and labels since the gate
    skew: Skew | None = None  # None: no served features to compare
    estimate: Estimate | None = None  # None: no champion, or nothing to estimate from
    not_estimated: str = ""  # why there is no estimate, although there is a champion
