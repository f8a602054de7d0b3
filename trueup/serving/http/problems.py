"""Problems as RFC 9457 describes them: what a request was refused for, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from trueup.serving.encoding.mistakes import Mistake

CONTENT_TYPE: Final = b"application/problem+json"

_TITLES: Final = {
    "not-json": "The body is not valid JSON",
    "too-large": "The request is too large",
    "media-type": "The body has another type",
    "rows": "The rows have mistakes",
    "no-model": "There is no such model",
    "not-ready": "The model is not ready",
    "no-rollout": "There is no rollout",
    "no-place": "There is no such address",
    "method": "The method is not allowed here",
    "token": "A token is needed",
    "scope": "The token has another scope",
    "rate": "The token asks too often",
    "busy": "The server is busy",
    "log-full": "The prediction log is full",
    "slow": "The body did not arrive in time",
    "not-http": "The request is no HTTP",
    "large-head": "The head of the request is too large",
    "slow-head": "The head of the request did not arrive in time",
    "host": "The request is for another host",
    "key-reused": "The idempotency key was used for another request",
    "no-prediction": "The model has no prediction for these rows",
    "unexpected": "The server has a mistake",
}


class Problem(Exception):
    """A request is refused. `slug` is the kind of problem, `headers` go into the answer."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        errors: Sequence[Mistake] = (),
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, detail
        self.errors, self.headers = tuple(errors), tuple(headers)

    def body(self) -> bytes:
        """The answer's bytes."""
        return msgspec.json.encode(
            ProblemBody(
                type=f"urn:trueup:problem:{self.slug}",
                title=_TITLES[self.slug],
                status=self.status,
                detail=self.detail,
                errors=self.errors,
            )
        )


class ProblemBody(msgspec.Struct, omit_defaults=True):
    """A problem as it is sent."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Mistake, ...] = ()


def retry_after(seconds: float) -> tuple[bytes, bytes]:
    """The header that says when to try again, in whole seconds, at least one."""
    return b"retry-after", str(max(1, -int(-seconds // 1))).encode()


def refused_rows(mistakes: Sequence[Mistake]) -> Problem:
    """The problem of rows with mistakes."""
    count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    first = mistakes[0]
    return Problem(422, "rows", f"{count}: {first.where} {first.what}; {first.next}", errors=mistakes)
