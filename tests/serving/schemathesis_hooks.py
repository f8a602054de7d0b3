"""Hooks of schemathesis: a valid idempotency key is made a new one, as a used one may not come with another request."""

import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):  # noqa: ARG001  (the signature of the hook)
    body, headers = case.body, case.headers
    if isinstance(body, dict) and isinstance(body.get("id"), str) and 0 < len(body["id"]) <= 255:
        case.body = {**body, "id": uuid.uuid4().hex}
    if headers and 0 < len(headers.get("Idempotency-Key", "")) <= 255:
        headers["Idempotency-Key"] = uuid.uuid4().hex
