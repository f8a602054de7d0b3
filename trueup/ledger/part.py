"""The base of all parts of a ledger entry, and the span of event time that many of them are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from trueup.domain.types import Window

Plain = dict[str, Any]


class Part(BaseModel):
    """A part of a record. Keys that this version does not know are kept and written again."""

    model_config = ConfigDict(frozen=True, extra="allow", validate_by_name=True, validate_by_alias=True)

    def plain(self) -> Plain:
        """The keys that were set, as the ledger writes them."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class Span(Part):
    """A half-open span of event time."""

    start: datetime
    end: datetime

    @property
    def window(self) -> Window:
        """The span as a window."""
        return Window(self.start, self.end)
