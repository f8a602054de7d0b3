"""The base class of sources, with config keys and rows, and the table that a function returns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from trueup.adapters.sources.port import SourcePort, check_columns, in_window, span_by_time
from trueup.config.own_code import importable
from trueup.config.sections.ingest import IngestConfig, SourceConfig
from trueup.domain.data.clock import Span
from trueup.domain.data.moments import event_times
from trueup.errors import SourceError, TrueupError

Rows = Callable[[datetime | None, datetime | None], pd.DataFrame]


class Source(SourceConfig):
    """A source. Fields are its config keys. One of your own defines `rows`, and may define `extent`.

    The `kind` of a config names a subclass: one of the library by its name in `trueup.config.sections.ingest`, one of your
    own as `module:Class`.
    """

    def rows(self, start: datetime | None, end: datetime | None) -> pd.DataFrame:
        """Rows of [start, end), where None is an open side; rows outside are left out, so more may be returned."""
        raise NotImplementedError(f"define rows(start, end) in {type(self).__name__}")

    def extent(self) -> tuple[datetime, datetime] | None:
        """The first and the last event time, or None without rows. Here: of all rows."""
        raise NotImplementedError

    def open(self, reading: IngestConfig, root: Path) -> SourcePort:
        """The table that the stages read; relative paths start at `root`, the folder of the configs."""
        extent = None if type(self).extent is Source.extent else self.extent
        return FunctionTable(f"source {self.kind}", self.rows, reading, root, extent)


class FunctionTable(SourcePort):
    """The result of `function(start, end)`, without rows outside the window; without `extent` everything is read."""

    def __init__(self, name: str, function: Rows, config: IngestConfig, root: Path, extent: Any = None) -> None:
        self.name, self._function, self._config, self._root, self._extent = name, function, config, root, extent

    def columns(self) -> list[str]:
        return list(self._frame(None, None, ()).columns)

    def read(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, text: Collection[str] = ()
    ) -> pd.DataFrame:
        del text  # a DataFrame has types
        frame = self._frame(start, end, columns or ())
        if columns is not None:
            frame = frame[list(dict.fromkeys([self._config.time, *columns]))]
        rows = in_window(frame, self._config, start, end, self.name)
        return rows if columns is None else rows[list(columns)]

    def everything(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._call(self._function, None, None)
        self._require_frame(frame, columns or ())
        return _numbered(frame if columns is None else frame[list(columns)])

    def span(self) -> Span | None:
        if not callable(self._extent):
            times = self._frame(None, None, ())[self._config.time]
            return span_by_time(times, pd.Series(1, times.index), self._config, self.name)
        first_and_last = self._call(self._extent)
        if first_and_last is None:
            return None
        try:
            first, last = first_and_last
        except (TypeError, ValueError):
            raise SourceError(
                f"{self.name}: its extent returned {first_and_last!r}; return (first, last) or None"
            ) from None
        ends = event_times(
            pd.Series([first, last], dtype=object, name="extent"), self._config, f"{self.name}: ingest.time"
        )
        return Span(ends.min().to_pydatetime(), ends.max().to_pydatetime()) if ends.notna().any() else None

    def _frame(self, start: datetime | None, end: datetime | None, needed: Sequence[str]) -> pd.DataFrame:
        frame: pd.DataFrame = self._call(self._function, start, end)
        self._require_frame(frame, [self._config.time, *needed])
        return _numbered(frame)

    def _require_frame(self, frame: Any, needed: Sequence[str]) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise SourceError(
                f"{self.name}: returned {type(frame).__name__} and not a DataFrame; return a pandas DataFrame"
            )
        check_columns([str(c) for c in frame.columns], needed, self.name)

    def _call(self, function: Callable[..., Any], *arguments: datetime | None) -> Any:
        try:
            with importable(self._root):
                return function(*arguments)
        except TrueupError:
            raise  # of the function itself, such as SourceUnavailable
        except Exception as error:
            raise SourceError(
                f"{self.name}: raised {type(error).__name__}: {error}; fix the function, then run again"
            ) from error


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """The same values with a fresh index. They are not copied, which would hold the batch a second time."""
    rows = frame.copy(deep=False)
    rows.index = pd.RangeIndex(len(frame))
    return rows
