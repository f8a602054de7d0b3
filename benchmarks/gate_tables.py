"""Real tables for `benchmarks/gates.py`: the flights, and the tables of a folder, as rows with a calendar of attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.gate_streams import CHOOSING, REPORTED, Data
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.learning import defaults

_DAY = np.timedelta64(1, "D")


def tables(folder: Path | None) -> Iterator[tuple[str, Callable[[], Data]]]:
    """The available tables, each with its reader; the flights come with the project."""
    yield "flights", flights
    for name, (file, read) in _TABLES.items():
        if folder is not None and (path := folder / file).is_file():
            yield name, lambda read=read, path=path: read(pd.read_csv(path))


def missing(folder: Path | None) -> list[str]:
    """Names of missing tables."""
    return [name for name, (file, _) in _TABLES.items() if folder is None or not (folder / file).is_file()]


def flights() -> Data:
    """A sixth of the flights of `configs/flight_delays.yaml`, in periods of 28 days; blocks are days.

    The history features are left out: they would have to be computed anew for each cut-off.
    """
    from configs import nycflights

    rows = nycflights.flights(datetime(2013, 1, 1), datetime(2013, 12, 31)).dropna(subset=["arr_delay"]).iloc[::6]
    rows = rows.reset_index(drop=True)
    numeric = (
        "sched_dep_minute", "distance", "planned_minutes", "planned_speed", "departures_hour", "departures_3h",
        "humid", "wind_north", "wind_east", "gust_max_6h", "gust_max_today", "precip_3h", "precip_today",
        "visib_min_3h", "visib_min_today", "pressure_change_3h",
    )  # fmt: skip
    days = (rows["scheduled"].to_numpy() - np.datetime64("2013-01-01")) // _DAY
    edges = np.arange(0, 365, 28)
    return _data("flights", REPORTED, Task.BINARY, rows, (rows["arr_delay"] > 15).astype(int), days,
                 edges, 2, FeatureSchema(numeric, ("carrier", "origin")))  # fmt: skip


def _bike(rows: pd.DataFrame, trailing: int | None) -> Data:
    time = pd.to_datetime(rows["timestamp"])
    days, edges = _months(time)
    schema = FeatureSchema(
        ("hr", "temp", "atemp", "hum", "windspeed", "weekday", "season", "weathersit", "workingday", "holiday"), ()
    )
    name, half = ("bike, 6 months", CHOOSING) if trailing else ("bike", REPORTED)
    return _data(name, half, Task.REGRESSION, rows, rows["cnt"], days, edges, 6, schema, trailing)


def _elec2(rows: pd.DataFrame, trailing: int | None) -> Data:
    days, edges = _months(pd.to_datetime(rows["timestamp"]))
    schema = FeatureSchema(("day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"), ())
    name, half = ("elec2, 3 months", REPORTED) if trailing else ("elec2", CHOOSING)
    return _data(name, half, Task.BINARY, rows, rows["class"].astype(int), days, edges, 6, schema, trailing)


def _noaa(rows: pd.DataFrame) -> Data:
    block = rows["seq"].to_numpy() // 32
    edges = np.arange(0, block[-1] + 1, 28)
    schema = FeatureSchema(tuple(f"feat_{i}" for i in range(1, 9)), ())
    return _data("noaa", CHOOSING, Task.BINARY, rows, rows["target"].astype(int), block, edges, 4, schema, delay=0)


def _chicago(rows: pd.DataFrame) -> Data:
    time = pd.to_datetime(rows["date"])
    block = ((time - time.min()) // pd.Timedelta(days=7)).to_numpy()
    edges = np.arange(0, block[-1] + 1, 26)
    rows = rows.assign(weekday=time.dt.dayofweek, month=time.dt.month, day=time.dt.dayofyear)
    numeric = tuple(c for c in rows.select_dtypes("number").columns if c != "ridership")
    return _data(
        "chicago", REPORTED, Task.REGRESSION, rows, rows["ridership"], block, edges, 6, FeatureSchema(numeric, ())
    )


def _kc(rows: pd.DataFrame) -> Data:
    time = pd.to_datetime(rows["date"])
    rows = rows.assign(time=time).sort_values("time", kind="stable", ignore_index=True)
    rows["sqft_basement"] = pd.to_numeric(rows["sqft_basement"], errors="coerce")
    days, edges = _months(rows["time"])
    numeric = tuple(c for c in rows.select_dtypes("number").columns if c not in {"id", "price", "zipcode"})
    return _data("kc", CHOOSING, Task.REGRESSION, rows, rows["price"], days, edges, 3, FeatureSchema(numeric, ()))


_TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], Data]]] = {
    "bike": ("bike_sharing_hourly.csv.gz", lambda rows: _bike(rows, None)),
    "bike, 6 months": ("bike_sharing_hourly.csv.gz", lambda rows: _bike(rows, 6)),
    "elec2": ("elec2.csv.gz", lambda rows: _elec2(rows, None)),
    "elec2, 3 months": ("elec2.csv.gz", lambda rows: _elec2(rows, 3)),
    "noaa": ("noaa_weather.csv.gz", _noaa),
    "chicago": ("chicago_l_ridership.csv.gz", _chicago),
    "kc": ("kc_house.csv.gz", _kc),
}


def _months(time: pd.Series) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The day of each row, and the days on which months begin; the last is the end."""
    start = time.min().normalize()
    days = ((time - start) // pd.Timedelta(days=1)).to_numpy()
    firsts = pd.date_range(start.replace(day=1) + pd.offsets.MonthBegin(1), time.max(), freq="MS")
    return days, np.asarray([0, *((firsts - start).days)], dtype=np.intp)


def _data(
    name: str, half: str, task: Task, rows: pd.DataFrame, y: pd.Series, block: NDArray[np.intp],
    edges: NDArray[np.intp], first: int, schema: FeatureSchema, trailing: int | None = None, delay: int = 1,
) -> Data:  # fmt: skip
    """Leave out the rows after the last edge, and use the shipped parameters."""
    kept = block < edges[-1]
    columns = [*schema.numeric, *schema.categorical]
    return Data(
        name, "table", half, task, rows.loc[kept, columns].reset_index(drop=True), y[kept].to_numpy(),
        np.asarray(block[kept], dtype=np.intp), edges, first, schema, "gradient_boosting",
        defaults("gradient_boosting", task), delay, trailing,
    )  # fmt: skip
