"""Traces: a span for a turn and for each of its stages, and a run that no collector can hold up."""

import re
import socket
import sys
from datetime import timedelta

import pytest

from tests import streams
from tests.loop.test_lineage import JUDGED, SMALL

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def spans_of(server):
    """The spans that a collector received, decoded."""
    spans = []
    for path, body in server.received:
        assert path == "/v1/traces"
        request = trace_service.ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert names["service.name"] == "trueup"
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    return sorted(spans, key=lambda span: (span.start_time_unix_nano, span.name))


def about(span):
    """A span's attributes as plain values."""
    kinds = {a.key: a.value.WhichOneof("value") for a in span.attributes}
    plain = {a.key: getattr(a.value, kinds[a.key]) for a in span.attributes}
    return {
        k: [v.string_value for v in value.values] if kinds[k] == "array_value" else value for k, value in plain.items()
    }


def test_a_turn_is_one_trace_with_a_span_for_each_stage(answering, trueup, tmp_path, monkeypatch):
    collector = answering(200)
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{PARENT}-01")
    streams.write(tmp_path, streams.Stream(days=21, per_day=40).frame(), SMALL)
    done = trueup("run", "toy", "--as-of", "2024-01-22")
    assert done.code == 0, done.err
    spans = spans_of(collector)
    (turn,) = (s for s in spans if s.name == "run toy")
    stages = [s for s in spans if s is not turn]
    assert {s.trace_id.hex() for s in spans} == {TRACE}
    assert turn.parent_span_id.hex() == PARENT
    assert {s.parent_span_id for s in stages} == {turn.span_id}
    assert list(dict.fromkeys(s.name for s in stages)) == [*JUDGED, "promote"]
    assert all(turn.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in stages)
    assert max(s.end_time_unix_nano for s in stages) <= turn.end_time_unix_nano
    found = about(turn)
    assert (found["trueup.model"], found["trueup.run"], found["trueup.batches"]) == ("toy", "run", 3)
    assert found["trueup.as_of"] == "2024-01-22T00:00:00+00:00"
    assert found["trueup.diagnosis"] == found["trueup.findings"][0]
    assert found["trueup.decision"] in {"promoted", "rejected", "held"}
    assert found["trueup.ledger_entry"] == 1
    first = about(next(s for s in stages if s.name == "validate"))
    assert first == {
        "trueup.stage": "validate",
        "trueup.batch": "[2024-01-01, 2024-01-08)",
        "trueup.revision": 1,
        "trueup.rows": 280,
    }


def test_a_stage_that_fails_marks_its_span_and_the_turn_without_secrets(answering, trueup, tmp_path, monkeypatch):
    collector = answering(200)
    monkeypatch.setenv(ENDPOINT, collector.url)
    (tmp_path / "configs" / "data" / "stream.csv").write_text("id,t,x,z,group,y\n1,yesterday,0,0,a,1\n")
    done = trueup("run", "toy", "--as-of", "2024-01-08")
    assert done.code == 1
    turn, ingest = sorted(spans_of(collector), key=lambda s: s.name, reverse=True)
    assert (turn.name, ingest.name) == ("run toy", "ingest")
    assert (turn.status.code, ingest.status.code) == (2, 2)
    assert "ingest.time" in ingest.status.message


def test_a_collector_that_is_away_holds_nothing_up_and_is_told(trueup, monkeypatch, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv(ENDPOINT, f"http://user:word@127.0.0.1:{port}")
    done = trueup("run", "toy", "--as-of", "2024-01-15", "--retrain", "never")
    assert done.code == 0
    said = " ".join(caplog.text.split())
    lost = re.search(r"traces: (\d+) of (\d+) spans were not sent to http://user:\*\*\*@127.0.0.1:\d+", said)
    assert lost, said
    assert lost[1] == lost[2]


def test_a_missing_package_is_said_and_ends_no_run(trueup, monkeypatch, caplog):
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert trueup("run", "toy", "--as-of", "2024-01-08", "--retrain", "never").code == 0
    assert "pip install 'trueup[traces]'" in caplog.text


def test_without_an_endpoint_or_with_the_setting_off_nothing_is_traced(answering, trueup, monkeypatch):
    collector = answering(200)
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("TRUEUP_TRACES", "0")
    assert trueup("run", "toy", "--as-of", "2024-01-08", "--retrain", "never").code == 0
    assert collector.received == []


@pytest.mark.thorough
def test_a_flow_run_is_named_in_its_trace(answering, trueup, tmp_path, prefect_server):
    collector = answering(200)
    streams.write(tmp_path, streams.Stream(days=7, per_day=40).frame(), SMALL)
    there = {"PREFECT_API_URL": prefect_server, ENDPOINT: collector.url}
    done = trueup.apart("run", "toy", "--as-of", "2024-01-08", "--retrain", "never", **there)
    assert done.code == 0, done.err
    turn = next(s for s in spans_of(collector) if s.name == "run toy")
    assert re.fullmatch(r"[0-9a-f-]{36}", about(turn)["prefect.flow_run.id"])
    assert turn.end_time_unix_nano - turn.start_time_unix_nano < timedelta(minutes=5).total_seconds() * 1e9
