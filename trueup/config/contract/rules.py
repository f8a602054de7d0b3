"""Quality rules of a data contract as expectations of Great Expectations, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.contract.document import Column, Quality, Table
from trueup.config.sections.validation import ExpectationConfig

NOT_NULL: Final = "expect_column_values_to_not_be_null"
UNIQUE: Final = "expect_column_values_to_be_unique"
IN_SET: Final = "expect_column_values_to_be_in_set"
REGEX: Final = "expect_column_values_to_match_regex"
BETWEEN: Final = "expect_column_values_to_be_between"
LENGTHS: Final = "expect_column_value_lengths_to_be_between"
ROWS: Final = "expect_table_row_count_to_be_between"
ENGINE: Final = "great-expectations"

_METRICS: Final = {NOT_NULL: "nullValues", UNIQUE: "duplicateValues", IN_SET: "invalidValues", REGEX: "invalidValues"}
_ARGUMENTS: Final = {IN_SET: ("value_set", "validValues"), REGEX: ("regex", "pattern")}


def quality_of(expectation: ExpectationConfig) -> tuple[str | None, dict[str, Any]]:
    """The column of an expectation (None for the table), and its quality rule: one of the standard's where it has it."""
    kwargs = dict(expectation.kwargs)
    column = kwargs.pop("column", None)
    library = None if expectation.level is not None else _library(expectation.type, kwargs)
    level = {} if expectation.level is None else {"level": expectation.level}
    rule = library or {
        "type": "custom",
        "engine": ENGINE,
        "implementation": {"type": expectation.type, "kwargs": dict(expectation.kwargs), **level},
    }
    return column, {**rule, "severity": "warning" if expectation.severity == "warning" else "error"}


def share_missing(share: float) -> dict[str, Any]:
    """The quality rule of a largest share of missing values."""
    return {
        "metric": "nullValues",
        "unit": "percent",
        "mustBeLessOrEqualTo": round(share * 100, 8),
        "severity": "error",
    }


def _library(kind: str, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The rule of the standard's library for an expectation without its column; None if it has none."""
    if kind == ROWS:
        low, high = kwargs.pop("min_value", None), kwargs.pop("max_value", None)
        if kwargs or (low is None and high is None):
            return None
        if low is not None and high is not None:
            return {"metric": "rowCount", "mustBeBetween": [low, high]} if low < high else None
        return {
            "metric": "rowCount",
            **({"mustBeLessOrEqualTo": high} if low is None else {"mustBeGreaterOrEqualTo": low}),
        }
    if kind not in _METRICS:
        return None
    named = {theirs: kwargs.pop(ours) for ours, theirs in [_ARGUMENTS.get(kind, ("", ""))] if ours in kwargs}
    mostly = kwargs.pop("mostly", None)
    if kwargs or len(named) != (kind in _ARGUMENTS):
        return None
    limit = (
        {"mustBe": 0} if mostly is None else {"unit": "percent", "mustBeLessOrEqualTo": round(100 - mostly * 100, 8)}
    )
    return {"metric": _METRICS[kind], **({"arguments": named} if named else {}), **limit}


def expectations(
    table: Table, columns: Collection[str], always: Collection[str] = ()
) -> tuple[list[ExpectationConfig], list[str]]:
    """The rules of a table and of some columns as expectations, and those that only other programs can check, in words.

    `always` are columns of which landed rows always have values: those of the key, and the time.
    """
    found, others = list[ExpectationConfig](), list[str]()
    for quality in table.quality:
        _add(quality, None, f"{table.name}", found, others)
    for name, column in table.columns.items():
        if name not in columns:
            continue
        found += _of_type(column, name in always)
        for quality in column.quality:
            _add(quality, name, f"{table.name}.{name}", found, others)
    fitting = [e for e in found if set(columns_of(e)) <= set(columns)]
    return [e for number, e in enumerate(fitting) if e not in fitting[:number]], others


def columns_of(expectation: ExpectationConfig) -> list[str]:
    """The columns that an expectation names."""
    kwargs = expectation.kwargs
    return [kwargs[k] for k in ("column", "column_A", "column_B") if k in kwargs] + list(kwargs.get("column_list", []))


def is_checked(rule: ExpectationConfig, by: Sequence[ExpectationConfig], max_missing: Mapping[str, float]) -> bool:
    """Whether a config's expectations and shares of missing values check a rule, or a stricter one."""
    if any((e.type, e.kwargs) == (rule.type, rule.kwargs) for e in by):
        return True
    if rule.type != NOT_NULL:
        return False
    column, allowed = rule.kwargs.get("column"), 1 - rule.kwargs.get("mostly", 1) + 1e-9
    stricter = (1 - e.kwargs.get("mostly", 1) for e in by if e.type == NOT_NULL and e.kwargs.get("column") == column)
    return bool(min([*stricter, max_missing.get(str(column), 1.0)]) <= allowed)


def _add(quality: Quality, column: str | None, at: str, found: list[ExpectationConfig], others: list[str]) -> None:
    made = _custom(quality) if quality.type == "custom" else _of_library(quality, column)
    if made is None:
        others.append(f"{at}: {quality.name or quality.metric or quality.rule or quality.type or 'a rule'}")
        return
    kind, kwargs, level = made
    severity = "warning" if (quality.severity or "").casefold() in {"warning", "info"} else "critical"
    found.append(ExpectationConfig(type=kind, kwargs=kwargs, severity=severity, level=level))


def _custom(quality: Quality) -> tuple[str, dict[str, Any], Any] | None:
    """A rule of Great Expectations."""
    if (quality.engine or "").replace("-", "").replace("_", "").casefold() != "greatexpectations":
        return None
    written = quality.implementation
    try:
        content = yaml_text.read(written) if isinstance(written, str) else written
    except YAMLError:
        return None
    if not isinstance(content, Mapping):
        return None
    kind, kwargs = content.get("type", content.get("expectation_type")), content.get("kwargs", {})
    level = content.get("level") if content.get("level") in {"row", "batch"} else None
    return (kind, dict(kwargs), level) if isinstance(kind, str) and isinstance(kwargs, Mapping) else None


def _of_library(quality: Quality, column: str | None) -> tuple[str, dict[str, Any], Any] | None:
    metric, arguments = quality.metric or quality.rule, quality.arguments
    if column is None:
        return _of_table(quality, metric)
    if (limit := _mostly(quality)) is None:
        return None
    about = {"column": column}
    if metric == "nullValues" and not arguments:
        return NOT_NULL, about | limit, None
    if metric == "duplicateValues" and not arguments and not limit:
        return UNIQUE, about, None
    if metric == "invalidValues":
        for kind, (ours, theirs) in _ARGUMENTS.items():
            if set(arguments) == {theirs}:
                return kind, about | {ours: arguments[theirs]} | limit, None
    return None


def _of_table(quality: Quality, metric: str | None) -> tuple[str, dict[str, Any], Any] | None:
    if metric == "rowCount" and not quality.arguments:
        low, high = quality.mustBeBetween or (quality.mustBeGreaterOrEqualTo, quality.mustBeLessOrEqualTo)
        low = low if quality.mustBeGreaterThan is None else int(quality.mustBeGreaterThan) + 1
        high = high if quality.mustBeLessThan is None else -int(-quality.mustBeLessThan // 1) - 1
        low, high = (quality.mustBe, quality.mustBe) if isinstance(quality.mustBe, int) else (low, high)
        bounds = {"min_value": low, "max_value": high}
        kwargs = {name: int(value) for name, value in bounds.items() if value is not None}
        return (ROWS, kwargs, None) if kwargs else None
    listed = quality.arguments.get("properties")
    if metric == "duplicateValues" and isinstance(listed, list) and len(listed) > 1 and _mostly(quality) == {}:
        return "expect_compound_columns_to_be_unique", {"column_list": listed}, None
    return None


def _mostly(quality: Quality) -> dict[str, float] | None:
    """The largest share of failing values as GX writes it: {} for none at all; None for a limit that is no share."""
    limit = quality.mustBe if quality.mustBe is not None else quality.mustBeLessOrEqualTo
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return None
    if limit == 0:
        return {}
    return {"mostly": round(1 - limit / 100, 10)} if quality.unit == "percent" and 0 < limit <= 100 else None


def _of_type(column: Column, always: bool) -> Iterator[ExpectationConfig]:
    """The rules in a column's own keys; with `always` landed rows have values of it anyway."""
    about = {"column": column.column}
    if column.required and not always:
        yield ExpectationConfig(type=NOT_NULL, kwargs=about)
    if column.unique and not (always and column.primary_key):
        yield ExpectationConfig(type=UNIQUE, kwargs=about)
    if column.enum:
        yield ExpectationConfig(
            type=IN_SET, kwargs=about | {"value_set": [entry.get("value") for entry in column.enum]}
        )
    options = column.options
    if column.logical_type in {"number", "integer"}:
        bounds = {
            ours: options[theirs]
            for ours, theirs in (("min_value", "minimum"), ("max_value", "maximum"))
            if theirs in options
        }
        for ours, theirs, strict in (
            ("min_value", "exclusiveMinimum", "strict_min"),
            ("max_value", "exclusiveMaximum", "strict_max"),
        ):
            bounds |= {ours: options[theirs], strict: True} if theirs in options else {}
        if bounds:
            yield ExpectationConfig(type=BETWEEN, kwargs=about | bounds)
    if column.logical_type == "string":
        lengths = {
            ours: options[theirs]
            for ours, theirs in (("min_value", "minLength"), ("max_value", "maxLength"))
            if theirs in options
        }
        if lengths:
            yield ExpectationConfig(type=LENGTHS, kwargs=about | lengths)
        if "pattern" in options:
            yield ExpectationConfig(type=REGEX, kwargs=about | {"regex": options["pattern"]})
