"""Running expectations in Great Expectations (GX): a frame and checks in, plain results out.

Importing GX takes seconds, so it happens where it is used, and a batch whose checks are all settled does not need it.
"""

from __future__ import annotations

import functools
import importlib
import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from types import ModuleType
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.adapters.great_expectations.checks import Check, Outcome, Result, none_unexpected

_EXAMPLES: Final = 20  # failing values that are kept
# What GX understands of a categorical column; for anything else it gets the values themselves.
_FOR_CATEGORIES: Final = ("_null", "_in_set", "_regex", "_regex_list", "_unique", "_unique_value_count_to_be_between")
_importing: Final = threading.Lock()


@functools.cache
def great_expectations() -> ModuleType:
    """Import Great Expectations; the deprecations that it meets on the way are not its users' to mend."""
    with _importing, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module("great_expectations")


@functools.cache
def implementations() -> dict[str, type[Any]]:
    """Give every expectation that GX has, by the name the config uses."""
    great_expectations()
    from great_expectations.expectations import registry

    names = registry.list_registered_expectation_implementations()
    return {name: registry.get_expectation_impl(name) for name in names}


def judges_values(kind: type[Any]) -> bool:
    """Say whether an expectation is about single values, pairs or records, so that it can name failing rows."""
    from great_expectations.expectations import expectation

    by_value = ("ColumnMapExpectation", "ColumnPairMapExpectation", "MulticolumnMapExpectation")
    return issubclass(kind, tuple(getattr(expectation, name) for name in by_value))


def ask(rows: pd.DataFrame, columns: Sequence[str], checks: Mapping[int, Check]) -> dict[int, Result]:
    """Run the checks on the `columns` of the rows, a frame with a RangeIndex; safe in several threads at once.

    Where any failing value is a failure, pass or fail is enough to begin with, and failing rows are asked for only
    where there are some: on clean data that takes half the time of asking for everything.
    """
    frame = _views(rows, columns, checks)
    try:
        batch = _batch(frame)
        by_row = {i: c for i, c in checks.items() if c.outcome is Outcome.QUARANTINE}
        strict = {i: c for i, c in by_row.items() if "mostly" not in c.kwargs}
        results = _run(batch, strict, "BOOLEAN_ONLY")
        results = {i: Result(True, none_unexpected(len(rows))) if r.success else r for i, r in results.items()}
        results |= _run(batch, {i: c for i, c in checks.items() if i not in strict}, "BASIC")
        failed = {i: c for i, c in by_row.items() if not results[i].success and not results[i].problem}
        return results | _run(batch, failed, "COMPLETE")
    finally:
        # GX holds on to the last context made in the process, and so to the frame.
        frame.drop(columns=frame.columns, inplace=True)


def _run(batch: Any, checks: Mapping[int, Check], result_format: str) -> dict[int, Result]:
    """Validate a batch. What GX drops or cannot do has failed: nothing passes unchecked."""
    if not checks:
        return {}
    results = {i: Result(False, problem="Great Expectations gave no result") for i in checks}
    known = implementations()
    # Built here: from dicts, GX leaves out what it cannot build. And results come in an order of its own.
    expectations = [known[c.type](**c.kwargs, meta={"check": i}) for i, c in checks.items()]
    suite = great_expectations().ExpectationSuite(name="trueup", expectations=expectations)
    wanted = {
        "result_format": result_format,
        "return_unexpected_index_query": False,
        "partial_unexpected_count": _EXAMPLES,
    }
    for found in batch.validate(suite, result_format=wanted).results:
        results[found.expectation_config.meta["check"]] = _read(found)
    return results


def _read(found: Any) -> Result:
    """Take over one result; an error anywhere in it is a problem."""
    info = found.exception_info or {}
    errors = [info] if "raised_exception" in info else list(info.values())  # one, or one for each metric
    problem = "; ".join(dict.fromkeys(str(e["exception_message"]) for e in errors if e["raised_exception"]))
    figures = {k: plain(v) for k, v in found.result.items() if k != "unexpected_list" and "index" not in k}
    failing = np.asarray(found.result.get("unexpected_index_list") or [], dtype=np.int64)
    return Result(bool(found.success) and not problem, figures, problem, failing=failing)


def _batch(frame: pd.DataFrame) -> Any:
    """Put a frame before GX in a context of its own: threads that shared a validation got each other's verdicts."""
    gx = great_expectations()
    from great_expectations.data_context.types import base

    quiet = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=quiet)
    asset = context.data_sources.add_pandas("trueup").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("batch").get_batch({"dataframe": frame})


class _Views(pd.DataFrame):
    """A frame whose copies share its data: GX copies the whole frame for nearly each metric, and changes no copy."""

    @property
    def _constructor(self) -> type[_Views]:
        return _Views

    def copy(self, deep: bool | None = True) -> _Views:  # type: ignore[misc]  # noqa: ARG002
        return super().copy(deep=False)


def _views(rows: pd.DataFrame, columns: Sequence[str], checks: Mapping[int, Check]) -> _Views:
    """Give no more columns than the checks need, and copy none that suits GX as it is."""
    all_of_them = any(c.type.startswith("expect_table") or "row_condition" in c.kwargs for c in checks.values())
    named = {column for c in checks.values() for column in c.columns}
    kinds = {column: [c.type for c in checks.values() if column in c.columns] for column in columns}
    shown = {c: _suited(rows[c], kinds[c]) for c in columns if all_of_them or c in named}
    return _Views(shown, index=rows.index, copy=False)


def _suited(values: pd.Series[Any], kinds: Sequence[str]) -> pd.Series[Any]:
    """Bring a column to a type that GX can do `kinds` of expectations on.

    Of categories it understands little. Of numbers and times it is fast on 64 bits and on nanoseconds only: others it
    compares one by one, 150 times slower.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        fine = all(kind.endswith(_FOR_CATEGORIES) for kind in kinds)
        return values if fine else values.astype(values.cat.categories.dtype)
    if not any(kind.endswith("_values_to_be_between") for kind in kinds) or any("type" in kind for kind in kinds):
        return values
    if dtypes.is_datetime64_dtype(values):
        in_reach = values.min() > pd.Timestamp.min and values.max() < pd.Timestamp.max
        return values.astype("datetime64[ns]") if in_reach else values
    wide = {"f": np.float64, "i": np.int64}.get(values.dtype.kind)
    return values if wide is None else values.astype(wide, copy=False)


def plain(value: Any) -> Any:
    """Bring what GX and pandas give to values that JSON has; what is not finite becomes text.

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
