"""Differences between a data contract and a model's config. Each is a finding with its place and a fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from trueup.config.contract.document import Column, Contract, Table
from trueup.config.contract.rules import expectations, is_checked
from trueup.config.durations import write_duration
from trueup.config.schema import ModelConfig
from trueup.domain.data.values import ColumnKind
from trueup.hints import did_you_mean

# Logical types whose values land as a kind without a loss. Text takes any: an id may be 0101 or 101.
_FITS: Final[dict[str, tuple[str, ...]]] = {
    "number": ("number", "integer", "boolean"),
    "integer": ("integer", "boolean"),
    "boolean": ("boolean", "integer"),
    "time": ("timestamp", "date"),
}
_NESTED: Final = ("object", "array", "map", "vector")
_PERIODS: Final = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


@dataclass(frozen=True)
class Finding:
    """A difference: with the config, or with the data."""

    of: Literal["config", "data"]
    at: str  # a place in the contract: its table, a column, a service level
    what: str

    def __str__(self) -> str:
        return f"{self.at}: {self.what}"


def differences(config: ModelConfig, contract: Contract, table: Table) -> list[Finding]:
    """All differences that need no data."""
    return [
        Finding("config", at, what)
        for found in (
            _columns(config, table),
            _key(config, table),
            _rules(config, table),
            _levels(config, contract, table),
        )
        for at, what in found
    ]


def data_differences(table: Table, source: list[str], kinds: Mapping[str, ColumnKind]) -> Iterator[Finding]:
    """Columns that the contract has and the source has not, and landed columns of another type."""
    for name, column in table.columns.items():
        at = f"{table.name}.{name}"
        if name not in source:
            hint = did_you_mean(name, source, "correct the contract or the source")
            yield Finding("data", at, f"the source has no such column; {hint}")
        elif (kind := kinds.get(name)) is not None and (what := _unfit(column, kind)):
            yield Finding("data", at, f"the landed values are of the type {kind}, {what}")


def _columns(config: ModelConfig, table: Table) -> Iterator[tuple[str, str]]:
    label, types = config.ingest.label, config.column_types
    named = list(dict.fromkeys([*config.ingest.key, config.ingest.time, *config.input_columns]))
    if label.source is None:
        named += [name for name in (label.column, label.known_at) if name is not None]
    personal = set(config.serve.personal) if config.serve is not None else None
    for name in named:
        column = table.columns.get(name)
        if column is None:
            hint = did_you_mean(name, list(table.columns), f"it has {', '.join(table.columns)}")
            yield table.name, f"the contract has no column {name}, which the config uses; {hint}"
            continue
        at = f"{table.name}.{name}"
        is_read = name in config.ingest.coerce or name in config.ingest.missing or config.ingest.time_format is not None
        if (
            name in types
            and not (is_read and column.logical_type == "string")
            and (what := _unfit(column, types[name]))
        ):
            yield at, f"the config uses it as {types[name]}, {what}"
        if column.personal and personal is not None and name not in personal:
            what = f"it is classified as {column.classification}, and serve.personal does not name it; add it there"
            yield at, what


def _unfit(column: Column, kind: str) -> str:
    """Why a column of the contract does not land as a kind; an empty text if it does."""
    logical = column.logical_type
    allowed = _FITS.get(kind)
    if logical is None or (logical in allowed if allowed is not None else logical not in _NESTED):
        return ""
    return f"and the contract says {logical}; correct one of them"


def _key(config: ModelConfig, table: Table) -> Iterator[tuple[str, str]]:
    if table.key and set(table.key) != set(config.ingest.key):
        ours = ", ".join(config.ingest.key) or "none"
        yield table.name, f"its primary key is {', '.join(table.key)}, and ingest.key is {ours}; correct one of them"


def _rules(config: ModelConfig, table: Table) -> Iterator[tuple[str, str]]:
    """Rules about the config's columns that nothing checks."""
    rules, _ = expectations(table, config.input_columns, [*config.ingest.key, config.ingest.time])
    for rule in rules:
        if not is_checked(rule, config.validation.expectations, config.validation.max_missing):
            column = rule.kwargs.get("column")
            at = f"{table.name}.{column}" if column else table.name
            arguments = ", ".join(f"{key}: {value}" for key, value in rule.kwargs.items() if key != "column")
            named = f"{rule.type}{f' ({arguments})' if arguments else ''}"
            yield at, f"no expectation of the config checks its rule {named}; name the contract in ingest.contract"


def _levels(config: ModelConfig, contract: Contract, table: Table) -> Iterator[tuple[str, str]]:
    ingest = config.ingest
    for level in contract.levels:
        if (span := level.span) is None:
            continue
        named, about_rows = level.what.casefold(), level.about(table) or level.about(table, "", ingest.time)
        at = f"slaProperties.{level.what}"
        if named == "frequency" and about_rows and span > _PERIODS[ingest.period]:
            yield (
                at,
                f"rows come each {write_duration(span)}, and ingest.period is {ingest.period}; set a longer period",
            )
        elif named in {"freshness", "latency"} and about_rows and span > ingest.late_after:
            words = f"rows may come {write_duration(span)} late, and ingest.late_after is {write_duration(ingest.late_after)}"
            yield (
                at,
                f"{words}, so that a batch in time is announced as missing; set ingest.late_after to {write_duration(span)}",
            )
        elif (
            named in {"freshness", "latency"}
            and ingest.label.known_after is not None
            and _of_label(level.element, config)
        ):
            known = ingest.label.known_after
            if span > known:
                words = f"outcomes may be known {write_duration(span)} late, and ingest.label.known_after is {write_duration(known)}"
                yield at, f"{words}; set it to {write_duration(span)}"


def _of_label(element: str | None, config: ModelConfig) -> bool:
    return element is not None and element.rpartition(".")[2] == config.ingest.label.column
