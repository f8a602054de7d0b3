"""The body of a request, within its bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

from trueup.serving.http.problems import Problem

JSON: Final = ("application/json",)


class Disconnected(Exception):
    """The client went away before its request was whole."""


def require_type(headers: Mapping[bytes, bytes], types: Sequence[str] = JSON) -> str:
    """The body's type, one of `types`. Raises Problem."""
    given = headers.get(b"content-type", b"")
    kind = given.split(b";")[0].strip().lower().decode("latin-1")
    if kind not in types:
        said = f"is {kind[:100]}" if kind else "has no Content-Type"
        wanted = " or ".join(types)
        raise Problem(
            415,
            "media-type",
            f"the body {said}; send it as `Content-Type: {wanted}`",
            headers=((b"accept", wanted.encode()),),
        )
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding != b"identity":
        raise Problem(
            415,
            "media-type",
            "the body is compressed; send it as it is",
            headers=((b"accept-encoding", b"identity"),),
        )
    return kind


async def read_body(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]], headers: Mapping[bytes, bytes], limit: int
) -> bytes:
    """Read the body, at most `limit` bytes. Raises Problem, and Disconnected."""
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length[:20]) > limit):
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= limit:
        return body
    parts, size = [body], len(body)
    while message["type"] == "http.request" and message.get("more_body", False) and size <= limit:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if message["type"] != "http.request":
        raise Disconnected
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"the body may have {limit / 1024:g} KiB; send the rows in parts")
