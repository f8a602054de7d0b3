"""Keys are assigned the same way everywhere, and the workers' figures add up to what both versions did."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trueup.errors import WorkError
from trueup.serving import state
from trueup.serving.rollout import BUSY, TIMEOUT, Outcome, Routing, bucket, read_figures, row_key, worker_name
from trueup.serving.rollout.figures import figures_folder

ROLLOUT = state.Rollout(
    id="a decision",
    seq=7,
    phase="canary",
    step=1,
    share=0.25,
    sample=1.0,
    salt="a salt",
    paused=False,
    limits={"latency_ratio": 2, "scale": 0.1, "clip": 3},
)
KEYS = [f"key {i}" for i in range(4000)]


def changed(**fields: Any) -> state.Rollout:
    return state.Rollout(**({name: getattr(ROLLOUT, name) for name in ROLLOUT.__struct_fields__} | fields))


@pytest.fixture
def routing(tmp_path):
    """Makes routings that are closed after the test."""
    made: list[Routing] = []

    def make(name: str = "worker", before: Routing | None = None, **fields: Any) -> Routing:
        made.append(Routing(changed(**fields), tmp_path, name, before))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ok(*values: float, us: float | None = 100.0) -> Outcome:
    return Outcome(np.array(values, dtype=np.float64)[:, None], us)


def test_a_bucket_is_uniform_and_another_salt_draws_anew():
    places = np.array([bucket(key, "a") for key in KEYS])
    others = np.array([bucket(key, "b") for key in KEYS])
    assert places.min() >= 0
    assert places.max() < 1
    assert np.histogram(places, 10, (0, 1))[0] == pytest.approx(400, abs=80)
    assert abs(np.corrcoef(places, others)[0, 1]) < 0.06


def test_a_higher_share_only_adds_keys_and_all_workers_agree(routing):
    few, many, other = routing("a"), routing("b", share=0.5), routing("c")
    of_few = {key for key in KEYS if few.role(key) == "canary"}
    of_many = {key for key in KEYS if many.role(key) == "canary"}
    assert of_few < of_many
    assert len(of_few) == pytest.approx(1000, abs=120)
    assert of_few == {key for key in KEYS if other.role(key) == "canary"}
    assert of_few == {key for key in KEYS if bucket(key, "a salt") < 0.25}  # as anybody can compute it later


def test_only_keys_of_a_canary_go_to_the_challenger(routing):
    shadow = routing("a", phase="shadow")
    assert {shadow.role(key) for key in KEYS} == {"champion"}
    assert routing("b", share=1.0).role(None) == "champion"
    assert routing("c", share=1.0, paused=True).role("any") == "canary"


def test_the_sample_of_the_shadow_is_independent_of_the_canary(routing):
    one = routing(sample=0.5)
    both = sum(one.sampled(key) and one.role(key) == "canary" for key in KEYS)
    assert both == pytest.approx(500, abs=90)
    assert sum(one.sampled(None) for _ in range(400)) == pytest.approx(200, abs=60)
    everything = routing("b")
    assert all(everything.sampled(key) for key in KEYS)


def test_a_key_is_one_text_whatever_type_its_parts_have():
    assert row_key({"a": 1, "b": "x"}, ["a", "b"]) == row_key({"b": "x", "a": 1.0}, ["a", "b"])
    assert row_key({"a": "1x"}, ["a", "b"]) is None
    assert row_key({"a": "1", "b": "x"}, ["a", "b"]) != row_key({"a": "1x", "b": ""}, ["a", "b"])
    assert row_key({}, []) is None


def test_figures_of_all_workers_add_up(routing, tmp_path):
    one, other = routing("one"), routing("other")
    one.note("canary", ok(0.2, 0.4), ok(0.3, 0.5))
    one.note("canary", ok(0.2), ok(0.9, us=300))  # 7 units apart, and 3 times as long
    other.note("canary", ok(0.1), Outcome(None, None, TIMEOUT), fallback=True)
    other.note("canary", ok(0.1), Outcome(None, 5.0, "ValueError"), fallback=True)
    other.note("shadow", ok(0.5), ok(np.nan))
    other.dropped("shadow")
    one.flush()
    other.flush()

    figures = read_figures(tmp_path, "a decision")
    canary, shadow = figures.steps
    assert (figures.workers, figures.tripped, figures.unreadable) == (2, 0, [])
    assert (canary.step, canary.rows_of, canary.fallbacks) == (1, "canary", 2)
    assert (canary.champion.calls, canary.champion.rows, canary.challenger.rows) == (4, 5, 3)
    assert canary.challenger.errors == {TIMEOUT: 1, "ValueError": 1}
    assert canary.champion.outputs[0].mean == pytest.approx(0.2)
    assert sum(canary.challenger.outputs[0].histogram) == 3
    assert (canary.paired.calls, canary.paired.failed_alone) == (4, 2)
    assert (canary.paired.timed, canary.paired.slower) == (4, 2)
    difference = canary.paired.differences[0]
    assert (difference.n, difference.clipped) == (2, 1)
    assert difference.sum == pytest.approx(1 + 3)
    assert (shadow.paired.non_finite_alone, shadow.challenger.non_finite, shadow.dropped) == (1, 1, 1)
    assert figures.total().paired.calls == 5
    assert canary.champion.quantile(0.5) == pytest.approx(100, rel=0.1)


def test_many_threads_lose_no_call(routing):
    one = routing()
    threads = [
        threading.Thread(target=lambda: [one.note("shadow", ok(0.5), ok(0.5)) for _ in range(700)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.figures().total().paired.calls == 2800


def test_the_breaker_stops_the_canary_at_once_and_for_good(routing, tmp_path):
    one = routing(share=1.0)
    for i in range(38):
        one.note("canary", ok(0.5), Outcome(None, None, "OnnxFailed") if i % 2 else ok(0.5))
    assert not one.tripped
    assert one.role("any") == "canary"
    one.note("canary", ok(0.5), ok(np.inf))
    assert one.tripped
    assert one.role("any") == "champion"
    later = routing(before=one, share=1.0, step=2)
    assert later.tripped
    later.flush()
    assert read_figures(tmp_path, "a decision").trips == [
        "20 of the challenger's last 39 calls failed, in step 1 (canary)"
    ]


def test_the_breaker_ignores_what_is_not_the_challengers_fault(routing):
    one = routing(share=1.0)
    for _ in range(60):
        one.note("canary", ok(np.nan), ok(np.nan), fallback=True)
        one.note("canary", ok(0.5), Outcome(None, None, BUSY), fallback=True)
    assert not one.tripped


def test_counts_go_on_in_the_next_state_of_a_rollout_but_not_in_the_next_rollout(routing):
    one = routing()
    one.note("shadow", ok(0.5), ok(0.5))
    same, another = routing(before=one, step=2), routing("b", before=one, id="another")
    same.note("shadow", ok(0.5), ok(0.5))
    assert [(s.step, s.paired.calls) for s in same.figures().steps] == [(1, 1), (2, 1)]
    assert another.figures().steps == []


def test_figures_are_written_within_seconds_without_being_asked(routing, tmp_path):
    routing().note("shadow", ok(0.5), ok(0.5))
    ended = threading.Event()
    for _ in range(200):
        if read_figures(tmp_path, "a decision").total().paired.calls:
            break
        ended.wait(0.05)
    assert read_figures(tmp_path, "a decision").total().paired.calls == 1


def test_a_broken_file_is_named_and_the_others_count(routing, tmp_path):
    routing("good").flush()
    folder = figures_folder(tmp_path, "a decision")
    (folder / "torn.json").write_bytes(b'{"format": "trueup-rollout-fig')
    (folder / "other.json").write_bytes(b'{"format": "trueup-rollout-figures/1", "rollout": "another"}')
    figures = read_figures(tmp_path, "a decision")
    assert figures.workers == 1
    assert figures.unreadable == ["other.json", "torn.json"]
    assert read_figures(tmp_path, "never started").workers == 0


def test_reasons_are_bounded_and_other_shapes_are_not_compared(routing):
    one = routing()
    for i in range(60):
        one.note("shadow", None, Outcome(None, None, f"Error{i}"))
    one.note("shadow", ok(0.5), Outcome(np.array([[0.5, 0.5]]), 1.0))
    total = one.figures().total()
    assert len(total.challenger.errors) == 21
    assert total.challenger.failed == 60
    assert (total.paired.calls, total.paired.unlike, total.paired.differences) == (1, 1, [])


def test_limits_that_no_value_can_have_are_refused(tmp_path):
    with pytest.raises(WorkError, match="the range must ascend"):
        Routing(changed(limits={"range": [1, 0]}), tmp_path, worker_name())


def test_a_full_disk_loses_no_count(routing, tmp_path, monkeypatch):
    one = routing()
    folder = figures_folder(tmp_path, "a decision")
    one.flush()
    file: Path = folder / "worker.json"
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise WorkError("no space")

        patch.setattr("trueup.serving.rollout.recorder.whole", full)
        one.note("shadow", ok(0.5), ok(0.5))
        with pytest.raises(WorkError):
            one.flush()
    one.flush()
    assert b'"calls":1' in file.read_bytes()
