"""The section `validate`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from trueup.config.section import Section, Share

Arguments = dict[str, Any]  # of an expectation


class ExpectationConfig(Section):
    """One expectation of the Great Expectations suite."""

    type: str = Field(
        description="The expectation's name in Great Expectations, such as expect_column_values_to_be_between."
    )
    kwargs: Arguments = Field(default={}, description="Its arguments.")
    severity: Literal["critical", "warning"] = Field(
        "critical", description="A failed `warning` is reported and has no other effect."
    )
    level: Literal["row", "batch"] | None = Field(
        None,
        description="`row` moves the failing rows to quarantine, `batch` breaks the batch. Default: row for expectations about single values without `mostly`, else batch.",
    )


class ValidateConfig(Section):
    """The contract of a batch."""

    expectations: list[ExpectationConfig] = Field(
        min_length=1, description="At least one, because an empty suite would pass anything."
    )
    min_rows: int = Field(
        30, ge=1, description="A batch with fewer rows is inconclusive: it is kept and scored, but not diagnosed."
    )
    max_quarantined: Share = Field(
        0.05,
        description="A batch with a larger share of rows that cannot be used is broken: those in quarantine, without a key, or without a time. Up to three without a time, such as a line of totals, do not count.",
    )
    max_missing: dict[str, Share] = Field(
        default={},
        description="The largest share of missing values per column. The default for features is just below 1: not all may be missing.",
    )
