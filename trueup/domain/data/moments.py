"""Parses columns as times without zone, in the zone of the config, and marks the repeated hour."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.sections.ingest import IngestConfig
from trueup.domain.data.sentinels import are_sentinels, sentinels_of
from trueup.domain.data.time_formats import local_times, read_texts, second_pass
from trueup.domain.data.values import as_numbers, as_text, is_time
from trueup.errors import SourceError

TIME_UNIT: Final = "datetime64[us]"


def event_times(column: pd.Series[Any], config: IngestConfig, place: str) -> pd.Series[Any]:
    """Parse the column of a row's event time by the config: zone, format and missing values."""
    return event_moments(column, config, place)[0]


def event_moments(
    column: pd.Series[Any], config: IngestConfig, place: str
) -> tuple[pd.Series[Any], npt.NDArray[np.bool_]]:
    """Parse like `event_times`, and mark the times in the second pass of a repeated hour."""
    if values := sentinels_of(config.time, config):
        column = column.mask(pd.Series(are_sentinels(column, values), column.index))
    return parse_moments(column, config.timezone, place, config.time_format)


def parse_times(column: pd.Series[Any], zone: str, place: str, time_format: str | None = None) -> pd.Series[Any]:
    """Parse a column as times: datetime64[us] without zone, in `zone`; missing stays NaT.

    Times with a zone are converted to `zone`, times without are taken to be in it. Text must be in `time_format` (of
    strftime, or a way to count time) or ISO 8601, with an optional UTC suffix. Other forms are refused, because the
    order of day and month would be a guess that may change from batch to batch. Numbers are refused too, unless a
    format defines them. Raises SourceError, beginning with `place`.

    >>> parse_times(pd.Series(["2013-07-01 05:00", "2013-07-01T05:00Z"]), "America/New_York", "time").dt.hour.tolist()
    [5, 1]
    >>> parse_times(pd.Series(["02/01/2013"]), "UTC", "time", "%d/%m/%Y").dt.day.tolist()
    [2]
    """
    return parse_moments(column, zone, place, time_format)[0]


def parse_moments(
    column: pd.Series[Any], zone: str, place: str, time_format: str | None = None
) -> tuple[pd.Series[Any], npt.NDArray[np.bool_]]:
    """Parse a column like `parse_times`, and mark the times in the second pass of a repeated hour."""
    if not dtypes.is_datetime64_any_dtype(column):
        return _parse_text_times(column, zone, place, time_format)
    if column.dt.tz is None:
        return column.astype(TIME_UNIT), np.zeros(len(column), dtype=bool)
    there = column.dt.tz_convert(zone)
    return there.dt.tz_localize(None).astype(TIME_UNIT), second_pass(there)


def _parse_text_times(
    column: pd.Series[Any], zone: str, place: str, time_format: str | None
) -> tuple[pd.Series[Any], npt.NDArray[np.bool_]]:
    if is_time(column):
        time_format = None  # a column of single time objects
    if time_format is None and (numbers := as_numbers(column)) is not None and numbers.notna().any():
        raise SourceError(
            f"{place}: '{column.name}' holds numbers such as {numbers.dropna().iloc[0]:g}, not times; "
            "convert them in the source's query, or set their format in ingest.time_format"
        )
    codes, values = pd.factorize(as_text(column))
    texts = pd.Series(values, dtype=object).astype(str).str.strip()
    moments, zoned = read_texts(texts, time_format)
    if (bad := moments.isna().to_numpy()).any():
        mend = (
            f"they are not of the form {time_format!r}: correct ingest.time_format"
            if time_format
            else "write them as 2013-01-31 05:00:00, set their format in ingest.time_format,"
        )
        raise SourceError(
            f"{place}: {int(bad[codes[codes >= 0]].sum())} of {len(column)} values of '{column.name}' are not times, "
            f"the first is {values[int(bad.argmax())]!r}; {mend} or convert them in the source's query"
        )
    parsed = local_times(moments, zoned, zone).astype(TIME_UNIT)
    second = np.append(second_pass(moments.dt.tz_convert(zone)) & zoned.to_numpy(), False)
    missing = np.array([np.datetime64("NaT")], dtype=TIME_UNIT)
    times = pd.Series(np.concatenate([parsed.to_numpy(), missing])[codes], index=column.index, name=column.name)
    return times, second[codes]
