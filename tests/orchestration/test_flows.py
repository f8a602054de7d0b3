"""The Prefect flows: the same decisions as the stages alone, and something to see on their page."""

import json
from pathlib import Path

import pytest

from tests import streams
from tests.story import PLAIN, NoReports, Story, stream
from trueup.adapters.background import shared

ROOT = Path(__file__).parents[2]
WEEKS = (5, 7, 9)  # a first champion; two weeks without trouble; a change of the relation
HOME_OWN = {
    "uri",
    "run_id",
    "earlier",  # runs
    "path",
    "baseline_path",
    "sample_path",
    "manifest_digest",
    "against",
    "search",
    "seconds",
    "actor",
    "asked_at",
    "export",  # with the time of a row
}


@pytest.fixture(scope="module")
def both(prefect_server, tmp_path_factory):  # noqa: ARG001  (it only has to be there)
    """The same data and moments in two homes: through the stages, and through the flow."""
    from flows.run import run

    rows = stream(9 * 7, change_on=7 * 7)
    alone, flown = (Story(tmp_path_factory.mktemp(name), rows, PLAIN + "export: {}\n") for name in ("alone", "flown"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUEUP_HOME", str(flown.folder / "home"))
        patch.setenv("TRUEUP_CONFIGS", str(flown.configs))
        pairs = [(alone.turn(WEEKS[0]), run("toy", as_of=streams.week(WEEKS[0])))]
        patch.setattr("trueup.home.shared", NoReports)  # once is enough: rendering takes longest of all
        pairs += [(alone.turn(week), run("toy", as_of=streams.week(week))) for week in WEEKS[1:]]
        repeated = run("toy", as_of=streams.week(WEEKS[-1]))
    yield alone, flown, pairs, repeated
    alone.home.close()
    flown.home.close()


def test_the_flow_decides_as_the_stages_do(both):
    _, _, pairs, _ = both
    assert pairs[0][0].decided.outcome == "promoted"
    for ours, theirs in pairs:
        assert ours.decided == theirs.decided
        assert ours.observed == theirs.observed
        assert ours.scored == theirs.scored
        assert [(c.status, c.reasons, c.batch.rows.sha256) for c in ours.batches] == [
            (c.status, c.reasons, c.batch.rows.sha256) for c in theirs.batches
        ]


def test_both_ledgers_record_the_same(both):
    alone, flown, _, _ = both
    ours, theirs = ([plain(json.loads(e.text)) for e in story.home.ledger.entries("toy")] for story in (alone, flown))
    assert len(ours) >= 2
    assert ours == theirs
    assert flown.home.ledger.verify() == []


def test_both_serve_the_same_predictions(both):
    alone, flown, _, _ = both
    for week in (5, 6, 7, 8):
        assert len(alone.predictions(week)) == 560
        assert alone.predictions(week).equals(flown.predictions(week))


def test_a_repeated_flow_gives_the_recorded_result(both):
    _, _, pairs, repeated = both
    assert repeated == pairs[-1][1]


def test_flow_runs_have_names_that_people_can_read(both):  # noqa: ARG001
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=100)
        tasks = client.read_task_runs(limit=200)
    ours = [r for r in runs if r.parameters.get("model") == "toy"]
    assert len(ours) >= len(WEEKS) + 1
    assert {r.name for r in ours} >= {f"run toy as of {streams.week(week):%Y-%m-%d}" for week in WEEKS}
    assert {t.name for t in tasks} >= {
        "ingest toy",
        "validate toy",
        "score toy",
        "monitor toy",
        "train toy",
        "export toy",
        "promote toy",
    }


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("validation-toy", "rows, 0 in quarantine"),
        ("diagnosis-toy", "**Inputs**"),
        ("decision-toy", "| check | verdict | why |"),
        ("decision-toy", "| export parity | ✔ pass | without scikit-learn"),
    ],
)
def test_flows_leave_artifacts(both, key, words):  # noqa: ARG001
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    assert found
    assert any(words in str(a.data) for a in found)


def test_reports_are_rendered_beside_the_flow(both):
    _, flown, _, _ = both
    assert shared().wait() == []
    reports = flown.folder / "home" / "reports"
    assert (reports / "data_docs" / "index.html").exists()
    (report,) = (reports / "runs" / "toy").iterdir()
    assert list(report.glob("*.png"))


def test_retrain_score_and_monitor_go_on_from_there(both, monkeypatch):
    from flows.monitor import monitor
    from flows.retrain import retrain
    from flows.score import score

    _, flown, pairs, _ = both
    monkeypatch.setenv("TRUEUP_HOME", str(flown.folder / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(flown.configs))
    monkeypatch.setattr("trueup.home.shared", NoReports)
    now = streams.week(WEEKS[-1])
    assert score("toy", as_of=now).new == 0
    assert monitor("toy", as_of=now) == pairs[-1][1].observed[-1]
    decided = retrain("toy", as_of=streams.week(5))
    assert decided.outcome == "held"
    assert "not enough new labels" in decided.reasons[0]


def test_an_error_of_the_work_fails_the_flow_at_once(prefect_server, tmp_path, monkeypatch):  # noqa: ARG001
    from flows.run import run
    from trueup.errors import NoData

    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(streams.write(tmp_path, stream(7))))
    with pytest.raises(NoData):
        run("toy", as_of=streams.START)


def plain(body):
    """A record without what differs from home to home: places, and the digests of files that name them."""
    if isinstance(body, dict):
        return {k: plain(v) for k, v in body.items() if k not in HOME_OWN}
    return [plain(v) for v in body] if isinstance(body, list) else json.loads(json.dumps(body))


def test_the_feed_reads_the_config_written_by_hand(prefect_server, tmp_path, monkeypatch):  # noqa: ARG001
    """The one that TRUEUP_CONFIGS names; in the project where that names what the feed writes for the loop."""
    from flows.feed import feed

    configs = streams.write(tmp_path, streams.Stream(days=21, per_day=20).frame())
    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(configs))
    assert feed("toy") == f"{streams.week(0).isoformat()}/{streams.week(1).isoformat()}"
    monkeypatch.setenv("TRUEUP_CONFIGS", str(tmp_path / "home" / "feed" / "configs"))
    monkeypatch.chdir(tmp_path)
    assert feed("toy") == f"{streams.week(1).isoformat()}/{streams.week(2).isoformat()}"
