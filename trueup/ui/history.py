"""One model's batches, champions and decisions in the order of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from trueup.adapters.store.results import Result
from trueup.domain.types import Metric, Window
from trueup.handoffs import Validated
from trueup.home import Home
from trueup.model import MONITOR, RUN, VALIDATE
from trueup.ui.records import Line, SeenBatch, SeenEstimate, SeenTurn

MARKED: Final = {  # kinds of entries that are marked in charts, with their symbols
    "promoted": "triangle-up",
    "override": "triangle-up",
    "rolled_back": "triangle-down",
    "rejected": "x",
    "held": "circle-open",
    "refused": "line-ns-open",
    "failed": "x",
    "pending": "diamond-open",
    "rollout": "star",
    "rollout_advanced": "star-open",
}


@dataclass(frozen=True)
class BatchRow:
    """One batch with all that was found about it."""

    window: Window
    diagnosis: str
    reasons: tuple[str, ...]
    champion: int | None
    loss: Metric | None  # the deciding one
    skill: float | None
    skill_low: float | None
    skill_high: float | None
    estimate: SeenEstimate | None
    rows: int | None
    matured: int
    quarantined: int | None
    drifted: tuple[str, ...]
    compared: bool  # whether inputs were compared
    distances: Mapping[str, float]  # by column: the largest value as a multiple of its limit
    seconds: Mapping[str, float]

    @property
    def maturity(self) -> float | None:
        """The share of rows with a known label."""
        return self.matured / self.rows if self.rows else None

    @property
    def quarantine_share(self) -> float | None:
        """The share of rows in quarantine."""
        return None if self.quarantined is None or not self.rows else self.quarantined / self.rows


@dataclass(frozen=True)
class Reign:
    """A version as champion."""

    version: int
    since: datetime
    until: datetime | None
    seq: int
    gate: float | None  # its skill at the gate


@dataclass(frozen=True)
class History:
    """What the page of a model shows."""

    batches: tuple[BatchRow, ...]
    reigns: tuple[Reign, ...]
    marks: tuple[Line, ...]
    loss: str  # the name of the deciding loss

    @property
    def columns(self) -> list[str]:
        """The compared columns, those that drifted most often first."""
        drifted: dict[str, int] = {}
        for batch in self.batches:
            for column in batch.distances:
                drifted[column] = drifted.get(column, 0) + (column in batch.drifted)
        return sorted(drifted, key=lambda column: -drifted[column])

    @property
    def stages(self) -> list[str]:
        """The stages with measured seconds, in their order."""
        return list(dict.fromkeys(stage for batch in self.batches for stage in batch.seconds))


def history(home: Home, name: str, lines: Sequence[Line]) -> History:
    """Read all of a model's batches; of each the newest result counts."""
    store = home.store
    seen: dict[Window, Result[SeenBatch]] = {r.window: r for r in store.newest_results(name, MONITOR, SeenBatch)}
    checked = {r.window: r.body for r in store.newest_results(name, VALIDATE, Validated)}
    turns = {r.window: r.body.seconds for r in store.newest_results(name, RUN, SeenTurn)}
    rows = {ref.window: ref.rows for ref in store.batches(f"{name}/rows")}
    batches = tuple(
        _batch(window, result.body, checked.get(window), rows.get(window), turns.get(window, {}))
        for window, result in sorted(seen.items())
    )
    losses = [b.loss.name for b in batches if b.loss is not None]
    return History(
        batches, tuple(reigns(lines)), tuple(x for x in lines if x.kind in MARKED), losses[-1] if losses else ""
    )


def reigns(lines: Sequence[Line]) -> list[Reign]:
    """The champions in order; a version that came back is listed again."""
    promoted = [(line, p) for line in lines if (p := line.body.promotion) is not None]
    ends: list[datetime | None] = [line.as_of for line, _ in promoted[1:]] + [None]
    return [
        Reign(p.version, line.as_of, end, line.seq, _gate_skill(line))
        for (line, p), end in zip(promoted, ends, strict=False)  # without a champion there is one end too many
    ]


def _gate_skill(line: Line) -> float | None:
    evaluation = line.body.evaluation
    return evaluation.skill.mean if evaluation is not None and evaluation.skill is not None else None


def _batch(
    window: Window, seen: SeenBatch, checked: Validated | None, rows: int | None, seconds: Mapping[str, float]
) -> BatchRow:
    distances: dict[str, float] = {}
    for check in seen.drift.checks if seen.drift else ():
        if check.limit:
            distances[check.column] = max(distances.get(check.column, 0.0), check.value / check.limit)
    return BatchRow(
        window=window,
        diagnosis=seen.diagnosis,
        reasons=seen.reasons,
        champion=seen.champion,
        loss=seen.metrics[0] if seen.metrics else None,
        skill=seen.skill.mean if seen.skill else None,
        skill_low=seen.skill.low if seen.skill else None,
        skill_high=seen.skill.high if seen.skill else None,
        estimate=seen.estimate,
        rows=rows,
        matured=seen.matured,
        quarantined=checked.quarantined if checked else None,
        drifted=seen.drift.drifted if seen.drift else (),
        compared=seen.drift is not None and seen.drift.shifted is not None,
        distances=distances,
        seconds=seconds,
    )
