"""How good estimates without labels are: on NannyML's data, on streams whose truth is known, and on tables of other people.

`python -m benchmarks.estimates FOLDER [--streams 200] [--tables DIR] [--home HOME] [--workers 2] [--json FILE]`. FOLDER holds
NannyML's wheel (`pip download nannyml --no-deps -d FOLDER`), HOME is that of `trueup demo`. What is not there is skipped.
Takes some minutes.

Of each batch: `auc` and `log_loss` as [estimated, realised], whether it alarms, and whether the check says that the
estimate is off. Of each kind of stream: shares of streams or batches, and mean errors of the AUC.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks import estimate_tables
from benchmarks.estimate_streams import FROM, World, drawn
from benchmarks.estimate_tables import Case, Rows
from trueup.config.tasks import Task
from trueup.domain.judging.metrics import metrics, row_losses
from trueup.domain.monitoring.estimates.cbpe import Cbpe
from trueup.domain.types import Metric

MIN_CHANGE = 0.02  # of the best constant's log-loss
UNCHANGED: dict[str, World] = {
    "usual": World(),
    "days all the same": World(daily=0.0),
    "days alike (.4), twice as different": World(alike=0.4, daily=0.2),
    "days alike (.7)": World(alike=0.7),
    "30 rows a day": World(rows=30),
    "2,000 rows a day": World(rows=2_000),
    "5 % positive": World(base=-3.5),
    "5 % positive, 100 rows a day": World(base=-3.5, rows=100),
    "batches of a day": World(days=1),
    "batches of 28 days": World(days=28),
}
SHIFTED: dict[str, World] = {
    "spread x .9": World(narrowed=0.9),
    "spread x .8": World(narrowed=0.8),
    "spread x .6": World(narrowed=0.6),
    "spread x .8, 2,000 rows a day": World(narrowed=0.8, rows=2_000),
    "mean + 1": World(shift=1.0),
    "5 % positive, spread x .6": World(base=-3.5, narrowed=0.6),
}
CHANGED: dict[str, World] = {
    "effect x .7": World(slope=0.7),
    "effect x .5": World(slope=0.5),
    "no effect": World(slope=0.0),
    "effect turned round": World(slope=-1.0),
    "effect x .5, 100 rows a day": World(slope=0.5, rows=100),
}


@dataclass(frozen=True)
class Judged:
    """A batch's estimate beside what was realised."""

    rows: int
    auc: tuple[float, float]
    log_loss: tuple[float, float]
    covered: tuple[bool, bool]  # whether the realised AUC and log-loss are within the estimates' intervals
    alarm: bool
    off: bool

    def plain(self) -> dict[str, Any]:
        """The figures, rounded."""
        return {
            "rows": self.rows,
            "auc": [round(v, 4) for v in self.auc],
            "log_loss": [round(v, 4) for v in self.log_loss],
            "alarm": self.alarm,
            "off": self.off,
        }


def main(words: list[str] | None = None) -> None:
    """Print the figures, and write them as JSON if asked to."""
    asked = _parser().parse_args(words)
    found: dict[str, Any] = {"published": published(asked.folder)}
    with ProcessPoolExecutor(asked.workers) as pool:
        found["streams"] = {
            kind: {name: stream_figures(pool, world, asked.streams) for name, world in worlds.items()}
            for kind, worlds in (("unchanged", UNCHANGED), ("inputs shifted", SHIFTED), ("relation changed", CHANGED))
        }
    found["tables"] = {case.name: case_figures(case) for case in estimate_tables.own_models(asked.tables)}
    if asked.home:
        found["demo"] = {case.name: case_figures(case) for case in estimate_tables.demo(asked.home)}
    text = json.dumps(found, indent=1)
    if asked.json:
        asked.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def published(folder: Path) -> dict[str, Any]:
    """NannyML's data sets, in batches."""
    path = estimate_tables.wheel(folder)
    if path is None:
        sys.stderr.write(f"no wheel of NannyML in {folder}: pip download nannyml --no-deps -d {folder}\n")
        return {}
    read = (estimate_tables.car_loans, estimate_tables.cards, estimate_tables.houses, estimate_tables.employment)
    return {case.name: case_figures(case) for case in (make(path) for make in read)}


def case_figures(case: Case) -> dict[str, Any]:
    """A case's gate, and each of its batches."""
    fitted = fit(case)
    return {
        "gate": {m.name: round(m.value, 4) for m in fitted.gate.metrics[:3]},
        "curves": [c.curve for c in fitted.calibrators],
        "batches": [judged.plain() for judged in play(case, fitted)],
    }


def fit(case: Case) -> Cbpe:
    """The estimator of a case, from its gate."""
    return Cbpe.fit(
        case.task,
        case.gate.y,
        case.gate.p,
        case.gate.time,
        classes=case.classes,
        block=case.block,
        confidence=0.95,
        resamples=200,
        seed=0,
        min_change=MIN_CHANGE,
    )


def play(case: Case, fitted: Cbpe) -> Iterator[Judged]:
    """Each batch with labels of more than one class."""
    for batch in case.batches:
        if len(np.unique(batch.y)) > 1:
            yield _judged(case, fitted, batch)


def _judged(case: Case, fitted: Cbpe, batch: Rows) -> Judged:
    estimate, check = fitted.estimate(batch.p, batch.time), fitted.check(batch.y, batch.p, batch.time)
    realised = _realised(case, batch)
    expected = {m.name: m for m in estimate.metrics}
    auc = "auc" if case.task is Task.BINARY else "auc_ovr"
    pairs = [(expected[name], realised[name]) for name in (auc, "log_loss")]
    return Judged(
        estimate.rows,
        (pairs[0][0].value, pairs[0][1]),
        (pairs[1][0].value, pairs[1][1]),
        (_within(*pairs[0]), _within(*pairs[1])),
        estimate.worse,
        check is not None and check.off,
    )


def _realised(case: Case, batch: Rows) -> dict[str, float]:
    """The realised AUC and log-loss."""
    if case.task is not Task.BINARY:
        return metrics(case.task, batch.y, batch.p, case.classes)
    positives = int(batch.y.sum())
    # The rank sum, because the other metrics take most of the time of a stream.
    won = rankdata(batch.p)[batch.y == 1].sum() - positives * (positives + 1) / 2
    auc = won / (positives * (len(batch.y) - positives))
    return {"auc": float(auc), "log_loss": float(row_losses(case.task, batch.y, batch.p).mean())}


def _within(metric: Metric, realised: float) -> bool:
    return metric.low is not None and metric.high is not None and metric.low <= realised <= metric.high


def stream(world: World, seed: int) -> list[Judged] | None:
    """A stream's batches; None if its gate has too few rows or classes."""
    case = drawn(world, seed)
    try:
        fitted = fit(case)
    except ValueError:
        return None
    return list(play(case, fitted))


def stream_figures(pool: ProcessPoolExecutor, world: World, count: int) -> dict[str, Any]:
    """Over many streams: alarms, checks, errors and coverage, from the batch of the change on if there is one."""
    played = [s for s in pool.map(partial(stream, world), range(count), chunksize=4) if s]
    changed = (world.narrowed, world.shift, world.slope) != (1.0, 0.0, 1.0)
    late = [b for s in played for b in (s[FROM:] if changed else s)]
    errors = np.array([b.auc[0] - b.auc[1] for b in late])
    auc = np.array([b.auc[1] for b in late])
    figures = {
        "streams": len(played),
        "streams_with_alarm": _share([any(b.alarm for b in (s[:FROM] if changed else s)) for s in played]),
        "streams_with_off": _share([any(b.off for b in (s[:FROM] if changed else s)) for s in played]),
        "auc": round(float(auc.mean()), 4),
        "auc_error": round(float(np.abs(errors).mean()), 4),
        "auc_bias": round(float(errors.mean()), 4),
        "covered": [_share([b.covered[i] for b in late]) for i in (0, 1)],
    }
    if changed:
        figures["alarm_in_two_batches"] = _share([any(b.alarm for b in s[FROM : FROM + 2]) for s in played])
        figures["off_in_two_batches"] = _share([any(b.off for b in s[FROM : FROM + 2]) for s in played])
    return figures


def _share(of: list[bool]) -> float:
    return round(float(np.mean(of)), 4)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with NannyML's wheel")
    parser.add_argument("--streams", type=int, default=200, help="of each kind")
    parser.add_argument("--tables", type=Path, metavar="DIR", help="with tables of other people")
    parser.add_argument("--home", type=Path, metavar="HOME", help="of the demo")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    main()
