"""Automations that could not act on a real server are told once, with the model that set them off."""

import time
import uuid
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests import streams
from tests.story import PLAIN, window
from trueup.adapters.prefect_events import EventApi, FailedAction, ServerEvent
from trueup.config.settings import Settings
from trueup.domain.events import DataArrived, ModelDecayed, interval
from trueup.home import Home
from trueup.ledger.entries import Event
from trueup.loop.failed_automations import announce_failures
from trueup.loop.notices import notify
from trueup.loop.outbox import relay

MODEL = "auto"  # the server is shared with other tests, whose homes know no model of that name
TOPIC = "trueup.automation.failed"


@pytest.fixture
def home(tmp_path, monkeypatch):
    configs = streams.write(tmp_path, streams.Stream(days=7, per_day=20).frame(), PLAIN.replace("toy", MODEL))
    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(configs))
    home = Home(Settings())
    yield home
    home.close()


@pytest.fixture
def automation(prefect_server):
    """Make automations that start `retrain`; they are gone at the end."""
    from prefect.client.orchestration import get_client
    from prefect.utilities.callables import parameter_schema

    from flows.retrain import retrain

    made = []
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            flow_id=client.create_flow(retrain),
            name=MODEL,
            parameters={"model": "flight_delays"},
            parameter_openapi_schema=parameter_schema(retrain).model_dump_for_openapi(),
            enforce_parameter_schema=True,
        )

        def make(name, topic, parameters):
            match = {"prefect.resource.id": f"trueup.model.{MODEL}"}
            trigger = {"type": "event", "posture": "Reactive", "expect": [topic], "match": match, "threshold": 1}
            action = {"type": "run-deployment", "deployment_id": str(deployment), "parameters": parameters}
            body = {"name": name, "trigger": {**trigger, "within": 0}, "actions": [action]}
            answer = httpx.post(f"{prefect_server}/automations/", json=body, timeout=30)
            made.append(answer.raise_for_status().json()["id"])

        yield make
        for each in made:
            httpx.delete(f"{prefect_server}/automations/{each}", timeout=30).raise_for_status()
        client.delete_deployment(deployment)


def decayed(key):
    batch = interval(window(0))
    payload = ModelDecayed(model=MODEL, as_of=streams.week(1), batch=batch, revision=1, reasons=[key])
    return Event.of(payload, key)


def until_told(wanted):
    """Reconcile until so many failures were told: the server acts some moments after it took an event."""
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    told, end = 0, time.monotonic() + 60
    while told < wanted:
        assert time.monotonic() < end, f"{told} of {wanted}"
        found = reconcile_home()
        assert found.problems == ()
        told += found.failed_automations
        time.sleep(0.5)
    return told


def test_a_payload_that_fits_no_parameter_is_told_once(prefect_server, automation, home, answering, monkeypatch):
    people = answering(200)
    monkeypatch.setenv("TRUEUP_NOTIFY", people.url.replace("http:", "json:"))
    automation("retrain on what is not there", "trueup.model.decayed", {"as_of": "{{ event.payload.nothing }}"})
    automation("retrain when data arrives", "trueup.data.arrived", {"as_of": "{{ event.payload.batch }}"})
    time.sleep(2)  # until the server listens for them
    arrived = DataArrived(model=MODEL, as_of=streams.week(1), batch=interval(window(0)))
    home.ledger.announce(MODEL, [decayed("x is useless"), Event.of(arrived, "1")])
    assert relay(home, EventApi(prefect_server)).delivered == 2

    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    assert until_told(2) == 2
    assert reconcile_home().failed_automations == 0
    said = "\n".join(body["message"] for body in people.bodies)
    assert said.count("has an automation that could not act") == 2
    assert f"{MODEL} has an automation that could not act (retrain on what is not there): " in said
    assert "InvalidJinja" in said
    assert "auto has decayed" in said

    assert home.ledger.pending_outbox() == []  # the server has been told, too
    body = {"filter": {"event": {"name": [TOPIC]}, "resource": {"id": [f"trueup.model.{MODEL}"]}}, "limit": 50}
    end, events = time.monotonic() + 30, []
    while len(events) < 2 and time.monotonic() < end:
        time.sleep(0.3)
        events = httpx.post(f"{prefect_server}/events/filter", json=body, timeout=30).json()["events"]
    payloads = {e["payload"]["automation"]: e["payload"] for e in events}
    assert set(payloads) == {"retrain on what is not there", "retrain when data arrives"}
    for payload, topic in zip(
        (payloads["retrain on what is not there"], payloads["retrain when data arrives"]),
        ("trueup.model.decayed", "trueup.data.arrived"),
        strict=True,
    ):
        assert payload["as_of"] == streams.week(1).isoformat()
        assert (payload["action"], payload["event"]) == ("run-deployment", topic)
        assert payload["reasons"][0]
    runs = httpx.post(
        f"{prefect_server}/flow_runs/filter", json={"deployments": {"name": {"any_": [MODEL]}}}, timeout=30
    )
    assert runs.json() == []  # nothing was started: without the event nobody would know


def test_every_page_is_read(prefect_server):
    """More than the server gives at once, all set off by the same event."""
    now, cause = datetime.now(UTC), str(uuid.uuid4())
    resource = {"prefect.resource.id": "trueup.model.of-nobody"}
    events = [{"id": cause, "occurred": now.isoformat(), "event": "trueup.model.stale", "resource": resource}]
    events += [failed(f"page {number}", now, cause) for number in range(120)]
    httpx.post(f"{prefect_server}/events", json=events, timeout=30).raise_for_status()
    end, found = time.monotonic() + 60, []
    while len(found) < 120 and time.monotonic() < end:
        time.sleep(0.5)
        everything = EventApi(prefect_server).failed_actions(now - timedelta(minutes=1))
        found = [f for f in everything if f.automation.startswith("page ")]
    assert {f.automation for f in found} == {f"page {number}" for number in range(120)}
    assert {f.set_off_by.event for f in found} == {"trueup.model.stale"}


def failed(name, moment, cause):
    return {
        "id": str(uuid.uuid4()),
        "occurred": moment.isoformat(),
        "event": "prefect.automation.action.failed",
        "resource": {"prefect.resource.id": f"prefect.automation.{uuid.uuid4()}", "prefect.resource.name": name},
        "related": [
            {"prefect.resource.id": f"prefect.event.{cause}", "prefect.resource.role": "triggering-event"},
        ],
        "payload": {"action_type": "run-deployment", "reason": "because"},
    }


class Server:
    """Stands where a Prefect server does."""

    def __init__(self, *failures: FailedAction) -> None:
        self.failures = failures

    def failed_actions(self, _since: datetime) -> tuple[FailedAction, ...]:
        return self.failures


def test_without_a_model_it_is_told_too_and_what_is_another_homes_is_not(home):
    moment = datetime(2024, 3, 1, 12, tzinfo=UTC)

    def caused(by, action="run-deployment"):
        return FailedAction(str(uuid.uuid4()), moment, "an automation", action, "because", by)

    odd = ServerEvent("1", moment, "x", {"prefect.resource.id": f"trueup.model.{MODEL}"}, {"as_of": "soon"})
    other = ServerEvent("2", moment, "x", {"prefect.resource.id": "trueup.model.other"}, {})
    ended = caused(None, "change-flow-run-state")  # a run was to be marked as dead that ended just then
    server = Server(caused(None), caused(odd), caused(other), ended)
    assert announce_failures(home, server, [MODEL]) == 2
    assert announce_failures(home, server, [MODEL]) == 0
    told = [(m.model, m.payload["as_of"], m.payload["event"]) for m in home.ledger.pending_outbox()]
    assert told == [("-", "2024-03-01T12:00:00", None), (MODEL, "2024-03-01T12:00:00", "x")]

    class Person:
        said, digest = "", "somebody"

        def send(self, _title, text):
            self.said = text

    person = Person()
    notify(home, [person])
    assert person.said.splitlines()[0] == "Prefect has an automation that could not act (an automation): because"
