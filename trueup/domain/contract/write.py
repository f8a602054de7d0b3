"""Write: the data contract of a model's rows, as its config and its landed batches have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from trueup.config.contract.rules import NOT_NULL, quality_of, share_missing
from trueup.config.durations import Months
from trueup.config.schema import ModelConfig
from trueup.config.sections.ingest import LabelConfig
from trueup.config.tasks import Task
from trueup.domain.data.values import ColumnKind
from trueup.domain.profiling.personal_data import personal_name

API: Final = "v3.1.0"  # of the standard: 3.2 only adds to it
_TYPES: Final[dict[str, str]] = {"text": "string", "digits": "string", "time": "timestamp"}
_UNITS: Final = (("week", timedelta(days=7)), ("day", timedelta(days=1)), ("hour", timedelta(hours=1)))


@dataclass(frozen=True)
class Learned:
    """What the landed batches have shown: kinds and stored types of columns, and the values of an outcome."""

    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)  # types in Parquet
    outcomes: tuple[str, ...] | None = None


def contract_of(config: ModelConfig, learned: Learned) -> dict[str, Any]:
    """The document, as plain values in the order of the standard."""
    about = {
        "purpose": config.about,
        "usage": config.governance.intended_use,
        "limitations": " ".join(config.governance.limitations),
    }
    made = {
        "version": "1.0.0",
        "kind": "DataContract",
        "apiVersion": API,
        "id": f"trueup-{config.model}",
        "name": config.model,
        "status": "active",
        "tags": list(config.tags),
        "description": {key: text for key, text in about.items() if text},
        "schema": [_rows(config, learned), *_outcomes(config, learned)],
        "team": {"name": config.governance.owner} if config.governance.owner else {},
        "slaProperties": list(_levels(config)),
    }
    return {key: value for key, value in made.items() if value not in ([], {})}


def _rows(config: ModelConfig, learned: Learned) -> dict[str, Any]:
    ingest, by_column = config.ingest, _rules(config)
    names = list(dict.fromkeys([*ingest.key, ingest.time, *config.input_columns]))
    properties = [_property(config, learned, name, by_column.get(name, [])) for name in names]
    if ingest.label.source is None:
        properties += _of_label(ingest.label, config, learned)
    identified = (
        f"One row for each {', '.join(ingest.key)} of a {ingest.period}." if ingest.key else "One row for each event."
    )
    table = {
        "name": config.model,
        "logicalType": "object",
        "description": f"The rows that {config.model} is trained on and predicts.",
        "dataGranularityDescription": identified,
        "properties": properties,
        "quality": by_column.get(None, []),
    }
    return {key: value for key, value in table.items() if value != []}


def _outcomes(config: ModelConfig, learned: Learned) -> Iterator[dict[str, Any]]:
    """The table of outcomes, if they come from a source of their own."""
    label = config.ingest.label
    if label.source is None:
        return
    key = [_property(config, learned, name, [], label.key.get(name, name)) for name in config.ingest.key]
    yield {
        "name": labels_name(config.model),
        "logicalType": "object",
        "description": f"The outcomes that {config.model} predicts, joined to its rows by their key.",
        "properties": [*key, *_of_label(label, config, learned)],
    }


def labels_name(model: str) -> str:
    """Name of the table of outcomes."""
    return f"{model}_labels"


def _property(
    config: ModelConfig, learned: Learned, name: str, quality: list[dict[str, Any]], written: str | None = None
) -> dict[str, Any]:
    """A column of the rows; `written` is its name in a source of outcomes."""
    ingest, kinds = config.ingest, {**learned.kinds, **config.column_types}
    made: dict[str, Any] = {"name": written or name, "logicalType": _logical(kinds.get(name, "text"))}
    if name in learned.stored and written is None:
        made["physicalType"] = learned.stored[name]
    if made["logicalType"] == "timestamp":
        made["logicalTypeOptions"] = {"defaultTimezone": ingest.timezone}
    if name in ingest.key:
        made |= {"primaryKey": True, "primaryKeyPosition": ingest.key.index(name) + 1}
    must = any(
        rule.get("metric") == "nullValues" and rule.get("mustBe") == 0 and rule["severity"] == "error"
        for rule in quality
    )
    made["required"] = must or name in (*ingest.key, ingest.time)
    served = config.serve is not None and name in config.serve.personal
    if served or config.governance.is_personal(name):
        made["classification"] = "personal"
    elif reason := personal_name(name):
        made |= {"description": f"By its name it {reason}; decide its classification.", "tags": ["maybe-personal"]}
    return {**made, "quality": quality} if quality else made


def _of_label(label: LabelConfig, config: ModelConfig, learned: Learned) -> list[dict[str, Any]]:
    about = f"The outcome to predict{f', in {label.unit}' if label.unit else ''}."
    values, kind = learned.outcomes, _label_kind(label, config, learned)
    made: dict[str, Any] = {
        "name": label.column,
        "logicalType": _logical(kind),
        "description": about,
        "required": False,
    }
    if values and kind == "text":
        made["quality"] = [
            {"metric": "invalidValues", "arguments": {"validValues": list(values)}, "mustBe": 0, "severity": "warning"}
        ]
    if label.known_at is None:
        return [made]
    known = {"name": label.known_at, "logicalType": "timestamp", "description": "When the outcome became known."}
    return [made, {**known, "logicalTypeOptions": {"defaultTimezone": config.ingest.timezone}, "required": False}]


def _label_kind(label: LabelConfig, config: ModelConfig, learned: Learned) -> str:
    """The type of the outcome's column."""
    if label.column in config.ingest.types:
        return config.ingest.types[label.column]
    if config.task is Task.REGRESSION or label.above is not None:
        return "number"
    if config.task is Task.MULTICLASS or isinstance(label.positive, str):
        return "text"
    truths = isinstance(label.positive, bool) or {"true", "false"} & {*(learned.outcomes or ())}
    return "boolean" if truths else "integer"


def _rules(config: ModelConfig) -> dict[str | None, list[dict[str, Any]]]:
    """The quality rules of the config, by column; None has those of the table."""
    found: dict[str | None, list[dict[str, Any]]] = {}
    for expectation in config.validation.expectations:
        column, rule = quality_of(expectation)
        found.setdefault(column, []).append(rule)
    not_null = {e.kwargs.get("column") for e in config.validation.expectations if e.type == NOT_NULL}
    for column, share in config.validation.max_missing.items():
        if column not in not_null:
            found.setdefault(column, []).append(share_missing(share))
    return found


def _levels(config: ModelConfig) -> Iterator[dict[str, Any]]:
    ingest = config.ingest
    yield {
        "property": "frequency",
        "value": 1,
        "unit": ingest.period,
        "element": config.model,
        "description": f"Each {ingest.period} has a batch of rows.",
    }
    yield {
        "property": "freshness",
        **_quantity(ingest.late_after),
        "element": config.model,
        "description": f"The rows of a {ingest.period} are complete so long after its end.",
    }
    if ingest.label.known_after is not None:
        table = config.model if ingest.label.source is None else labels_name(config.model)
        yield {
            "property": "latency",
            **_quantity(ingest.label.known_after),
            "element": f"{table}.{ingest.label.column}",
            "description": "An outcome is known so long after its row's time.",
        }


def _quantity(span: timedelta) -> dict[str, Any]:
    """A span as a number and its unit, whole if possible."""
    if isinstance(span, Months):
        return {"value": span.number, "unit": "month"}
    unit, size = next(
        ((u, s) for u, s in _UNITS if span and span % s == timedelta(0)), ("second", timedelta(seconds=1))
    )
    number = span / size
    return {"value": int(number) if number == int(number) else number, "unit": unit}


def _logical(kind: str) -> str:
    return _TYPES.get(kind, kind)
