"""Traces: one span a request, in the caller's trace, and only if asked for."""

import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.serving.made import bundle
from tests.serving.test_app import ROW, Server
from trueup.adapters.telemetry import ENDPOINT
from trueup.serving.traces import Request, Traces, open_traces


def test_each_request_has_a_span_in_the_trace_of_its_caller(tmp_path):
    server, kept = Server(tmp_path, bundle()), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    server.app._traces = Traces(provider)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    server.predict({"row": ROW}, headers={"traceparent": f"00-{trace}-{parent}-01"})
    server.served.current = None
    server.predict({"row": ROW})
    first, second = kept.get_finished_spans()
    assert first.name == "POST /v1/models/flights/predict"
    assert (f"{first.context.trace_id:032x}", f"{first.parent.span_id:016x}") == (trace, parent)
    assert dict(first.attributes) == {
        "http.request.method": "POST",
        "url.path": "/v1/models/flights/predict",
        "http.response.status_code": 200,
        "trueup.model": "flights",
    }
    assert first.end_time > first.start_time
    assert (second.status.is_ok, second.parent) == (False, None)


def test_the_locked_packages_send_the_spans(monkeypatch, answering):
    collector = answering(200)
    monkeypatch.setenv(ENDPOINT, collector.url)
    traces = open_traces()
    traces.add(Request("POST", "/v1/models/flights/predict", "flights", 200, 1, 2), {})
    traces.close()
    ((path, body),) = collector.received
    assert path == "/v1/traces"
    assert b"POST /v1/models/flights/predict" in body


def test_without_an_endpoint_nothing_is_traced(monkeypatch):
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert open_traces() is None


def test_a_missing_package_is_said(monkeypatch, caplog):
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert open_traces() is None
    assert "pip install 'trueup[traces]'" in caplog.text
