"""The outbox and a real server: every event arrives, once, in order, also when the server was away."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests import streams
from tests.free import free_port
from tests.story import PLAIN, Story, stream
from trueup.adapters.apprise import addresses
from trueup.adapters.prefect_events import EventApi
from trueup.config.settings import Settings
from trueup.domain.events import DataArrived, DataBroken
from trueup.home import Home
from trueup.ledger.entries import Event
from trueup.loop.notices import notify
from trueup.loop.outbox import Relayed, relay


@pytest.fixture
def home(tmp_path):
    home = Home(Settings(home=tmp_path / "home"))
    yield home
    home.close()


def announce(home, model, *keys):
    payload = DataArrived(model=model, as_of=datetime(2013, 3, 1), batch="a/b")
    home.ledger.announce(model, [Event.of(payload, str(key)) for key in keys])


def on_server(model, wanted, seconds=30):
    """The events of a model as the server has them, oldest first; it writes them some moments after it took them."""
    from prefect.client.orchestration import get_client

    body = {"filter": {"resource": {"id": [f"trueup.model.{model}"]}, "order": "ASC"}, "limit": 50}
    end = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        while True:
            page = client._client.post("/events/filter", json=body).json()
            found = page["events"]
            while page["next_page"]:
                page = client._client.get(page["next_page"].split("/api", 1)[1]).json()
                found += page["events"]
            if len(found) >= wanted or time.monotonic() > end:
                return found
            time.sleep(0.3)


def test_events_are_delivered_once_and_in_order(prefect_server, home):
    announce(home, "once", *range(100))
    ids = [m.event_id for m in home.ledger.pending_outbox()]
    assert relay(home, EventApi(prefect_server)) == Relayed(100, 0)
    assert relay(home, EventApi(prefect_server)) == Relayed(0, 0)
    found = on_server("once", 100)
    assert {e["id"] for e in found} == set(ids)
    assert len(found) == 100
    assert {e["event"] for e in found} == {"trueup.data.arrived"}
    assert found[0]["payload"] == {"model": "once", "as_of": "2013-03-01T00:00:00", "batch": "a/b"}
    assert found[0]["resource"]["prefect.resource.id"] == "trueup.model.once"


def test_the_same_event_twice_is_one_event(prefect_server, home):
    announce(home, "twice", 1, 2)
    waiting = home.ledger.pending_outbox()
    api = EventApi(prefect_server)
    api.send(waiting)  # and the process dies before it could mark them
    assert relay(home, api) == Relayed(2, 0)
    assert len(on_server("twice", 2)) == 2
    time.sleep(1)
    assert len(on_server("twice", 3, seconds=1)) == 2


def test_while_the_server_is_away_events_wait(prefect_server, home):
    announce(home, "away", 1, 2, 3)
    found = relay(home, EventApi(f"http://127.0.0.1:{free_port()}/api"))
    assert (found.delivered, found.pending) == (0, 3)
    assert "does not answer" in found.problem
    assert "PREFECT_API_URL" in found.problem
    assert relay(home, None) == Relayed(0, 3)
    assert relay(home, EventApi(prefect_server)) == Relayed(3, 0)
    assert len(on_server("away", 3)) == 3


def test_what_the_server_took_and_lost_is_handed_over_again(prefect_server, home):
    """As when it is killed between its answer and its database. What it has is not sent again."""
    announce(home, "lost", *range(60))
    waiting = home.ledger.pending_outbox()
    api = EventApi(prefect_server)
    api.send(waiting[:57])
    home.ledger.mark_delivered(waiting)
    assert len(on_server("lost", 57)) == 57
    assert relay(home, api, lost=True) == Relayed(0, 0)  # it may still be about to write them
    now = datetime.now(UTC)
    home.now = lambda: now + timedelta(minutes=1)
    assert relay(home, api) == Relayed(0, 0)
    assert relay(home, api, lost=True) == Relayed(3, 0)
    assert {e["id"] for e in on_server("lost", 60)} == {m.event_id for m in waiting}
    assert relay(home, api, lost=True) == Relayed(0, 0)
    away = relay(home, EventApi(f"http://127.0.0.1:{free_port()}/api"), lost=True)
    assert (away.delivered, away.pending) == (0, 0)
    assert "does not answer" in away.problem
    home.now = lambda: now + timedelta(days=2)
    assert relay(home, None, lost=True) == Relayed(0, 0)


def test_an_event_that_the_server_refuses_does_not_hold_up_the_others(prefect_server, home):
    home.ledger.announce("odd", [Event("x" * 2000, {}, "not a uuid")])
    announce(home, "odd", 1, 2)
    found = relay(home, EventApi(prefect_server))
    assert (found.delivered, found.pending) == (2, 1)
    assert "refused" in found.problem
    assert len(on_server("odd", 2)) == 2


def test_only_an_answer_that_says_so_counts(home, answering):
    announce(home, "toy", 1)
    for status, word in ((500, "answered 500"), (302, "answered 302"), (401, "PREFECT_API_AUTH_STRING")):
        server = answering(status)
        found = relay(home, EventApi(server.url, auth="me:secret"))
        assert (found.delivered, found.pending) == (0, 1)
        assert word in found.problem
        assert "secret" not in found.problem
        assert server.headers[0]["Authorization"] == "Basic bWU6c2VjcmV0"
    assert relay(home, EventApi(answering(204).url)).delivered == 1


def test_a_run_passes_its_events_on_and_never_fails_for_them(prefect_server, tmp_path, monkeypatch):  # noqa: ARG001
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from trueup.orchestration import context
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    told = Story(tmp_path, stream(7), PLAIN)
    monkeypatch.setenv("TRUEUP_HOME", str(told.folder / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(told.configs))
    away = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: away}), context.opened("toy", streams.week(1)) as o:
        announce(o.model.home, "passed", 1)
    assert len(told.home.ledger.pending_outbox()) == 1
    with context.opened("toy", streams.week(1)) as o:
        announce(o.model.home, "passed", 2)
    assert told.home.ledger.pending_outbox() == []
    announce(told.home, "passed", 3)
    assert reconcile_home().events.delivered == 1
    assert len(on_server("passed", 3)) == 3
    told.home.ledger.announce("passed", [Event("x", {}, "not a uuid")])
    assert any("refused" in problem for problem in reconcile_home().problems)


def test_people_are_told_once_of_what_needs_them(home, answering, monkeypatch):
    from trueup.domain.events import RetrainRefused
    from trueup.orchestration.hooks import notify_of_failure, pass_on

    def moment(**more):
        return {"model": "toy", "as_of": datetime(2013, 3, 1), "batch": "a/b", "reasons": ["x is missing"], **more}

    refused = [RetrainRefused(**moment(reason="stale", rule=rule)) for rule in ("cooldown", "rejections")]
    home.ledger.announce(
        "toy", [Event.of(p, str(i)) for i, p in enumerate([DataBroken(**moment(revision=1)), *refused])]
    )
    announce(home, "toy", 1)
    pass_on(home)  # nobody is named: silence
    server = answering(200)
    monkeypatch.setenv("TRUEUP_NOTIFY", server.url.replace("http:", "json:"))
    again = Home(Settings(home=home.root))
    assert again.ledger is not None
    pass_on(again)
    pass_on(again)
    assert len(server.bodies) == 1
    assert server.bodies[0]["title"] == "Trueup: 2 things to look at"
    assert "toy has a broken batch (batch a/b): x is missing" in server.bodies[0]["message"]
    assert "no longer retrained" in server.bodies[0]["message"]

    down = answering(500)
    monkeypatch.setenv("TRUEUP_NOTIFY", down.url.replace("http:", "json:"))
    other = Home(Settings(home=home.root))
    other.ledger.announce("toy", [Event.of(DataBroken(**moment(revision=2)), "r2")])
    pass_on(other)
    assert len(other.ledger.pending_notices()) == 1  # and the next run tries again

    from types import SimpleNamespace

    monkeypatch.setenv("TRUEUP_NOTIFY", server.url.replace("http:", "json:"))
    notify_of_failure(
        SimpleNamespace(name="run"), SimpleNamespace(name="run toy"), SimpleNamespace(name="Failed", message="no")
    )
    assert server.bodies[-1]["title"] == "Trueup: run toy failed"
    again.close()
    other.close()


def broken(revision):
    """An event that people are told of."""
    said = {"model": "toy", "as_of": datetime(2013, 3, 1), "batch": "a/b", "reasons": ["x is missing"]}
    return Event.of(DataBroken(**said, revision=revision), f"revision {revision}")


def test_an_address_that_is_dead_brings_the_others_nothing_twice(home, answering):
    alive, dead = answering(200), answering(500)
    people = addresses(",".join(server.url.replace("http:", "json:") for server in (dead, alive)))
    for revision in (1, 2):
        home.ledger.announce("toy", [broken(revision)])
        found = notify(home, people)
        assert found.problem.startswith("TRUEUP_NOTIFY: a message to address 1 could not be sent")
        assert (found.delivered, found.pending) == (0, revision)
    notify(home, people)
    assert [body["message"].count("x is missing") for body in alive.bodies] == [1, 1]
    assert dead.bodies[-1]["message"].count("x is missing") == 2
    moved = addresses(answering(200).url.replace("http:", "json:"))
    assert notify(home, moved) == Relayed(2, 0)  # the dead one was taken out, and another came
    assert home.ledger.pending_notices() == []
    with home.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM told").scalar() == 0


def test_two_runs_that_end_at_once_tell_once(home, tmp_path):
    """The second comes while the first is at it."""
    home.ledger.announce("toy", [broken(1)])

    class Slow:
        digest = "somebody"

        def __init__(self):
            self.said = []

        def send(self, _title, text):
            self.said.append(text)
            if len(self.said) == 1:
                other = Home(Settings(home=tmp_path / "home"))
                assert notify(other, [self]) == Relayed(0, 1)
                other.close()

    slow = Slow()
    assert notify(home, [slow]) == Relayed(1, 0)
    assert len(slow.said) == 1


def test_a_failed_flow_tells_people(prefect_server, tmp_path, monkeypatch, answering):  # noqa: ARG001
    from flows.score import score
    from trueup.errors import NoData

    server = answering(200)
    monkeypatch.setenv("TRUEUP_NOTIFY", server.url.replace("http:", "json:"))
    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(streams.write(tmp_path, stream(7))))
    with pytest.raises(NoData):
        score("toy", as_of=streams.START)
    assert "no complete week" in server.bodies[-1]["message"]
    assert server.bodies[-1]["title"] == "Trueup: score toy as of 2024-01-01 failed"
