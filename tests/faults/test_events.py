"""Events that come twice, from another time, or again and again although nothing comes of them, on a real stack."""

import pytest

from tests import streams
from tests.faults.held import Held, config
from tests.stack import ENDED, LEAN, Stack, toy_project, until
from tests.story import Story, stream, window
from trueup.adapters.prefect_events import EventApi
from trueup.domain.events import ModelDecayed, ModelStale, interval
from trueup.ledger.entries import Event
from trueup.loop.may_start import clear
from trueup.loop.outbox import relay
from trueup.orchestration.recovery import processes

pytestmark = (
    pytest.mark.thorough
)  # a stack of its own and eight minutes; the rules themselves are in tests/loop/test_may_start

NOW = streams.week(7)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A home with a champion after seven weeks, whose source has nine."""
    folder = tmp_path_factory.mktemp("events")
    Held(streams.write(folder, stream(9 * 7)))
    story = Story(folder, stream(9 * 7), config() + "retrain: {max_rejections: 3}\n")
    assert story.turn(5).decided.outcome == "promoted"
    story.turn(7)
    return story


@pytest.fixture(scope="module")
def stack(told):
    found = Stack(told.folder / "home", toy_project(told.folder), more={"TRUEUP_CONFIGS": str(told.configs)} | LEAN)
    assert found.up()["ready"]
    yield found
    processes.end(found.home.resolve(), grace=0)


def raised(told, stack, topic, as_of, key):
    """Raise an event as the loop does: into the outbox, and from there to the server."""
    reason = "decayed" if topic is ModelDecayed else "stale"
    batch = interval(window(6))
    payload = topic(model="toy", as_of=as_of, batch=batch, revision=1, reasons=[key], reason=reason)
    event = Event.of(payload, key)
    told.home.ledger.announce("toy", [event])
    waiting = told.home.ledger.pending_outbox()
    api = EventApi(f"http://127.0.0.1:{stack.ports['prefect']}/api")
    assert relay(told.home, api).pending == 0
    return next(m for m in waiting if m.event_id == event.event_id)


def retrains(stack):
    body = {"flows": {"name": {"any_": ["retrain"]}}, "sort": "EXPECTED_START_TIME_ASC"}
    return [r["state"]["type"] for r in stack.ask("/flow_runs/filter", body)]


def ended(stack, count):
    """Wait until so many retrains have ended."""
    return until(lambda: (r := retrains(stack)) and len(r) == count and set(r) <= ENDED and r, 90)


def new(told, before):
    return [e for e in told.home.ledger.entries("toy") if e.seq > before]


def test_the_same_event_twice_is_one_retrain(told, stack):
    before = told.home.ledger.entries("toy")[-1].seq
    event = raised(told, stack, ModelDecayed, NOW, "twice")
    EventApi(f"http://127.0.0.1:{stack.ports['prefect']}/api").send([event, event])
    assert ended(stack, 1) == ["COMPLETED"]
    assert [e.kind for e in new(told, before)] == ["promoted"]
    assert told.home.ledger.entries("toy")[-1].body.trigger.reason == "decayed"


def test_events_from_another_time_are_recorded_and_start_nothing(told, stack):
    before = told.home.ledger.entries("toy")[-1].seq
    raised(told, stack, ModelStale, streams.week(3), "long ago")
    ended(stack, 2)  # one retrain at a time: another would be cancelled
    raised(told, stack, ModelDecayed, streams.week(60), "in a year")
    assert ended(stack, 3) == ["COMPLETED"] * 3
    found = new(told, before)
    assert {e.kind for e in found} == {"refused"}
    assert sorted(e.body.rule for e in found) == ["future", "past"]


def test_trainings_that_fail_again_and_again_stop_until_a_person_lets_them_go_on(told, stack):
    held, before = Held(told.configs), told.home.ledger.entries("toy")[-1].seq
    held.fail(True)
    for count, topic in ((4, ModelDecayed), (5, ModelStale), (6, ModelDecayed), (7, ModelStale)):
        raised(told, stack, topic, streams.week(8), f"try {count}")
        states = ended(stack, count)
    assert states[3:] == ["FAILED", "FAILED", "FAILED", "COMPLETED"]
    assert [e.kind for e in new(told, before)] == ["failed", "failed", "failed", "refused"]
    assert "the feature has failed" in new(told, before)[0].body.reasons[0]
    assert new(told, before)[-1].body.rule == "rejections"
    alerts = {"filter": {"event": {"name": ["trueup.retrain.refused"]}}, "limit": 50}

    def rules():
        return [e["payload"]["rule"] for e in stack.ask("/events/filter", alerts)["events"]]

    until(lambda: "rejections" in rules(), 60)
    assert rules().count("rejections") == 1
    held.fail(False)
    clear(told.model, "a tester")
    raised(told, stack, ModelDecayed, streams.week(8), "again")
    assert ended(stack, 8)[-1] == "COMPLETED"
    assert new(told, before)[-1].kind in {"promoted", "rejected", "held"}
    assert told.home.ledger.verify() == []
