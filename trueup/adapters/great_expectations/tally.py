"""Adds up the results of an expectation on parts of a batch, to the result that Great Expectations (GX) has on all of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import numpy as np

from trueup.adapters.great_expectations.checks import Check, Result
from trueup.domain.types import Figures

EXAMPLES: Final = 20  # failing values to keep

# Expectations that judge each row by itself, so that their counts on parts add up to that on all rows.
BY_ROW: Final = frozenset(
    {
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_be_null",
        "expect_column_values_to_match_json_schema",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
    }
)


@dataclass(frozen=True)
class Seen:
    """The result of a check on some rows, with all failing values if GX was asked for them."""

    result: Result
    values: Sequence[Any] = ()


class Tally:
    """The results of one check on parts of a batch, added up one by one."""

    def __init__(self, check: Check) -> None:
        self._mostly = float(check.kwargs.get("mostly", 1))
        self._parts: list[Result] = []
        self._values: Counter[Any] = Counter()
        self._hashable = True

    def add(self, seen: Seen, rows: int) -> None:
        """Add a part, before which there are so many rows."""
        self._parts.append(replace(seen.result, failing=seen.result.failing + rows))
        try:
            self._values.update(tuple(v.values()) if isinstance(v, dict) else v for v in seen.values)
        except TypeError:
            self._hashable = False

    def result(self) -> Result:
        """The result on all rows: GX's own on a single part, else with the same figures as GX has."""
        if len(self._parts) == 1:
            return self._parts[0]
        if broken := next((part for part in self._parts if part.problem), None):
            return broken
        figures = self._figures()
        if not figures:  # GX was asked for success only
            return Result(all(part.success for part in self._parts))
        judged = figures["element_count"] - figures.get("missing_count", 0)
        success = not judged or (judged - figures["unexpected_count"]) / judged >= self._mostly
        return Result(success, figures, failing=np.concatenate([part.failing for part in self._parts]))

    def _figures(self) -> Figures:
        parts = [part.figures for part in self._parts]
        if not any(parts):
            return {}
        total, unexpected = (sum(part[name] for part in parts) for name in ("element_count", "unexpected_count"))
        missing = sum(part["missing_count"] for part in parts) if "missing_count" in parts[0] else None
        of_judged = _percent(unexpected, total - (missing or 0))
        figures: Figures = {"element_count": total, "unexpected_count": unexpected, "unexpected_percent": of_judged}
        if any("partial_unexpected_list" in part for part in parts):
            listed = [value for part in parts for value in part.get("partial_unexpected_list", [])]
            figures["partial_unexpected_list"] = listed[:EXAMPLES]
        if missing is not None:
            figures |= {
                "missing_count": missing,
                "missing_percent": _percent(missing, total),
                "unexpected_percent_total": _percent(unexpected, total),
                "unexpected_percent_nonmissing": of_judged,
            }
        if self._values and self._hashable:
            with suppress(TypeError):  # GX leaves them out, too, if they have no order
                figures["partial_unexpected_counts"] = self._commonest()
        return figures

    def _commonest(self) -> list[dict[str, Any]]:
        listed = sorted(self._values.most_common(EXAMPLES), key=lambda pair: (-pair[1], pair[0]))
        return [{"value": plain(value), "count": count} for value, count in listed]


def _percent(part: int, whole: int) -> float | None:
    return part / whole * 100 if whole else None


def plain(value: Any) -> Any:
    """Convert values of GX and pandas to JSON values; numbers that are not finite become text.

    >>> plain({"observed": np.float64(0.5), "seen": (np.int64(1), math.inf)})
    {'observed': 0.5, 'seen': [1, 'inf']}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value.isoformat() if isinstance(value, date) else str(value)
