"""The whole chain on a real server and worker: batches arrive, and everything else follows with nobody calling anything.

The first weeks were lived through before the stack was started, for every flow run costs a start of Python.
"""

import os
import signal
import time
from datetime import timedelta

import pytest

from tests import streams
from tests.stack import LEAN, Stack, answers, toy_project, until
from tests.story import PLAIN, Story, stream, window
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.events import ModelDecayed, interval
from trueup.governance.status import decisions
from trueup.home import Home
from trueup.ledger.canonical import stamp
from trueup.ledger.entries import Event
from trueup.ledger.tables import OUTBOX
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import Model
from trueup.orchestration.recovery import processes
from trueup.upkeep.simulate_arrivals import feed_next

pytestmark = pytest.mark.thorough

WEEKS = 11
BEFORE = 6  # weeks handled before the stack is there
SURE = 8  # the second week of the change: by then it is decayed
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    home = folder / "home"
    story = Story(folder, stream(WEEKS * 7, change_on=7 * 7, per_day=160), PLAIN)
    configs = lived(story, BEFORE)
    found = Stack(home, toy_project(folder), more={"TRUEUP_CONFIGS": str(configs)} | LEAN)
    assert found.up()["ready"]
    yield found
    processes.end(home.resolve(), grace=0)


@pytest.fixture(scope="module")
def home(stack):
    opened = Home(Settings(home=stack.home, configs=stack.home / "feed" / "configs"))
    yield opened
    opened.close()


def lived(story, weeks):
    """Hand out so many weeks and handle them here. Gives the folder of the config that the loop reads."""
    for _ in range(weeks):
        configs = feed_next(story.model).configs
    live = Home(Settings(home=story.home.root, configs=configs))
    live.background = story.home.background
    cycle(steps, Model(load_model(configs, "toy"), live), streams.week(weeks))
    with live.engine.begin() as connection:  # delivered so long ago that no server is asked whether it still knows
        connection.execute(OUTBOX.update().values(delivered_at=stamp(live.now() - timedelta(days=9))))
    live.close()
    story.home.close()
    return configs


def feed(stack, home, week):
    """Hand out a week, as its schedule would, and wait until it was handled and what came of it has ended."""
    assert stack.ended(stack.runs("feed/toy", model="toy"))["type"] == "COMPLETED"
    until(lambda: window(week) in {r.window for r in home.store.results("toy", "run", dict)}, 150)
    until(lambda: not home.ledger.pending_outbox(), 60)
    until(lambda: quiet(stack), 150)


def of_flow(stack, name):
    """The flow runs of a flow, oldest first."""
    body = {
        "flows": {"name": {"any_": [name]}},
        "flow_runs": {"start_time": {"is_null_": False}},
        "sort": "START_TIME_ASC",
    }
    return stack.ask("/flow_runs/filter", body)


def quiet(stack):
    """Nothing of ours is at work or about to be."""
    busy = {"type": {"any_": ["RUNNING", "PENDING"]}}
    body = {"flows": {"name": {"any_": ["run", "retrain"]}}, "flow_runs": {"state": busy}}
    return not stack.ask("/flow_runs/filter", body)


def test_a_batch_fed_leads_to_a_new_champion(stack, home):
    def promoted_for_decay():
        return [d for d in decisions(home, "toy", 50) if (d.outcome, d.reason) == ("promoted", "decayed")]

    for week in range(BEFORE, WEEKS):
        feed(stack, home, week)
        if week >= SURE and promoted_for_decay():
            break
    found = until(promoted_for_decay, 150)
    assert found[0].version > 1
    assert home.registry.champion_alias(load_model(home.configs, "toy").registered_name) == found[0].version
    handled = {r.window for r in home.store.results("toy", "run", dict)}
    assert handled >= {window(w) for w in range(SURE + 1)}
    for flow in ("run", "retrain"):
        runs = of_flow(stack, flow)
        assert runs, flow
        assert {r["created_by"]["type"] for r in runs} == {"AUTOMATION"}, flow
    assert home.ledger.verify() == []
    assert not list((stack.home / "reports").rglob("*.html"))  # as TRUEUP_REPORTS wants it


def test_a_burst_of_decay_events_gives_one_training(stack, home):
    until(lambda: quiet(stack), 120)
    time.sleep(12)  # a burst right after an event that fired is swallowed whole, see `within` in prefect.yaml
    before, trained = len(decisions(home, "toy", 500)), len(of_flow(stack, "retrain"))
    newest = max(r.window.end for r in home.store.results("toy", "run", dict))
    burst = [decayed(newest, f"burst {i}") for i in range(100)] + [decayed(newest, "the same")] * 30
    assert home.ledger.announce("toy", burst) == 101
    code, said = stack("reconcile")
    assert code == 0, said
    until(lambda: len(of_flow(stack, "retrain")) > trained, 120)
    until(lambda: quiet(stack), 120)
    new = decisions(home, "toy", 500)[: len(decisions(home, "toy", 500)) - before]
    assert len([d for d in new if d.outcome != "refused"]) <= 1
    assert len(of_flow(stack, "retrain")) - trained <= 3  # of a hundred


def test_events_raised_while_the_server_was_killed_are_delivered_once_afterwards(stack, home):
    os.kill(stack.status()["pids"]["prefect"], signal.SIGKILL)
    until(lambda: not answers(stack.ports["prefect"], "/api/health"))
    moment = streams.week(1)
    lost = [decayed(moment, f"while it was away {i}") for i in range(12)]
    home.ledger.announce("toy", lost)
    stack("reconcile")  # which may or may not find the server up again
    until(lambda: answers(stack.ports["prefect"], "/api/health"), 120)
    _, said = until(lambda: (r := stack("reconcile"))[0] == 0 and r, 60)
    assert not home.ledger.pending_outbox(), said
    body = {
        "filter": {"event": {"name": ["trueup.model.decayed"]}, "id": {"id": [e.event_id for e in lost]}},
        "limit": 50,
    }
    found = until(lambda: len(f := stack.ask("/events/filter", body)["events"]) >= len(lost) and f, 30)
    assert sorted(e["id"] for e in found) == sorted(e.event_id for e in lost)


def decayed(moment, key):
    batch = interval(window(0))
    payload = ModelDecayed(model="toy", as_of=moment, batch=batch, revision=1, reasons=[key], reason="decayed")
    return Event.of(payload, key)
