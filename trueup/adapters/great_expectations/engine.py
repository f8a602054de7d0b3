"""Runs expectations in Great Expectations (GX): takes a frame and checks, returns plain results.

Importing GX takes seconds, so it happens at first use, and a batch with determined results does not need it.
"""

from __future__ import annotations

import functools
import importlib
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.adapters.great_expectations.checks import Check, Outcome, Result, none_unexpected
from trueup.adapters.great_expectations.tally import EXAMPLES, Seen, Tally, plain
from trueup.imports import postponed, undisturbed, without

# Expectations that GX can run on a categorical column; others get the values themselves.
_FOR_CATEGORIES: Final = ("_null", "_in_set", "_regex", "_regex_list", "_unique", "_unique_value_count_to_be_between")
_CLOUDS: Final = ("boto3", "botocore", "google.auth", "google.cloud", "google.oauth2", "sqlalchemy_redshift")
_importing: Final = threading.Lock()


@functools.cache
def great_expectations() -> ModuleType:
    """Import Great Expectations without the deprecation warnings of its dependencies.

    It imports the clients of clouds where they are installed, and Altair for one kind of picture: 35 MiB.
    """
    with _importing, warnings.catch_warnings(), undisturbed(), without(*_CLOUDS), postponed("altair"):
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module("great_expectations")


@functools.cache
def implementations() -> dict[str, type[Any]]:
    """Every expectation of GX, by its name in the config."""
    great_expectations()
    from great_expectations.expectations import registry

    names = registry.list_registered_expectation_implementations()
    return {name: registry.get_expectation_impl(name) for name in names}


def judges_values(kind: type[Any]) -> bool:
    """Whether an expectation is about single values, pairs or records, so that it can name failing rows."""
    from great_expectations.expectations import expectation

    by_value = ("ColumnMapExpectation", "ColumnPairMapExpectation", "MulticolumnMapExpectation")
    return issubclass(kind, tuple(getattr(expectation, name) for name in by_value))


def ask(
    parts: Callable[[], Iterable[pd.DataFrame]], columns: Sequence[str], checks: Mapping[int, Check]
) -> dict[int, Result]:
    """Run the checks on the `columns` of the rows, which come in frames with a RangeIndex; thread-safe.

    The counts of several frames are added up, so only `BY_ROW` checks may get more than one. If any failing value is a
    failure, only pass or fail is computed first, and failing rows only for failed checks. On clean data this halves the
    time.
    """
    by_row = {i: c for i, c in checks.items() if c.outcome is Outcome.QUARANTINE}
    strict = {i: c for i, c in by_row.items() if "mostly" not in c.kwargs}
    others = {i: c for i, c in checks.items() if i not in strict}
    tallies = {i: Tally(c) for i, c in checks.items()}
    rows = 0
    for frame in parts():
        with _shown(frame, columns, checks) as batch:
            for i, result in (_run(batch, strict, "BOOLEAN_ONLY") | _run(batch, others, "BASIC")).items():
                tallies[i].add(result, rows)
        rows += len(frame)
    results = {i: tally.result() for i, tally in tallies.items()}
    results |= {i: Result(True, none_unexpected(rows)) for i in strict if results[i].success}
    failed = {i: c for i, c in by_row.items() if not results[i].success and not results[i].problem}
    return results | (_named(parts, columns, failed) if failed else {})


def _named(
    parts: Callable[[], Iterable[pd.DataFrame]], columns: Sequence[str], failed: Mapping[int, Check]
) -> dict[int, Result]:
    """Run failed checks again for their failing rows."""
    tallies, rows = {i: Tally(c) for i, c in failed.items()}, 0
    for frame in parts():
        with _shown(frame, columns, failed) as batch:
            for i, result in _run(batch, failed, "COMPLETE").items():
                tallies[i].add(result, rows)
        rows += len(frame)
    return {i: tally.result() for i, tally in tallies.items()}


@contextmanager
def _shown(rows: pd.DataFrame, columns: Sequence[str], checks: Mapping[int, Check]) -> Iterator[Any]:
    """A batch of GX with the columns that the checks need."""
    frame = _views(rows, columns, checks)
    try:
        yield _batch(frame)
    finally:
        # GX keeps the last context of the process, and so the frame.
        frame.drop(columns=frame.columns, inplace=True)


def _run(batch: Any, checks: Mapping[int, Check], result_format: str) -> dict[int, Seen]:
    """Validate a batch. Expectations that GX drops or cannot run have failed."""
    if not checks:
        return {}
    results = {i: Seen(Result(False, problem="Great Expectations returned no result")) for i in checks}
    classes = implementations()
    # Built here, because GX drops what it cannot build from dicts. Results come in another order.
    expectations = [classes[c.type](**c.kwargs, meta={"check": i}) for i, c in checks.items()]
    suite = great_expectations().ExpectationSuite(name="trueup", expectations=expectations)
    wanted = {
        "result_format": result_format,
        "return_unexpected_index_query": False,
        "partial_unexpected_count": EXAMPLES,
    }
    for result in batch.validate(suite, result_format=wanted).results:
        values = result.result.get("unexpected_list") or []
        results[result.expectation_config.meta["check"]] = Seen(_read(result), values)
    return results


def _read(result: Any) -> Result:
    """Convert one result; an error anywhere in it is a problem."""
    info = result.exception_info or {}
    errors = [info] if "raised_exception" in info else list(info.values())  # one, or one per metric
    problem = "; ".join(dict.fromkeys(str(e["exception_message"]) for e in errors if e["raised_exception"]))
    figures = {k: plain(v) for k, v in result.result.items() if k != "unexpected_list" and "index" not in k}
    failing = np.asarray(result.result.get("unexpected_index_list") or [], dtype=np.int64)
    return Result(bool(result.success) and not problem, figures, problem, failing=failing)


def _batch(frame: pd.DataFrame) -> Any:
    """Pass a frame to GX in a separate context, because threads with a shared one got each other's verdicts."""
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
    """A frame with copies that share its data: GX copies the whole frame for nearly every metric, and changes no copy."""

    @property
    def _constructor(self) -> type[_Views]:
        return _Views

    def copy(self, deep: bool | None = True) -> _Views:  # type: ignore[misc]  # noqa: ARG002
        return super().copy(deep=False)


def _views(rows: pd.DataFrame, columns: Sequence[str], checks: Mapping[int, Check]) -> _Views:
    """Only the columns that the checks need, without copying those of a suitable type."""
    all_of_them = any(c.type.startswith("expect_table") or "row_condition" in c.kwargs for c in checks.values())
    named = {column for c in checks.values() for column in c.columns}
    kinds = {column: [c.type for c in checks.values() if column in c.columns] for column in columns}
    shown = {c: _suited(rows[c], kinds[c]) for c in columns if all_of_them or c in named}
    return _Views(shown, index=rows.index, copy=False)


def _suited(values: pd.Series[Any], kinds: Sequence[str]) -> pd.Series[Any]:
    """Convert a column to a type on which GX can run `kinds` of expectations.

    GX supports few expectations on categories. It is fast only for 64-bit numbers and nanosecond times, and compares
    others one by one, 150 times slower.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        fine = all(kind.endswith(_FOR_CATEGORIES) for kind in kinds)
        return values if fine else values.astype(values.cat.categories.dtype)
    if not any(kind.endswith("_values_to_be_between") for kind in kinds) or any("type" in kind for kind in kinds):
        return values
    if dtypes.is_datetime64_dtype(values):
        in_reach = values.min() > pd.Timestamp.min and values.max() < pd.Timestamp.max
        return values.astype("datetime64[ns]") if in_reach else values
    # Of nullable integers, the missing ones have no 64-bit number.
    wide = {"f": np.float64, "i": np.int64}.get(values.dtype.kind) if isinstance(values.dtype, np.dtype) else None
    return values if wide is None else values.astype(wide, copy=False)
