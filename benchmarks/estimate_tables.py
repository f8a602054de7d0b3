"""Champions with gate and batches for `benchmarks/estimates.py`: NannyML's data sets and the tables of other people.

NannyML's come from its wheel, with the predictions of its authors' models. For the others a model is fitted on the first
rows, the gate follows, and then the batches.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.gate_streams import Data
from benchmarks.gate_tables import tables
from trueup.config.tasks import Task

_DAY = timedelta(days=1)
_FOLDER = "nannyml/datasets/data/"
_CLASSES = ("prepaid_card", "highstreet_card", "upmarket_card")


@dataclass(frozen=True, eq=False)
class Rows:
    """Labels (n,), predictions (n,) or (n, k) and times (n,)."""

    y: Any
    p: Any
    time: Any


@dataclass(frozen=True, eq=False)
class Case:
    """A champion's gate and the batches after it, in order of time."""

    name: str
    task: Task
    gate: Rows
    batches: Sequence[Rows]
    block: timedelta = _DAY
    classes: Sequence[str] | None = None


def wheel(folder: Path) -> Path | None:
    """NannyML's wheel in a folder."""
    return next(iter(sorted(folder.glob("nannyml-*.whl"))), None)


def car_loans(path: Path) -> Case:
    """50,000 loans with labels as the gate, 50,000 in ten batches. The inputs move in the sixth."""
    reference, later = (csv_of(path, f"synthetic_car_loan_{name}") for name in ("reference", "analysis"))
    later["repaid"] = csv_of(path, "synthetic_car_loan_analysis_target")["repaid"]
    return Case("car loans", Task.BINARY, *_cut(reference, later, 5_000, "repaid", ["y_pred_proba"]))


def cards(path: Path) -> Case:
    """60,000 customers with labels, 60,000 in ten batches, three classes. Inputs and relation change in the sixth."""
    reference, later = (csv_of(path, f"mc_{name}") for name in ("reference", "analysis"))
    later["y_true"] = csv_of(path, "mc_analysis_gt")["y_true"]
    columns = [f"y_pred_proba_{c}" for c in _CLASSES]
    return Case("cards", Task.MULTICLASS, *_cut(reference, later, 6_000, "y_true", columns), classes=_CLASSES)


def houses(path: Path) -> Case:
    """California's districts, one an hour by region, in batches of 720. The class: a value above the median."""
    reference, later = (csv_of(path, f"california_housing_{name}") for name in ("reference", "analysis"))
    later["clf_target"] = csv_of(path, "california_housing_analysis_gt")["clf_target"]
    return Case("houses", Task.BINARY, *_cut(reference, later, 720, "clf_target", ["y_pred_proba"]))


def employment(path: Path) -> Case:
    """People of Massachusetts by year of the American Community Survey, 2015 with labels. The class: employed.

    Rows have no date in the year, so they are spread over it in their order.
    """
    with zipfile.ZipFile(path) as files:
        reference, later, target = (
            pd.read_parquet(io.BytesIO(files.read(f"{_FOLDER}employment_MA_{name}.pq")))
            for name in ("reference", "analysis", "analysis_target")
        )
    later = later.merge(target, on="id")

    def spread(rows: pd.DataFrame) -> Rows:
        seconds = (np.arange(len(rows)) * (364 * 86_400 / len(rows))).astype("timedelta64[s]")
        start = np.datetime64(f"{rows['year'].iloc[0]:.0f}-01-01", "us")
        return Rows(rows["employed"].to_numpy(), rows["predicted_probability"].to_numpy(), start + seconds)

    return Case("employment", Task.BINARY, spread(reference), [spread(rows) for _, rows in later.groupby("year")])


def own_models(folder: Path | None) -> Iterator[Case]:
    """The flights and the tables of a folder with two classes, each with a model that saw its first periods."""
    for name, read in tables(folder):
        if name in ("flights", "elec2", "noaa"):
            yield _case(name, read())
    if folder is not None and (path := folder / "bike_sharing_hourly.csv.gz").is_file():
        yield _bikes(pd.read_csv(path))


def demo(place: Path) -> Iterator[Case]:
    """The champions of a home of `trueup demo`.

    The first one predicts all months as the frozen model; each one, the months that it served together.
    """
    from trueup.config.load import load_model
    from trueup.config.settings import Settings
    from trueup.domain.types import EVENT_TIME, LABEL
    from trueup.home import Home
    from trueup.model import Champion, Model, champion_of

    home = Home(Settings(home=place, configs=Path("configs").resolve()))
    model = Model(load_model(home.configs, "flight_delays"), home)
    end = pd.Timestamp("2014-01-01").to_pydatetime()
    first = model.first_champion()
    assert first is not None, f"{place} has no champion of flight_delays"

    def rows(of: pd.DataFrame, prediction: str) -> Rows:
        known = of[of[LABEL].notna()]
        return Rows(known[LABEL].astype(int).to_numpy(), known[prediction].to_numpy(), known[EVENT_TIME].to_numpy())

    def gate(champion: Champion) -> Rows:
        return rows(home.store.read_evaluation(champion.evaluation_path), "p_challenger")

    months = [model.scored_labels(b, end, f"shadow:{first.version}") for b in model.batches(end)]
    yield Case("frozen", Task.BINARY, gate(first), [rows(m, "prediction") for m in months if len(m)])
    newest = home.ledger.champion("flight_delays")
    epochs = range(1, newest.epoch + 1 if newest else 1)
    records = [r for epoch in epochs if (r := home.ledger.champion("flight_delays", epoch)) is not None]
    champions = {r.version: champion_of(r) for r in records}
    served = pd.concat([m for b in model.batches(end) if len(m := model.scored_labels(b, end))])
    for version, own in served.groupby("model_version"):
        yield Case(f"version {version}", Task.BINARY, gate(champions[version]), [rows(own, "prediction")])
    home.close()


def _case(name: str, data: Data) -> Case:
    from sklearn.ensemble import HistGradientBoostingClassifier

    at = data.edges[data.first]
    start = (data.edges[data.first - 1] + at) // 2 if data.first == 2 else data.edges[data.first - 1]
    X = data.X.astype(dict.fromkeys(data.schema.categorical, "category"))
    model = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.05, categorical_features="from_dtype", random_state=0
    )
    model.fit(X[data.block < start - data.delay], data.y[data.block < start - data.delay])
    p = model.predict_proba(X)[:, 1]
    time = np.datetime64("2000-01-01", "us") + data.block.astype("timedelta64[D]")

    def rows(low: int, high: int) -> Rows:
        there = (data.block >= low) & (data.block < high)
        return Rows(data.y[there], p[there], time[there])

    later = [rows(a, b) for a, b in zip(data.edges[data.first :], data.edges[data.first + 1 :], strict=False)]
    return Case(name, Task.BINARY, rows(start, at), later)


def _bikes(rows: pd.DataFrame) -> Case:
    """By the hour and month. The class: busier than the median of the first half-year."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    time = pd.to_datetime(rows["timestamp"]).to_numpy().astype("datetime64[us]")
    columns = ["hr", "temp", "atemp", "hum", "windspeed", "weekday", "weathersit", "workingday", "holiday"]
    known, gate = time < np.datetime64("2011-07-01"), time < np.datetime64("2011-08-01")
    y = (rows["cnt"] > rows.loc[known, "cnt"].median()).astype(int).to_numpy()
    model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, random_state=0)
    p = model.fit(rows.loc[known, columns], y[known]).predict_proba(rows[columns])[:, 1]
    months = time.astype("datetime64[M]")
    later = [Rows(y[months == m], p[months == m], time[months == m]) for m in np.unique(months[~gate])]
    there = gate & ~known
    return Case("bikes", Task.BINARY, Rows(y[there], p[there], time[there]), later)


def csv_of(path: Path, name: str) -> pd.DataFrame:
    """A CSV of NannyML's wheel."""
    with zipfile.ZipFile(path) as files, files.open(f"{_FOLDER}{name}.csv") as file:
        return pd.read_csv(file)


def _cut(
    reference: pd.DataFrame, later: pd.DataFrame, size: int, label: str, columns: Sequence[str]
) -> tuple[Rows, list[Rows]]:
    """The gate, and the later rows in batches of a size."""

    def rows(of: pd.DataFrame) -> Rows:
        p = of[list(columns)].to_numpy(dtype=np.float64)
        return Rows(
            of[label].to_numpy(), p[:, 0] if len(columns) == 1 else p, pd.to_datetime(of["timestamp"]).to_numpy()
        )

    return rows(reference), [rows(later.iloc[at : at + size]) for at in range(0, len(later), size)]
