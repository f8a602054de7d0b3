"""Spans for OpenTelemetry, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set. They are sent in a thread: a run waits for them at its end only.

The packages are imported only then; `pip install trueup[traces]` installs what sends spans over HTTP.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, Final

from trueup.secrecy import masked

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_FOR_TRACES: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_TIMEOUT: Final = 3.0  # seconds in which a batch of spans is sent, retries included
_log: Final = logging.getLogger(__name__)

Attributes = Mapping[str, "str | int | float | Sequence[str]"]


def open_provider(log: logging.Logger, timeout: float | None = None) -> tuple[Any, Counted] | None:
    """A provider of spans as the environment asks for it, and the counts of what it sends.

    None if the environment does not ask for it, or (said in the log) if a package is missing or the address is wrong.
    """
    if not (address := os.environ.get(ENDPOINT)):
        return None
    try:
        sdk = import_module("opentelemetry.sdk.trace")
        export = import_module("opentelemetry.sdk.trace.export")
        resources = import_module("opentelemetry.sdk.resources")
        exporter = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        counted = Counted(exporter.OTLPSpanExporter(timeout=timeout), export.SpanExportResult.SUCCESS)
    except ImportError as error:
        log.warning("%s is set, and there are no traces: %s; next: pip install 'trueup[traces]'", ENDPOINT, error)
        return None
    except (ValueError, OSError) as error:
        log.warning("there are no traces: %s; correct %s", masked(str(error)), ENDPOINT)
        return None
    counted.shown = masked(os.environ.get(_FOR_TRACES) or address)
    name = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "trueup")}
    provider = sdk.TracerProvider(resource=resources.Resource.create(name), shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(counted))
    return provider, counted


class Counted:
    """An exporter that counts the spans it could not send."""

    def __init__(self, exporter: Any, success: Any) -> None:
        self._exporter, self._success = exporter, success
        self.shown = ""  # the address, without secrets
        self.sent = self.lost = 0

    def export(self, spans: Sequence[Any]) -> Any:
        """Send spans, and count them."""
        result = self._exporter.export(spans)
        if result is self._success:
            self.sent += len(spans)
        else:
            self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything is sent."""
        return bool(self._exporter.force_flush(timeout_millis))


class Traces:
    """Makes spans below that of the caller, and sends them."""

    def __init__(self, provider: Any, counted: Counted) -> None:
        self._provider, self._counted = provider, counted
        self._trace: Any = import_module("opentelemetry.trace")
        self._context: Any = import_module("opentelemetry.context")
        propagation: Any = import_module("opentelemetry.trace.propagation.tracecontext")
        self._propagator = propagation.TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer("trueup.loop")

    def begin(self, name: str, attributes: Attributes, at: datetime, within: Any = None) -> Any:
        """Begin a span at a moment, below another one, or else below that of the process: see `_outside`."""
        context = self._outside() if within is None else self._trace.set_span_in_context(within)
        return self._tracer.start_span(name, context=context, attributes=dict(attributes), start_time=_nanoseconds(at))

    def enter(self, span: Any) -> Any:
        """Make a span the current one, for spans of other libraries; `leave` takes the token."""
        return self._context.attach(self._trace.set_span_in_context(span))

    def leave(self, token: Any) -> None:
        """Make the span from before `enter` the current one."""
        self._context.detach(token)

    def end(self, span: Any, attributes: Attributes, error: str, at: datetime) -> None:
        """End a span at a moment, with its error if there was one."""
        span.set_attributes(dict(attributes))
        if error:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, error))
        span.end(_nanoseconds(at))

    def flush(self) -> str:
        """Send what waits. Returns a sentence about spans that were not sent; empty if all were."""
        self._provider.force_flush()
        sent, lost = self._counted.sent, self._counted.lost
        self._counted.sent = self._counted.lost = 0
        if not lost:
            return ""
        return f"traces: {lost} of {sent + lost} spans were not sent to {self._counted.shown}; the run is not affected"

    def _outside(self) -> Any:
        """The current context of a library, if it has a span, such as Prefect's; else that of TRACEPARENT."""
        current = self._context.get_current()
        if self._trace.get_current_span(current).get_span_context().is_valid:
            return current
        given = {name: os.environ[name.upper()] for name in ("traceparent", "tracestate") if name.upper() in os.environ}
        return self._propagator.extract(given)


def open_traces() -> Traces | None:
    """Traces as the environment asks for them, or None."""
    opened = open_provider(_log, _TIMEOUT)
    return None if opened is None else Traces(*opened)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000
