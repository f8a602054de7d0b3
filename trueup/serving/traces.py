"""Traces of requests for OpenTelemetry, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set: one span each, in the caller's trace.

The packages are imported only then; `pip install trueup[traces]` installs what sends spans over HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from trueup.adapters.telemetry import open_provider

_log: Final = logging.getLogger("trueup.serving")


class Request(NamedTuple):
    """A request that was answered. Moments are nanoseconds since 1970."""

    method: str
    path: str
    model: str
    status: int
    began: int
    ended: int


class Traces:
    """Makes the spans of requests with a provider of OpenTelemetry's."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("trueup.serving")
        self._kind, self._failed = SpanKind.SERVER, Status(StatusCode.ERROR)
        self._propagator = TraceContextTextMapPropagator()

    def add(self, request: Request, headers: Mapping[bytes, bytes]) -> None:
        """Make the span of a request, below that of the header `traceparent`."""
        given = (b"traceparent", b"tracestate")
        carrier = {name.decode(): headers[name].decode("latin-1") for name in given if name in headers}
        attributes = {
            "http.request.method": request.method,
            "url.path": request.path,
            "http.response.status_code": request.status,
        } | ({"trueup.model": request.model} if request.model else {})
        span = self._tracer.start_span(
            f"{request.method} {request.path}" if request.model else request.method,
            context=self._propagator.extract(carrier),
            kind=self._kind,
            attributes=attributes,
            start_time=request.began,
        )
        if request.status >= 500:
            span.set_status(self._failed)
        span.end(request.ended)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def open_traces() -> Traces | None:
    """Traces as the environment asks for them; None if it does not, or (said in the log) if a package is missing."""
    opened = open_provider(_log)
    return None if opened is None else Traces(opened[0])
