"""Lineage: events of OpenLineage for every stage of a real turn, and a run that no lineage server can hold up."""

import json
import re
import socket
import time
from uuid import UUID

import pytest

from tests import streams
from tests.story import PLAIN
from trueup.adapters.openlineage import Lineage

pytest.importorskip("openlineage.client")

CONFIG = PLAIN.replace("families: [gradient_boosting]", "families: [linear]").replace(
    "  parameters: {gradient_boosting: {max_iter: 40, learning_rate: 0.15, max_leaf_nodes: 8}}\n", ""
)
SMALL = CONFIG.replace("min_history: 28 days", "min_history: 14 days").replace("window: 14 days", "window: 7 days")
JUDGED = ["ingest", "validate", "score", "monitor", "plan", "train", "evaluate", "register", "judge"]


def dataset(event, side, kind):
    """The dataset of an event with this end of its name."""
    return next(d for d in event[side] if d["name"].endswith(kind))


def test_every_stage_of_a_turn_has_its_events(answering, trueup, tmp_path, monkeypatch):
    server = answering(201)
    monkeypatch.setenv("OPENLINEAGE_URL", server.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "the-key")
    config = SMALL + "governance: {owner: Risk team}\n"
    streams.write(tmp_path, streams.Stream(days=21, per_day=40).frame(), config)
    done = trueup("run", "toy", "--as-of", "2024-01-22")
    assert done.code == 0, done.err
    assert "lineage" not in done.err
    assert {path for path, _ in server.received} == {"/api/v1/lineage"}
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer the-key"}
    events = server.bodies
    ended = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    assert list(ended) == [f"toy.{stage}" for stage in [*JUDGED, "promote"]]
    assert {event["job"]["namespace"] for event in events} == {"trueup"}
    parents = {event["run"]["facets"]["parent"]["run"]["runId"] for event in events}
    assert len(parents) == 1, "one command is one parent"
    assert UUID(parents.pop())
    runs = {}
    for event in events:
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert set(map(tuple, runs.values())) == {("START", "COMPLETE")}
    assert [e["job"]["name"] for e in events].count("toy.validate") == 2 * 3, "one run for each batch"
    _of_the_data(ended, tmp_path)
    facets = ended["toy.train"]["job"]["facets"]
    assert facets["ownership"]["owners"][0]["name"] == "Risk team"
    assert facets["documentation"]["description"].endswith(".")
    logged = ended["toy.train"]["outputs"][0]["name"]
    assert logged == ended["toy.register"]["inputs"][0]["name"]
    assert re.fullmatch(r"runs/\w{32}/model", logged)


def _of_the_data(ended, folder):
    ingest, validate = ended["toy.ingest"], ended["toy.validate"]
    source, rows = dataset(ingest, "inputs", ".csv"), dataset(ingest, "outputs", "toy/rows")
    assert source["namespace"] == "file"
    assert source["facets"]["dataSource"]["uri"] == source["name"] == str(folder / "configs" / "data" / "*.csv")
    types = {f["name"]: f["type"] for f in rows["facets"]["schema"]["fields"]}
    assert (types["x"], types["group"]) == ("double", "string")
    (origin,) = rows["facets"]["columnLineage"]["fields"]["x"]["inputFields"]
    assert (origin["name"], origin["field"]) == (source["name"], "x")
    assert rows["outputFacets"]["outputStatistics"]["rowCount"] == 280
    facets = dataset(validate, "inputs", "toy/rows")["inputFacets"]
    assert facets["dataQualityMetrics"]["rowCount"] == 280
    assert facets["dataQualityMetrics"]["columnMetrics"]["x"]["nullCount"] == 0
    assert facets["dataQualityMetrics"]["columnMetrics"]["x"]["min"] < -1
    checked = {(a["assertion"], a.get("column")): a["success"] for a in facets["dataQualityAssertions"]["assertions"]}
    assert checked["expect_column_values_to_be_between", "x"] is True
    assert dataset(validate, "outputs", "toy/quarantine")["outputFacets"]["outputStatistics"]["rowCount"] == 0


@pytest.mark.thorough
def test_a_flow_run_is_the_parent_and_a_champion_an_input_of_its_scores(answering, trueup, tmp_path, prefect_server):
    server = answering(201)
    streams.write(tmp_path, streams.Stream(days=49, per_day=80).frame(), PLAIN)
    there = {"PREFECT_API_URL": prefect_server, "TRUEUP_LINEAGE_URL": server.url}
    done = trueup.apart("run", "toy", "--as-of", "2024-02-12", **there)
    assert done.code == 0, done.err
    ended = {e["job"]["name"]: e for e in server.bodies if e["eventType"] == "COMPLETE"}
    assert list(ended) == [f"toy.{stage}" for stage in [*JUDGED, "refit", "promote"]]
    assert {e["run"]["facets"]["parent"]["job"]["name"] for e in ended.values()} == {"run"}
    assert ended["toy.promote"]["outputs"][1]["name"] == "models/toy@champion"
    server.received.clear()
    assert trueup.apart("score", "toy", TRUEUP_LINEAGE_URL=server.url).code == 0
    (score,) = [e for e in server.bodies if (e["job"]["name"], e["eventType"]) == ("toy.score", "COMPLETE")]
    assert score["inputs"][1]["name"].startswith("models/toy/")
    fields = dataset(score, "outputs", "toy/predictions")["facets"]["columnLineage"]["fields"]["prediction"]
    assert {f["field"] for f in fields["inputFields"]} == {"x", "z", "group"}


def test_a_stage_that_fails_says_why_and_the_error_stays_the_same(trueup, tmp_path, monkeypatch):
    file = tmp_path / "lineage" / "events.jsonl"
    monkeypatch.setenv("TRUEUP_LINEAGE_URL", f"file://{file}")
    (tmp_path / "configs" / "data" / "stream.csv").write_text("id,t,x,z,group,y\n1,yesterday,0,0,a,1\n")
    done = trueup("run", "toy", "--as-of", "2024-01-08")
    assert done.code == 1
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(e["job"]["name"], e["eventType"]) for e in events] == [("toy.ingest", "START"), ("toy.ingest", "FAIL")]
    message = events[1]["run"]["facets"]["errorMessage"]["message"]
    assert "ingest.time" in message
    assert message.split(":")[0] in done.err
    assert events[0]["run"]["runId"] == events[1]["run"]["runId"]
    again = trueup("run", "toy", "--as-of", "2024-01-08")
    assert again.code == 1
    assert len({json.loads(line)["run"]["runId"] for line in file.read_text().splitlines()}) == 2, (
        "files are appended to"
    )


def test_a_server_that_is_away_holds_nothing_up_and_is_told(trueup, monkeypatch, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("TRUEUP_LINEAGE_URL", f"http://user:word@127.0.0.1:{port}")
    done = trueup("run", "toy", "--as-of", "2024-01-15", "--retrain", "never")
    assert done.code == 0
    said = " ".join(caplog.text.split())
    lost = re.search(r"lineage: (\d+) of (\d+) events were not sent: http://user:\*\*\*@127.0.0.1:\d+: \[Errno", said)
    assert lost, said
    assert lost[1] == lost[2]
    assert "the run is not affected" in said
    assert "word@" not in said


def test_an_address_that_cannot_be_one_is_refused(trueup, monkeypatch):
    monkeypatch.setenv("TRUEUP_LINEAGE_URL", "marquez")
    done = trueup("run", "toy")
    assert done.code == 2
    assert "TRUEUP_LINEAGE_URL: marquez is no address for lineage; write http://host:port or file:///path" in done.err


def test_an_address_for_other_programs_that_cannot_be_used_ends_no_run(trueup, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    for wrong in ("marquez", f"file://{tmp_path}/file/events.jsonl"):
        monkeypatch.setenv("OPENLINEAGE_URL", wrong)
        done = trueup("score", "toy", "--as-of", "2024-01-08")
        assert done.code == 0, done.err
        assert f"{wrong} is to get lineage, and gets none" in caplog.text


class Slow:
    """A transport that needs a while, and fails while it is told to."""

    def __init__(self, seconds=0.0):
        self.seconds, self.fails, self.events = seconds, False, []

    def emit(self, event):
        time.sleep(self.seconds)
        if self.fails:
            raise RuntimeError("no route\nto host")
        self.events.append(event)


@pytest.fixture
def happening():
    from datetime import UTC, datetime

    from trueup.domain.lineage import Happening, Parent, StageRun

    now = datetime.now(UTC)
    return Happening("START", now, StageRun("h", "m", "train", "x", Parent(str(UUID(int=1)), "run", now)))


def test_the_wait_at_the_end_is_bounded_and_what_is_left_counts_as_lost(happening):
    transport = Slow(0.3)
    lineage = Lineage(transport, "there", "trueup")
    for _ in range(5):
        lineage.add(happening)
    begun = time.monotonic()
    sent = lineage.flush(wait=0.4)
    assert time.monotonic() - begun < 0.8
    assert 3 <= sent.lost <= 4
    assert f"{sent.lost} of 5 events were not sent: there does not answer in 0.4 s" in sent.words
    later = lineage.flush(wait=10)
    assert (len(transport.events), later.lost, later.words) == (5, 0, "")


def test_a_server_counts_as_away_for_a_minute_and_is_then_tried_again(happening):
    now, transport = [100.0], Slow()
    lineage = Lineage(transport, "there", "trueup", clock=lambda: now[0])
    transport.fails = True
    for _ in range(4):
        lineage.add(happening)
    assert lineage.flush().words == "lineage: 4 of 4 events were not sent: there: no route; the run is not affected"
    transport.fails = False
    lineage.add(happening)
    assert lineage.flush().lost == 1, "it is not tried before the minute is over"
    now[0] += 61
    lineage.add(happening)
    assert lineage.flush().words == ""
    assert len(transport.events) == 1
