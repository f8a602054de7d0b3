"""What the serving benchmark counts is counted right, on the empty application."""

from itertools import count
from threading import Timer

import pytest

from benchmarks.servers import process
from benchmarks.servers.client import run
from benchmarks.servers.wrk import Load
from benchmarks.serving import _ratios


@pytest.fixture
def empty(tmp_path):
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text('{"row":{"x":1}}\n{"row":{"x":2}}\n')
    with process.empty(bodies, tmp_path / "log") as server:
        yield server


def test_every_request_is_answered_or_lost(empty):
    numbers, sent = [], count()
    bodies = ((n, b"{}") for n in sent)
    Timer(0.5, empty.kill).start()
    seen = run(empty, bodies, lambda number, status, _: numbers.append((number, status)), connections=4, seconds=30)
    assert seen.answered == len(numbers) > 10
    assert {status for _, status in numbers} == {200}
    assert len({number for number, _ in numbers}) == seen.answered
    assert (seen.lost, seen.refused) == (4, 0)
    assert next(sent) == seen.answered + 4
    assert 0 < seen.p99_ms() < 30_000


def test_cpu_memory_and_start_are_those_of_the_server(empty):
    before = empty.cpu_s()
    seen = run(empty, ((n, b"{}") for n in range(500)), lambda *_: None, connections=2, seconds=60)
    assert seen.answered == 500
    assert 0 < empty.cpu_s() - before < 10
    assert 5 < empty.pss_mib() < 200
    assert empty.started_s > 0.05


def load(rps, cpu_us, p99_ms, failed=0):
    return Load(8, rps, cpu_us, 1.0, p99_ms, 1000, failed)


def test_ratios_are_of_one_round_and_their_median_counts():
    quiet = {"trueup": load(4000, 100, 4), "mlflow": load(60, 9000, 200), "empty": load(8000, 40, 2)}
    busy = {"trueup": load(400, 400, 40), "mlflow": load(10, 12000, 1000), "empty": load(2000, 90, 20)}
    found = _ratios([quiet, busy, busy])
    assert (found["rps_ratio"], found["cpu_ratio"], found["p99_ratio"], found["of_empty"]) == (40, 30, 25, 0.2)
    assert found["range"]["of_empty"] == [0.2, 0.5]


def test_a_failed_request_ends_the_benchmark():
    of_round = {"trueup": load(1, 1, 1, failed=3), "mlflow": load(1, 1, 1), "empty": load(1, 1, 1)}
    with pytest.raises(RuntimeError, match=r"trueup.*3"):
        _ratios([of_round])
