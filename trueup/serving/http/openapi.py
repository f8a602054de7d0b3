"""The server in OpenAPI 3.1: the addresses of its models, with the fields, bounds and an example of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trueup.serving.http.answers import Answer
from trueup.serving.http.problems import ProblemBody
from trueup.serving.http.schema import DIALECT, example_row, request_schema, row_schema
from trueup.serving.loading.bundle import Bundle

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_SCHEMA: Final[Json] = {"application/schema+json": {"schema": {"type": "object"}}}
_REFUSALS: Final = {
    "400": "The body is not valid JSON.",
    "401": "A token is needed.",
    "403": "The token has another scope.",
    "404": "There is no such model, or nothing to show.",
    "408": "The body did not arrive in time.",
    "413": "The request is too large.",
    "415": "The body has another type.",
    "421": "The request is for another host.",
    "422": "The rows have mistakes; `errors` names them.",
    "429": "The token asks too often; see Retry-After.",
    "500": "The server has a mistake; its log has the cause.",
    "503": "The server is busy, not ready, or its log is full; see Retry-After.",
}


def document(bundles: Mapping[str, Bundle | None], *, tokens: bool) -> Json:
    """The document of a server with some models, of which only loaded ones have fields; `tokens` are needed or not."""
    _, parts = msgspec.json.schema_components((Answer, ProblemBody), ref_template=_REF)
    schemas: Json = dict(parts)
    paths = _general()
    for name, bundle in bundles.items():
        if bundle is not None:
            schemas[f"{name}.Row"] = row_schema(bundle.champion.encoder)
            schemas[f"{name}.Request"] = request_schema(
                {"$ref": _REF.format(name=f"{name}.Row")}, bundle.state.serve.max_rows
            )
            paths |= _of_model(name, bundle)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": "Trueup",
            "version": "1",
            "description": "Predictions of the serving versions. Problems are as RFC 9457 describes them.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}] if tokens else [],
    }


def _general() -> Json:
    anybody: Json = {"security": []}
    return {
        "/health/live": {"get": _get("health_live", "Whether the process answers.") | anybody},
        "/health/ready": {"get": _get("health_ready", "Whether all models can answer.", "503") | anybody},
        "/v1/models": {"get": _get("models", "The models, what answers, and how current it is.")},
        "/metrics": {
            "get": _get("metrics", "Figures for Prometheus.", content={"text/plain": {"schema": {"type": "string"}}})
        },
    }


def _of_model(name: str, bundle: Bundle) -> Json:
    start, tags = f"/v1/models/{name}", [name]
    example = example_row(bundle.champion.encoder)
    body: Json = {"schema": {"$ref": _REF.format(name=f"{name}.Request")}}
    if example:
        body["examples"] = {
            "one row": {"value": {"row": example}},
            "several rows": {"value": {"rows": [example, example], "id": "2f1e7d0c"}},
        }
    answer = {"application/json": {"schema": {"$ref": _REF.format(name="Answer")}}}
    predict = {
        "operationId": f"{name}_predict",
        "summary": f"Predict rows. {bundle.state.about}".strip(),
        "tags": tags,
        "parameters": [
            {
                "name": "history",
                "in": "query",
                "description": "1 also answers the history features.",
                "schema": {"enum": ["0", "1"]},
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Like `id` in the body, and before it.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            },
            {
                "name": "Trueup-Test",
                "in": "header",
                "description": "1 makes a test of the request: its predictions never count as those of their rows.",
                "schema": {"enum": ["0", "1"]},
            },
        ],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": _answers("The predictions.", answer, *_REFUSALS),
    }
    invoke = {
        "operationId": f"{name}_invocations",
        "summary": "The same in MLflow's scoring protocol; it takes CSV, too.",
        "tags": tags,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _invocation(bundle)}}},
        "responses": _answers("The predictions.", {"application/json": {"schema": {"type": "object"}}}, *_REFUSALS),
    }
    return {
        f"{start}/invocations": {"post": invoke},
        f"{start}/rollout": {
            "get": _get(f"{name}_rollout", "Figures of the rollout under way.", "404", "503") | {"tags": tags}
        },
        start: {"get": _get(f"{name}_facts", "What answers, and how current it is.") | {"tags": tags}},
        f"{start}/schema": {
            "get": _get(f"{name}_schema", "The fields of a row as JSON Schema.", "503", content=_SCHEMA)
            | {"tags": tags}
        },
        f"{start}/predict": {"post": predict},
    }


def _invocation(bundle: Bundle) -> Json:
    """The simplest body of MLflow's protocol; columns that the model does not take are ignored."""
    row = row_schema(bundle.champion.encoder) | {"additionalProperties": True}
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": bundle.state.serve.max_rows}
    return {
        "type": "object",
        "properties": {"dataframe_records": rows},
        "required": ["dataframe_records"],
        "additionalProperties": False,
    }


def _get(operation: str, summary: str, *refusals: str, content: Json | None = None) -> Json:
    answer = content or {"application/json": {"schema": {"type": "object"}}}
    codes = (*refusals, "401", "403", "421", "429", "500")
    return {"operationId": operation, "summary": summary, "responses": _answers(summary, answer, *codes)}


def _answers(text: str, content: Json, *refusals: str) -> Json:
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(name="ProblemBody")}}}
    refused = {code: {"description": _REFUSALS[code], "content": problem} for code in refusals}
    return {"200": {"description": text, "content": content}, **refused}
