"""An ASGI application that does nothing: it reads the body of a request, and answers a constant.

What it takes is the cost of uvicorn and of the socket, which no server on uvicorn can avoid.
"""

from __future__ import annotations

from typing import Any

ANSWER = b'{"model":"empty","version":1,"epoch":1,"role":"champion","predictions":[{"id":"0","prediction":0.5}]}'
_START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}
_BODY: dict[str, Any] = {"type": "http.response.body", "body": ANSWER}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request with `ANSWER`."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)
