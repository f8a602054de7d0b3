"""The fields of a model's rows as JSON Schema: exactly what the server takes, and what training had."""

from __future__ import annotations

from typing import Any, Final

from trueup.serving.encoding.encoder import Encoder
from trueup.serving.encoding.inputs import Input
from trueup.serving.http.rows import LONGEST_ID
from trueup.serving.state import Field

Json = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
LISTED: Final = 1000  # categories that a schema lists at most

_LARGEST: Final = 1.7976931348623157e308
_LARGEST_FLOAT32: Final = 3.4028234663852886e38
_SCALARS: Final = ["string", "number", "boolean", "null"]
_DAY: Final = (
    r"((1[6-9]|[2-8]\d)\d\d-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
    r"|(1[6-9]|[2-8]\d)(0[48]|[2468][048]|[13579][26])-02-29)"
)
_CLOCK: Final = r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-3]):[0-5]\d)?"
_TIME: Final = f"^{_DAY}({_CLOCK})?$"  # `format: date-time` would need an offset
_USES: Final = {
    "key": "part of the row's key",
    "time": "the row's event time",
    "feature": "a feature",
    "calendar": "calendar features depend on it",
    "history": "history features depend on it",
    "custom": "custom features depend on it",
}


def row_schema(encoder: Encoder) -> Json:
    """The schema of a row of one version."""
    inputs = {column.name: column for column in encoder.inputs if column.of in {"numeric", "categorical"}}
    schema: Json = {
        "type": "object",
        "properties": {field.name: _field(field, inputs.get(field.name), encoder) for field in encoder.fields},
        "additionalProperties": False,
    }
    if encoder.needs_time:
        schema["required"] = [encoder.time]
    if example := example_row(encoder):
        schema["examples"] = [example]
    return schema


def example_row(encoder: Encoder) -> Json:
    """The row of the examples, which is a real one; empty if none is known."""
    row = {field.name: field.example for field in encoder.fields if field.example is not None}
    return {} if encoder.needs_time and encoder.time not in row else row


def request_schema(row: Json, max_rows: int) -> Json:
    """The schema of a request with one row or several."""
    return {
        "type": "object",
        "properties": {
            "row": row,
            "rows": {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows},
            "id": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": LONGEST_ID,
                "description": "An idempotency key: the same request gets the same answer, and is logged once.",
            },
        },
        "additionalProperties": False,
        "oneOf": [{"required": ["row"]}, {"required": ["rows"]}],
    }


def _field(field: Field, column: Input | None, encoder: Encoder) -> Json:
    schema = _type(field, column, encoder)
    schema["description"] = _description(field)
    if field.example is not None:
        schema["examples"] = [field.example]
    trained: Json = {"kind": "time" if field.name in encoder.time_fields else field.kind, "uses": list(field.uses)}
    if field.minimum is not None and field.maximum is not None:
        trained |= {"minimum": field.minimum, "maximum": field.maximum}
    if field.categories:
        trained["categories"] = list(field.categories[:LISTED])
    if field.unit:
        trained["unit"] = field.unit
    schema["x-trueup"] = trained
    return schema


def _type(field: Field, column: Input | None, encoder: Encoder) -> Json:
    """What a field's value may be."""
    if field.name in encoder.time_fields:
        needed = field.name == encoder.time and encoder.needs_time
        return {"type": "string" if needed else ["string", "null"], "pattern": _TIME}
    if column is not None and column.kind == "number":
        limit = _LARGEST_FLOAT32 if column.dtype == "float32" and not column.infinite else _LARGEST
        return {"type": ["number", "boolean", "null"], "minimum": -limit, "maximum": limit}
    return {"type": list(_SCALARS)}


def _description(field: Field) -> str:
    """What a field is for, and what training had.

    >>> _description(Field(name="d", kind="number", uses=("feature",), minimum=1.0, maximum=2.5, unit="km"))
    'A feature; in training 1 to 2.5 km.'
    """
    parts = [", ".join(_USES[use] for use in field.uses)]
    if field.minimum is not None and field.maximum is not None:
        parts.append(f"in training {field.minimum:g} to {field.maximum:g} {field.unit}".rstrip())
    elif field.categories:
        few = ", ".join(field.categories[:5])
        rest = len(field.categories) - 5
        parts.append(f"in training {few}" + (f" and {rest} others" if rest > 0 else ""))
    if field.kind == "time":
        parts.append("ISO 8601, local to the model unless it has an offset")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."
