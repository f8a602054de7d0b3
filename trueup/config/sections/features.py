"""The section `features`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from trueup.config.durations import Span
from trueup.config.section import Dotted, Name, Section


class HistoryConfig(Section):
    """An aggregate of earlier rows, as known at a row's own time."""

    name: Name = Field(description="Prefix of the feature's name: `<name>_<keys>_<window>` and `..._n` for its count.")
    of: str = Field("label", description="`label`, or a numeric column, of the earlier rows.")
    aggregate: Literal["mean", "rate", "count"] = "mean"
    equals: str | int | float | bool | None = Field(
        None, description="For `rate`: the value whose share is taken; default 1."
    )
    by: list[list[str] | str] = Field(
        min_length=1, description="Key columns; each entry (a column, or a list of them) makes its own features."
    )
    counts: bool = Field(True, description="Whether the model also sees the count that each mean or rate rests on.")
    windows: list[Span] = Field(min_length=1, description="Trailing windows: labels that became known in (t - w, t].")


class FeaturesConfig(Section):
    """What the model sees."""

    numeric: list[str] = []
    categorical: list[str] = []
    calendar: dict[str, list[Literal["month", "day", "weekday", "hour", "minute_of_day", "day_of_year", "weekend"]]] = (
        Field(default={}, description="Per time column the calendar parts to take.")
    )
    history: list[HistoryConfig] = []
    custom: Dotted | None = Field(
        None,
        description="`module:function`; takes the landed rows, returns a frame of further numeric features with the same index. It sees no labels.",
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
        """The columns that features are made of; what a function of one's own reads beside them is in `ingest.keep`."""
        keys = [c for h in self.history for by in h.by for c in ([by] if isinstance(by, str) else by)]
        values = [h.of for h in self.history if h.of != "label"]
        return list(dict.fromkeys([*self.numeric, *self.categorical, *self.calendar, *keys, *values]))
