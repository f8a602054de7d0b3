"""The record of an estimate of performance, made without the batch's labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trueup.domain.types import Metric

EstimateMethod = Literal["cbpe", "dle"]


@dataclass(frozen=True)
class EstimateCheck:
    """An estimate beside the figure that the labels gave later, both of the deciding loss on the same rows.

    `error` is realised minus estimated, with its interval from `low` to `high`. `off` says that it is larger than
    sampling explains.
    """

    estimated: float
    realised: float
    error: float
    low: float
    high: float
    off: bool
    words: str


@dataclass(frozen=True)
class Estimate:
    """Expected performance on a batch, and the same on the rows on which the champion was judged (`gate`).

    The deciding loss comes first in both. `worse` says that the batch is beyond its limit, `reason` why or why not.
    """

    method: EstimateMethod
    rows: int
    metrics: tuple[Metric, ...]
    gate: tuple[Metric, ...]
    worse: bool
    reason: str
    check: EstimateCheck | None = None  # None: too few labels to compare
    doubts: str = ""  # why not to rely on it: the newest estimate of the same champion with labels was off


@dataclass(frozen=True)
class EstimateLook:
    """The part of a monitoring result that later estimates of the same champion need."""

    champion: int | None  # its version
    estimate: Estimate | None = None
