"""How good estimates of a regression's loss without labels are: on NannyML's car prices, on made-up streams, on tables.

`python -m benchmarks.estimate_losses FOLDER [--streams 50] [--tables DIR] [--json FILE]`. FOLDER holds NannyML's wheel
(`pip download nannyml --no-deps -d FOLDER`). What is not there is named and skipped.

Of each batch: `mae` and `rmse` as [estimated, realised], whether it alarms, and whether the check says that the estimate
is off. As in the loop, the gate is a sample of 2,000 of its rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import estimate_tables
from benchmarks.gate_streams import Data
from benchmarks.gate_tables import tables
from trueup.config.tasks import Task
from trueup.domain.monitoring.drift import sample
from trueup.domain.monitoring.estimates.dle import Dle
from trueup.reporting.jobs import SAMPLE_ROWS

MIN_CHANGE = 0.02  # of the gate's squared error
_DAY = timedelta(days=1)
_P, _Y, _AT = "\0p", "\0y", "\0at"  # not the names of features


@dataclass(frozen=True, eq=False)
class Regression:
    """A champion's gate and its batches, in order of time: features with prediction, label and time of each row."""

    name: str
    gate: pd.DataFrame
    batches: Sequence[pd.DataFrame]


def main(words: list[str] | None = None) -> None:
    """Print the figures, and write them as JSON if asked to."""
    asked = _parser().parse_args(words)
    found: dict[str, Any] = {"tables": {}}
    if (path := estimate_tables.wheel(asked.folder)) is None:
        sys.stderr.write(f"no wheel of NannyML in {asked.folder}: pip download nannyml --no-deps -d {asked.folder}\n")
    else:
        found["car prices"] = {
            "gate of 2,000": figures(car_prices(path)),
            "gate of 60,000": figures(car_prices(path), most=60_000),
        }
    for name, read in tables(asked.tables):
        if (data := read()).task is Task.REGRESSION:
            found["tables"][name] = figures(own_model(data))
    worlds = {
        "unchanged": (0.3, 1.0),
        "more rows of a hard kind": (0.5, 1.0),
        "effect x .5": (0.3, 0.5),
        "effect turned round": (0.3, -1.0),
    }
    found["streams"] = {name: stream_figures(asked.streams, *world) for name, world in worlds.items()}
    text = json.dumps(found, indent=1)
    if asked.json:
        asked.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def car_prices(path: Path) -> Regression:
    """60,000 used cars with prices as the gate, 60,000 in ten batches. Inputs move in the sixth, to cars easier to tell."""
    reference, later = (estimate_tables.csv_of(path, f"regression_synthetic_{n}") for n in ("reference", "analysis"))
    later["y_true"] = estimate_tables.csv_of(path, "regression_synthetic_analysis_targets")["y_true"]
    names = {"y_pred": _P, "y_true": _Y, "timestamp": _AT}
    reference, later = (
        f.drop(columns="id").rename(columns=names).assign(**{_AT: lambda rows: pd.to_datetime(rows[_AT])})
        for f in (reference, later)
    )
    return Regression("car prices", reference, [later.iloc[at : at + 6_000] for at in range(0, len(later), 6_000)])


def own_model(data: Data) -> Regression:
    """A table with a boosting that saw its first periods; the gate is the period before the batches."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    start, at = data.edges[data.first - 1], data.edges[data.first]
    known = data.block < start - data.delay
    X = data.X.astype(dict.fromkeys(data.schema.categorical, "category"))
    model = HistGradientBoostingRegressor(
        max_iter=100, learning_rate=0.05, categorical_features="from_dtype", random_state=0
    ).fit(X[known], data.y[known])
    time = np.datetime64("2000-01-01", "us") + data.block.astype("timedelta64[D]")
    rows = data.X.assign(**{_P: model.predict(X), _Y: data.y, _AT: time})
    edges = data.edges[data.first :]
    batches = [rows[(data.block >= a) & (data.block < b)] for a, b in pairwise(edges)]
    return Regression(data.name, rows[(data.block >= start) & (data.block < at)], batches)


def stream(seed: int, hard: float, effect: float) -> Regression:
    """A gate of 14 days and 12 weeks of 60 rows a day; 30 % of them are four times as hard to tell.

    From the seventh week on their share is `hard`, and the effect of the input on the label is `effect` times as large.
    """
    rng = np.random.default_rng(seed)

    def rows(first: int, days: int, share: float, slope: float) -> pd.DataFrame:
        n = days * 60
        kind, x = rng.random(n) < share, rng.normal(size=n)
        y = slope * 3 * x + rng.normal(size=n) * np.where(kind, 4.0, 1.0)
        at = pd.Timestamp("2024-01-01") + pd.to_timedelta(first * 86_400 + np.arange(n) * 1_440, "s")
        return pd.DataFrame({"x": x, "kind": np.where(kind, "b", "a"), _P: 3 * x, _Y: y, _AT: at})

    usual = [rows(14 + 7 * k, 7, 0.3, 1.0) for k in range(6)]
    return Regression("stream", rows(0, 14, 0.3, 1.0), usual + [rows(56 + 7 * k, 7, hard, effect) for k in range(6)])


def figures(case: Regression, most: int = SAMPLE_ROWS) -> dict[str, Any]:
    """A case's gate, and each of its batches; or why there is no estimate."""
    try:
        fitted = fit(case, most)
    except ValueError as error:
        return {"none": str(error)}
    return {"gate": {m.name: round(m.value, 2) for m in fitted.gate}, "batches": list(play(case, fitted))}


def fit(case: Regression, most: int = SAMPLE_ROWS) -> Dle:
    """The estimator, from at most so many rows of the gate."""
    gate = sample(case.gate, most, 0)
    settings: dict[str, Any] = {"block": _DAY, "confidence": 0.95, "seed": 0, "min_change": MIN_CHANGE}
    return Dle.fit(gate[_Y], gate[_P], _inputs(gate), gate[_AT], **settings)


def play(case: Regression, fitted: Dle) -> Iterator[dict[str, Any]]:
    """Each batch's estimate beside what was realised."""
    for batch in case.batches:
        if len(batch) < 2:
            continue
        made = fitted.estimate(batch[_P], _inputs(batch), batch[_AT])
        check = fitted.check(batch[_Y], batch[_P], _inputs(batch), batch[_AT])
        error = (batch[_Y] - batch[_P]).to_numpy(dtype=np.float64)
        _, mae, rmse = made.metrics
        yield {
            "rows": len(batch),
            "mae": [round(mae.value, 2), round(float(np.abs(error).mean()), 2)],
            "rmse": [round(rmse.value, 2), round(float(np.sqrt(np.mean(error**2))), 2)],
            "alarm": made.worse,
            "off": check is not None and check.off,
        }


def stream_figures(count: int, hard: float, effect: float) -> dict[str, Any]:
    """Shares of streams and batches before and after the seventh week, and the mean relative error of the MAE."""
    played = [list(play(s := stream(seed, hard, effect), fit(s))) for seed in range(count)]
    after = [b for s in played for b in s[6:]]
    return {
        "streams with an alarm in the first six": _share([any(b["alarm"] for b in s[:6]) for s in played]),
        "streams with an alarm in the last six": _share([any(b["alarm"] for b in s[6:]) for s in played]),
        "last six: alarms": _share([b["alarm"] for b in after]),
        "last six: off": _share([b["off"] for b in after]),
        "off within two batches": _share([any(b["off"] for b in s[6:8]) for s in played]),
        "error of the MAE": round(float(np.mean([abs(b["mae"][0] / b["mae"][1] - 1) for b in after])), 3),
    }


def _inputs(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=[_P, _Y, _AT])


def _share(of: Sequence[bool]) -> float:
    return round(float(np.mean(of)), 3)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How good estimates of a regression's loss without labels are.")
    parser.add_argument("folder", type=Path, help="holds NannyML's wheel")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--tables", type=Path, help="a folder with other people's tables")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser


if __name__ == "__main__":
    main()
