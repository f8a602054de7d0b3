"""The checks of a batch: each is an expectation of Great Expectations with the outcome of its failure.

This module does not run Great Expectations (GX). Results that landing's counts already determine are stored with their
check, because GX takes 3 to 10 ms per expectation, and many checks always run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.schema import ModelConfig
from trueup.config.sections.validation import Arguments
from trueup.domain.types import Facts, Figures

NUMBER_TYPES: Final = ["int64", "int32", "int16", "int8", "float64", "float32", "bool"]
_LABEL_WIDTH: Final = 120
_GLANCE: Final = 1000  # rows that nearly always show whether a column varies


class LargeBatch(Protocol):
    """Rows that are not in memory whole: one column, or some rows, are read at a time."""

    def __len__(self) -> int: ...

    def __contains__(self, name: object) -> bool: ...

    def __getitem__(self, name: str) -> pd.Series[Any]: ...

    def only(self, columns: Sequence[str]) -> pd.DataFrame:
        """All rows of some columns."""
        ...

    def parts(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns in frames, each with a RangeIndex; the types are those of all rows."""
        ...


Rows: TypeAlias = pd.DataFrame | LargeBatch


class Outcome(StrEnum):
    """The consequence of a failed check."""

    QUARANTINE = "quarantine"  # the failing rows go to quarantine
    BROKEN = "broken"  # the batch is broken, if it has enough rows
    MALFORMED = "malformed"  # the batch is broken, with any number of rows
    INCONCLUSIVE = "inconclusive"  # the batch cannot be judged
    WARNING = "warning"  # only reported


@dataclass(frozen=True)
class Result:
    """The result of one check.

    `figures` are those of GX, as plain values, with failing values as examples only. `failing` are the positions of the
    failing rows, if the check is about rows. `ran` is false if a column was unusable.
    """

    success: bool
    figures: Figures = field(default_factory=dict)
    problem: str = ""  # reason why it could not be checked
    ran: bool = True
    failing: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


_VALUES: Final = frozenset({"partial_unexpected_list", "partial_unexpected_counts", "observed_value", "details"})


def without_values(result: Result) -> Result:
    """The result without values of the column: only counts and shares are left."""
    return replace(result, figures={k: v for k, v in result.figures.items() if k not in _VALUES})


@dataclass(frozen=True)
class CheckResult:
    """A check and its result, as a home keeps them."""

    expectation: str
    type: str
    kwargs: Arguments
    outcome: Outcome
    success: bool
    figures: Figures
    problem: str
    ran: bool


@dataclass(frozen=True)
class Check:
    """One expectation, and the outcome of its failure. `result` is set if that is already determined."""

    type: str
    kwargs: Arguments
    outcome: Outcome
    words: str = ""  # message of a failure; by default from the figures
    result: Result | None = None

    @property
    def columns(self) -> list[str]:
        """The named columns; none for an expectation about the table."""
        one = [self.kwargs[k] for k in ("column", "column_A", "column_B") if k in self.kwargs]
        return [*one, *self.kwargs.get("column_list", [])]

    @property
    def label(self) -> str:
        """Its name in reasons and beside quarantined rows: type, columns, arguments.

        >>> Check("expect_column_values_to_be_between", {"column": "distance", "min_value": 0}, Outcome.BROKEN).label
        'expect_column_values_to_be_between(distance, min_value=0)'
        """
        placed = ("column", "column_A", "column_B", "column_list")
        arguments = ", ".join([*self.columns, *(f"{k}={v}" for k, v in self.kwargs.items() if k not in placed)])
        short = arguments if len(arguments) <= _LABEL_WIDTH else arguments[: _LABEL_WIDTH - 3] + "..."
        return f"{self.type}({short})"

    def message(self, result: Result) -> str:
        if result.problem:
            return f"{self.label} could not be checked: {result.problem}"
        if self.words:
            return self.words
        figures = result.figures
        if count := figures.get("unexpected_count"):
            values = [str(v) for v in figures.get("partial_unexpected_list", []) if v is not None]
            examples = ", ".join(list(dict.fromkeys(values))[:3])
            such = f", such as {examples}" if examples else ""
            of = (
                f"{count:,} of {figures['element_count']:,} rows"
                if "element_count" in figures
                else f"{count:,} value{'s'[: count - 1]}"
            )
            return f"{self.label} fails for {of}{such}"
        observed = figures.get("observed_value")
        return f"{self.label} fails" + ("" if observed is None else f": observed {observed}")


def always(
    rows: Rows, config: ModelConfig, facts: Facts, absent: Sequence[str], text: Sequence[str]
) -> Iterator[Check]:
    """The checks that run for every config.

    `facts` are the counts of landing, `absent` the wanted columns that are missing, `text` the columns that should be
    numeric and are not.
    """
    yield from _about_table(rows, config, facts, absent)
    present = [c for c in config.input_columns if c not in absent]
    for column in (c for c in present if c in {*config.ingest.key, config.ingest.time}):
        result = None if rows[column].hasnans else _none_unexpected(rows)
        yield Check("expect_column_values_to_not_be_null", {"column": column}, Outcome.QUARANTINE, result=result)
    odd = facts.get("mistyped", {})
    for column in text:
        such = "".join(f", such as {', '.join(map(repr, odd[name]['examples']))}" for name in odd if name == column)
        words = (
            f"{column} must hold numbers and holds {_kind(rows[column])}{such}; correct the source, list the values that mean "
            "missing in ingest.missing, or read it with ingest.coerce"
        )
        kwargs = {"column": column, "type_list": NUMBER_TYPES}
        yield Check("expect_column_values_to_be_in_type_list", kwargs, Outcome.MALFORMED, words)
    for column in (c for c in odd if c in present and c not in text):
        yield _of_another_kind(column, odd[column]["kind"], odd[column]["examples"])
    for column in present:
        if dtypes.is_float_dtype(rows[column]):
            result = None if np.isinf(rows[column].to_numpy()).any() else _none_unexpected(rows)
            infinite: Arguments = {"column": column, "value_set": [math.inf, -math.inf]}
            yield Check("expect_column_values_to_not_be_in_set", infinite, Outcome.QUARANTINE, result=result)
    features, limits = config.features, config.validation.max_missing
    for column in dict.fromkeys([*features.numeric, *features.categorical, *features.calendar, *limits]):
        if column in present and column not in text:
            yield from _about_values(rows[column], column, limits.get(column))


def _about_table(rows: Rows, config: ModelConfig, facts: Facts, absent: Sequence[str]) -> Iterator[Check]:
    least, wanted = config.validation.min_rows, config.input_columns
    words = f"only {len(rows):,} rows; at least {least:,} (validate.min_rows) are needed to judge a batch"
    result = Result(True, {"observed_value": len(rows)}) if len(rows) >= least else None
    yield Check("expect_table_row_count_to_be_between", {"min_value": least}, Outcome.INCONCLUSIVE, words, result)
    words = f"columns missing from the source: {', '.join(absent)}; add them, or remove them from the config"
    kwargs: Arguments = {"column_set": wanted, "exact_match": False}
    result = None if absent else Result(True, {"observed_value": wanted})
    yield Check("expect_table_columns_to_match_set", kwargs, Outcome.MALFORMED, words, result)
    if extra := list(facts.get("extra_failed", [])):
        # The rows only have the config's columns; landing has seen the source's other ones.
        words = f"columns that the config does not name: {', '.join(extra)}; ingest.extra_columns is fail"
        figures = {"observed_value": [*wanted, *extra], "details": {"mismatched": {"unexpected": extra}}}
        kwargs = {"column_set": wanted, "exact_match": True}
        yield Check("expect_table_columns_to_match_set", kwargs, Outcome.MALFORMED, words, Result(False, figures))


def _of_another_kind(column: str, kind: str, examples: Sequence[str]) -> Check:
    """Values of another type than in the first batch, which landing has compared."""
    words = (
        f"{column} is of type {kind} in this dataset, and holds others, such as {', '.join(map(repr, examples))}; correct the "
        f"source, or declare its type in ingest.types, as in {{{column}: text}}"
    )
    figures = {"observed_value": [*examples]}
    kwargs = {"column": column, "type_": kind}
    return Check("expect_column_values_to_be_of_type", kwargs, Outcome.MALFORMED, words, Result(False, figures))


def _about_values(values: pd.Series[Any], column: str, limit: float | None) -> Iterator[Check]:
    """A feature has values that vary; `validate.max_missing` limits how many may be missing.

    A column without any value breaks a batch only if the config sets a limit, because models work without it.
    """
    missing = int(values.isna().sum())
    share = missing / len(values)
    empty = missing == len(values)
    kwargs: Arguments = {"column": column, "min_value": 0, "strict_min": True}
    if limit is not None:
        kwargs = {"column": column, "min_value": round(1 - limit, 12)}  # 1 - 0.7 is slightly above 0.3
    words = f"{column}: {share:.1%} of the values are missing, and {limit or 0:.1%} (validate.max_missing) may be"
    words = f"{column} has no values at all" if empty else words
    fine = not empty if limit is None else share <= limit
    result = Result(True, {"observed_value": 1 - share}) if fine else None
    kind = "expect_column_proportion_of_non_null_values_to_be_between"
    yield Check(kind, kwargs, Outcome.WARNING if limit is None else Outcome.BROKEN, words, result)
    if not empty and len(values) > 1:
        constant = values.iloc[:_GLANCE].nunique() <= 1 and values.nunique() <= 1
        words = f"{column} has the same value in all rows"
        kwargs = {"column": column, "min_value": 2}
        result = None if constant else Result(True, {"observed_value": "2 or more"})
        yield Check("expect_column_unique_value_count_to_be_between", kwargs, Outcome.WARNING, words, result)


def _none_unexpected(rows: Rows) -> Result:
    """The result of a passed expectation about single values, in GX's form."""
    return Result(True, none_unexpected(len(rows)))


def none_unexpected(count: int) -> Figures:
    """The figures of a passed expectation about single values, in GX's form."""
    return {"element_count": count, "unexpected_count": 0, "unexpected_percent": 0.0}


def _kind(values: pd.Series[Any]) -> str:
    return "text" if dtypes.is_object_dtype(values) or dtypes.is_string_dtype(values) else str(values.dtype)
