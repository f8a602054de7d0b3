"""A rollout in the server: who answers, what is predicted in shadow, and that the challenger can do no harm."""

import asyncio
import threading
import time

import numpy as np
import pytest

from tests.serving.made import INPUTS, FakeVersion, bundle, scored, state
from tests.serving.test_app import ROW, Server
from trueup.serving.encoding.encoder import Encoder
from trueup.serving.http.side import Side
from trueup.serving.rollout import BUSY, TIMEOUT, Routing, bucket
from trueup.serving.state import Rollout

KEYS = [{**ROW, "flight": number} for number in range(40)]
SHARE = 0.4


def rollout(**changes):
    facts = {
        "id": "r1",
        "seq": 20,
        "phase": "canary",
        "step": 1,
        "share": SHARE,
        "sample": 1.0,
        "salt": "s",
        "paused": False,
        "limits": {"timeout_ms": 200},
    }
    return Rollout(**{**facts, **changes})


def better(features):
    return scored(features) / 2


class Trial(Server):
    """A server with a rollout under way."""

    def __init__(self, folder, run=better, **changes):
        loaded = bundle(rollout=rollout(**changes))
        loaded.challenger = FakeVersion(Encoder(INPUTS, loaded.state), run, version=8, epoch=4)
        loaded.routing = Routing(loaded.state.rollout, folder / "flights", "here")
        super().__init__(folder, loaded)

    def done(self):
        """The records and the figures, when all is done."""
        records = self.logged()
        self.served.current.routing.close()
        return records, self.served.current.routing.figures()


@pytest.fixture
def trial(tmp_path):
    return lambda *run, **changes: Trial(tmp_path, *run, **changes)


def test_who_administers_sees_the_figures(trial, tmp_path):
    server = trial()
    server.predict({"rows": KEYS})
    place = "/v1/models/flights/rollout"
    assert server.ask("GET", place).status_code == 403
    said = server.as_("admin").ask("GET", place).json()
    assert (said["rollout"]["id"], said["here"]["challenger"], said["here"]["loaded"]) == ("r1", None, True)
    assert said["figures"]["rollout"] == "r1"
    server.done()
    assert Server(tmp_path).as_("admin", "two").ask("GET", place).status_code == 404


def of_canary(row):
    key = "\x1f".join(("UA", str(row["flight"]), "2013-01-01 05:15:00"))
    return bucket(key, "s") < SHARE


def test_keys_of_the_canary_are_answered_by_the_challenger_and_the_rest_by_the_champion(trial):
    server = trial().as_("record")
    answers = [server.predict({"row": row}).json() for row in KEYS]
    assert [said["role"] for said in answers] == ["canary" if of_canary(row) else "champion" for row in KEYS]
    assert {(a["role"], a["version"], a["epoch"], a["predictions"][0]["prediction"]) for a in answers} == {
        ("champion", 7, 3, 1.0),
        ("canary", 8, 4, 0.5),
    }
    records, figures = server.done()
    canary = sum(map(of_canary, KEYS))
    assert 5 < canary < 35
    made = [(r.role, r.version) for r in records]
    assert (made.count(("canary", 8)), made.count(("champion", 7))) == (canary, 40 - canary)
    assert (made.count(("shadow", 7)), made.count(("shadow", 8))) == (canary, 40 - canary)
    assert {r.id for r in records if r.role == "shadow"} == {a["predictions"][0]["id"] for a in answers}
    assert {(r.rollout, r.recorded) for r in records} == {("r1", True)}
    assert figures.step(1, "canary").challenger.calls == figures.step(1, "canary").paired.calls == canary
    assert figures.step(1, "shadow").paired.calls == 40 - canary
    assert figures.step(1, "shadow").paired.differences[0].sum == pytest.approx(-0.5 * (40 - canary))


def test_rows_of_one_request_may_have_different_versions(trial):
    server = trial()
    said = server.predict({"rows": KEYS}).json()
    assert (said["role"], said["version"], said["epoch"]) == ("mixed", None, None)
    assert [(p["role"], p["version"], p["epoch"]) for p in said["predictions"]] == [
        ("canary", 8, 4) if of_canary(row) else ("champion", 7, 3) for row in KEYS
    ]
    ids = [p["id"] for p in said["predictions"]]
    by_id = {r.id: r for r in server.done()[0] if r.role != "shadow"}
    assert [by_id[i].key["flight"] for i in ids] == list(range(40))


def test_a_request_repeated_to_another_worker_is_counted_once(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(shared))
    workers = [Trial(tmp_path / name) for name in ("one", "other")]
    for row in (*KEYS, KEYS[0]):
        for worker in workers:
            assert worker.predict({"row": row, "id": f"order {row['flight']}"}).status_code == 200
    done = [worker.done() for worker in workers]
    calls = [sum(step.paired.calls for step in figures.steps) for _, figures in done]
    assert calls == [len(KEYS), 0]
    answered = [[r for r in records if r.role != "shadow"] for records, _ in done]
    assert [len(records) for records in answered] == [len(KEYS), len(KEYS)]  # the loop keeps the first of each row


def test_the_same_moment_in_another_zone_is_the_same_key(trial):
    server = trial()
    here = [p["role"] for p in server.predict({"rows": KEYS}).json()["predictions"]]
    rows = [{**row, "hour": "2013-01-01T10:15:00Z", "flight": float(row["flight"])} for row in KEYS]
    assert [p["role"] for p in server.predict({"rows": rows}).json()["predictions"]] == here


def test_in_shadow_the_champion_answers_and_rows_are_sampled(trial):
    server = trial(phase="shadow", step=0, sample=0.5)
    assert {server.predict({"row": row}).json()["role"] for row in KEYS} == {"champion"}
    records, figures = server.done()
    sampled = sum(r.role == "shadow" for r in records)
    assert 5 < sampled < 35
    assert figures.step(0, "shadow").challenger.calls == sampled
    assert figures.step(0, "shadow").champion.calls == 40


def raises(_):
    raise RuntimeError("no")


def not_finite(features):
    return np.full((len(features), 1), np.nan)


def test_the_log_shows_an_error_of_the_challenger_once(trial, caplog):
    server = trial(raises)
    for row in KEYS:
        server.predict({"row": row})
    server.done()
    lines = [r.getMessage() for r in caplog.records if "challenger" in r.getMessage()]
    said = "the challenger, version 8, raised RuntimeError: no; later ones are counted, and not shown here"
    assert lines == [f"flights: {said}"]


@pytest.mark.parametrize(("run", "reason"), [(raises, "RuntimeError"), (not_finite, "non_finite")])
def test_where_the_challenger_fails_the_champion_answers(trial, run, reason):
    server = trial(run).as_("record")
    row = next(filter(of_canary, KEYS))
    said = server.predict({"row": row}).json()
    assert (said["role"], said["version"], said["predictions"][0]["fallback"]) == ("champion", 7, True)
    records, figures = server.done()
    assert [(r.role, r.version, r.error) for r in records] == [("champion", 7, None), ("canary", 8, reason)]
    step = figures.step(1, "canary")
    assert (step.fallbacks, step.paired.failed_alone + step.paired.non_finite_alone) == (1, 1)
    assert (
        f'trueup_rollout_fallbacks_total{{model="flights",reason="{reason}"}} 1.0' in server.ask("GET", "/metrics").text
    )


def test_a_challenger_that_hangs_holds_up_nobody(trial):
    end = threading.Event()

    def hangs(features):
        end.wait(30)
        return scored(features)

    server = trial(hangs, limits={"timeout_ms": 1000})
    first = server.predict({"rows": KEYS}).json()
    assert (first["role"], first["predictions"][0].get("fallback")) == (
        "champion",
        True if of_canary(KEYS[0]) else None,
    )
    began = time.monotonic()
    assert server.predict({"rows": KEYS}).json()["role"] == "champion"
    assert time.monotonic() - began < 0.9  # it is known to hang, and is not waited for again
    end.set()
    assert server.done()[1].step(1, "canary").challenger.errors == {TIMEOUT: 2}


def test_a_canary_that_waited_behind_others_was_not_too_slow(trial):
    def takes_a_while(features):
        time.sleep(0.12)
        return scored(features)

    server = trial(takes_a_while, limits={"timeout_ms": 600}).as_("record")
    row = next(filter(of_canary, KEYS))

    async def many():
        return await asyncio.gather(
            *(server.asked("POST", "/v1/models/flights/predict", json={"row": row}) for _ in range(12))
        )

    said = [answer.json() for answer in asyncio.run(many())]
    assert {a["role"] for a in said} == {"canary", "champion"}  # a part of them did not get their turn
    assert set(server.done()[1].step(1, "canary").challenger.errors) == {BUSY}


def test_a_failing_canary_is_counted_when_there_is_no_room_to_ask_the_champion_too(trial, monkeypatch):
    server = trial(raises)
    monkeypatch.setattr("trueup.serving.http.rollout.Side.do", only_canary(Side.do))
    server.predict({"row": next(filter(of_canary, KEYS))})
    step = server.done()[1].step(1, "canary")
    assert (step.dropped, step.fallbacks, step.challenger.errors, step.paired.calls) == (1, 1, {"RuntimeError": 1}, 0)


def only_canary(do):
    """Side.do, of which the thread for the shadow has no room."""
    return lambda side, job: side._thread.name == "canary" and do(side, job)


def test_after_many_failures_the_canary_stops_in_this_worker(trial):
    server = trial(raises)
    rows = [row for row in KEYS if of_canary(row)]

    async def many():
        for _ in range(4):
            for row in rows:
                await server.asked("POST", "/v1/models/flights/predict", json={"row": row})

    asyncio.run(many())
    records, figures = server.done()
    assert figures.tripped == 1
    assert len([r for r in records if r.role == "canary"]) < 4 * len(rows)
    assert server.ask("GET", "/v1/models/flights").json()["rollout"]["stopped_here"] is True


def test_a_challenger_that_takes_other_fields_is_encoded_by_itself(tmp_path):
    server = Trial(tmp_path)
    published = state()
    server.served.current.challenger.encoder = Encoder(INPUTS[:3], published)
    row = next(filter(of_canary, KEYS))
    server.predict({"row": row})
    (canary, shadow) = server.done()[0]
    assert (len(canary.features), len(shadow.features)) == (3 * 8, 6 * 8)
