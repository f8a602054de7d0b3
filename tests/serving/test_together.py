"""Requests that wait at the same time are predicted together, and each is answered as if it were alone."""

import asyncio
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.serving.made import SERVE, bundle, scored
from tests.serving.test_app import PREDICT, ROW, Server

BAD = {**ROW, "distance": "far"}
FAULTY = {**ROW, "distance": 4000}  # raises
INFINITE = {**ROW, "distance": 3000}


def run(features):
    if (features[:, 0] == 4000).any():
        raise RuntimeError("the graph fails")
    return np.where(features[:, :1] == 3000, np.nan, features[:, :1])


def asked(server, bodies):
    async def together():
        return await asyncio.gather(*(server.asked("POST", PREDICT, json=body) for body in bodies))

    return asyncio.run(together())


def test_each_request_gets_its_own_answer_or_its_own_problem(tmp_path):
    server = Server(tmp_path, bundle(run)).as_("record")
    bodies = [{"row": {**ROW, "distance": 500 + i}} for i in range(5)]
    bodies[1], bodies[3] = {"row": BAD}, {"row": FAULTY}
    bodies += [{"row": INFINITE}, {"rows": [ROW, {**ROW, "distance": 700}]}]
    answers = asked(server, bodies)
    assert [a.status_code for a in answers] == [200, 422, 200, 500, 200, 422, 200]
    numbers = [[p["prediction"] for p in a.json()["predictions"]] for a in answers if a.status_code == 200]
    assert numbers == [[500.0], [502.0], [504.0], [1400.0, 700.0]]
    logged = server.logged()
    ids = {p["id"] for a in answers if a.status_code == 200 for p in a.json()["predictions"]}
    assert {r.id for r in logged if r.prediction is not None} == ids
    assert {(r.error, r.recorded) for r in logged if r.prediction is None} == {
        ("RuntimeError", True),
        ("non_finite", False),
    }


def test_the_log_takes_one_write(tmp_path, monkeypatch):
    server, sizes, real = Server(tmp_path, bundle()).as_("record"), [], os.write
    monkeypatch.setattr(
        "trueup.serving.log_segments.os.write", lambda h, data: (sizes.append(len(data)), real(h, data))[1]
    )
    assert {a.status_code for a in asked(server, [{"row": ROW}] * 8)} == {200}
    assert len(server.logged()) == 8
    assert len(sizes) < 8


def test_a_log_that_breaks_leaves_nobody_waiting(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("the log is broken")

    server = Server(tmp_path, bundle()).as_("record")
    monkeypatch.setattr("trueup.serving.prediction_log.PredictionLog.append", broken)
    assert [a.status_code for a in asked(server, [{"row": ROW}] * 3)] == [500] * 3


@pytest.mark.parametrize("on_full", ["refuse", "serve"])
def test_a_log_without_room_for_all_takes_those_for_which_there_is(tmp_path, on_full):
    alone = Server(tmp_path / "alone", bundle()).as_("record")
    alone.predict({"row": ROW})
    size = max(file.stat().st_size for file in (tmp_path / "alone/flights/log").iterdir())
    serve = structs.replace(SERVE, log_mib=2.5 * size / 2**20, on_full=on_full)
    server = Server(tmp_path / "full", bundle(serve=serve)).as_("record")
    answers = asked(server, [{"row": ROW}] * 4)
    refused = [a for a in answers if a.status_code == 503]
    unlogged = [a for a in answers if a.status_code == 200 and not a.json()["logged"]]
    assert (len(refused), len(unlogged)) == ((2, 0) if on_full == "refuse" else (0, 2))
    assert len(server.logged()) == 2


@pytest.mark.property
@given(distances=st.lists(st.floats(100, 2000), min_size=1, max_size=12))
def test_an_answer_does_not_depend_on_the_others(tmp_path_factory, distances):
    bodies = [{"row": {**ROW, "distance": d}} for d in distances]
    server = Server(tmp_path_factory.mktemp("together"), bundle(scored))
    together = [a.json()["predictions"][0]["prediction"] for a in asked(server, bodies)]
    assert together == [server.predict(body).json()["predictions"][0]["prediction"] for body in bodies]
    server.app.close()
