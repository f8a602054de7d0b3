"""A fixed reference without Trueup: pandas and scikit-learn, trained once on January and February.

Features are the columns of `configs/nycflights.py` and late rates of earlier flights, as known a day after their
schedule. March to December 2013 are scored by month, like the loop, so that the means are comparable. It is not tuned
along with the configs.

`python -m benchmarks.frozen_reference [--json]`
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from threadpoolctl import threadpool_limits

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TRAIN_UNTIL = pd.Timestamp("2013-03-01")
DELAY = pd.Timedelta(days=1)  # a flight's outcome is known a day after its schedule
LATE_MINUTES = 15

NUMERIC = ["sched_dep_minute", "distance", "planned_minutes", "departures_hour", "humid", "wind_speed", "wind_gust"]
NUMERIC += ["precip", "pressure", "visib", "weekday"]
CATEGORICAL = ["carrier", "origin", "dest"]
WINDOWS = {"1d": pd.Timedelta(days=1), "7d": pd.Timedelta(days=7), "28d": pd.Timedelta(days=28)}


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    as_json = parser.parse_args().json
    result = evaluate()
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    shown = [*result["months"], {"month": "mean   ", **result["mean"]}]
    lines = [f"{m['month']}  {m['log_loss']:8.4f}  {m['auc']:6.3f}" for m in shown]
    sys.stdout.write("\n".join(["month    log-loss     AUC", *lines]) + "\n")


def evaluate() -> dict[str, Any]:
    """Log-loss and AUC by month, and their unweighted means."""
    with threadpool_limits(1):
        months = score_by_month(load())
    return {"months": months, "mean": {n: float(np.mean([m[n] for m in months])) for n in ("log_loss", "auc")}}


def load() -> pd.DataFrame:
    """The flights that arrived, with features and `late`, ordered by scheduled departure."""
    sys.path.insert(0, str(CONFIGS))
    from nycflights import flights

    rows = flights(None, None)
    arrived = rows[rows["arr_delay"].notna()].reset_index(drop=True)
    arrived = arrived.assign(
        late=(arrived["arr_delay"] > LATE_MINUTES).astype(float),
        weekday=arrived["scheduled"].dt.weekday,
        **{key: arrived[key].astype("category") for key in CATEGORICAL},
    )
    rates = {f"late_{key}_{name}": late_rate(arrived, key, w) for key in CATEGORICAL for name, w in WINDOWS.items()}
    return arrived.assign(**rates)


def late_rate(rows: pd.DataFrame, key: str, window: pd.Timedelta) -> pd.Series:
    """Share of late flights of the same key with an outcome that became known in (t - window, t]; missing without any."""
    rate = pd.Series(np.nan, index=rows.index)
    for _, part in rows.groupby(key, observed=True):
        times, total = part["scheduled"].to_numpy(), np.append(0, part["late"].cumsum())
        newest = np.searchsorted(times, times - DELAY, side="right")
        oldest = np.searchsorted(times, times - DELAY - window.to_timedelta64(), side="right")
        count = newest - oldest
        rate[part.index] = np.where(count > 0, (total[newest] - total[oldest]) / np.maximum(count, 1), np.nan)
    return rate


def score_by_month(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Fit on January and February with the outcomes known on 1 March, and score each later month."""
    features = [*NUMERIC, *CATEGORICAL, *(c for c in rows.columns if c.startswith("late_"))]
    train = rows["scheduled"] + DELAY <= TRAIN_UNTIL
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", early_stopping=False, random_state=0)
    model.fit(rows.loc[train, features], rows.loc[train, "late"])
    later = rows[rows["scheduled"] >= TRAIN_UNTIL]
    months = []
    for month, part in later.groupby(later["scheduled"].dt.to_period("M")):
        p = model.predict_proba(part[features])[:, 1]
        scores = {"log_loss": log_loss(part["late"], p), "auc": roc_auc_score(part["late"], p)}
        months.append({"month": str(month), **{name: float(value) for name, value in scores.items()}})
    return months


if __name__ == "__main__":
    main()
