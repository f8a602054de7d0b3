"""The section `features`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from trueup.config.durations import Span
from trueup.config.section import Dotted, Name, Section


class HistoryConfig(Section):
    """An aggregate of earlier rows, as known at a row's own time."""

    name: Name = Field(description="Prefix of the feature's name: `<name>_<keys>_<window>` and `..._n` for its count.")
    of: str = Field("label", description="The aggregated column of the earlier rows: `label`, or a numeric column.")
    aggregate: Literal["mean", "rate", "count"] = Field(
        "mean", description="The mean of the values, the share that equals `equals`, or the number of rows."
    )
    equals: str | int | float | bool | None = Field(
        None, description="For `rate`: the value that is counted; default 1."
    )
    by: list[list[str] | str] = Field(
        min_length=1, description="Key columns. Each entry (a column, or a list of columns) makes its own features."
    )
    counts: bool = Field(True, description="Whether the number of rows behind each mean or rate is a feature, too.")
    windows: list[Span] = Field(
        min_length=1, description="Trailing windows: they contain the labels that became known in (t - w, t]."
    )


class FeaturesConfig(Section):
    """The inputs of the model."""

    numeric: list[str] = Field(default=[], description="Columns with numbers.")
    categorical: list[str] = Field(default=[], description="Columns with categories; their values are text.")
    calendar: dict[str, list[Literal["month", "day", "weekday", "hour", "minute_of_day", "day_of_year", "weekend"]]] = (
        Field(default={}, description="The calendar parts to derive, per time column.")
    )
    history: list[HistoryConfig] = Field(default=[], description="Aggregates of earlier rows.")
    custom: Dotted | None = Field(
        None,
        description="`module:function`. The function takes the landed rows, without labels, and returns a DataFrame of further numeric features with the same index.",
    )

    @model_validator(mode="after")
    def _something(self) -> FeaturesConfig:
        if not (self.numeric or self.categorical or self.calendar or self.history or self.custom):
            raise ValueError("name at least one feature")
        if both := sorted(set(self.numeric) & set(self.categorical)):
            raise ValueError(f"{', '.join(both)}: numeric or categorical, not both")
        lists: list[list[Any]] = [self.numeric, self.categorical, *self.calendar.values()]
        if twice := sorted(c for named in lists for c in {*named} if named.count(c) > 1):
            raise ValueError(f"{', '.join(twice)}: named twice")
        return self

    @property
    def columns(self) -> list[str]:
        """Columns that the declared features are computed from. Columns of a custom function are in `ingest.keep`."""
        keys = [c for h in self.history for by in h.by for c in ([by] if isinstance(by, str) else by)]
        values = [h.of for h in self.history if h.of != "label"]
        return list(dict.fromkeys([*self.numeric, *self.categorical, *self.calendar, *keys, *values]))
