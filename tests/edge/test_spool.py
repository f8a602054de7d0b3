"""The spool: its size, what it counts, and what a crash or a full disk costs."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import zlib
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edge import bundles
from trueup_edge import Spool, load
from trueup_edge.errors import InputError, Unavailable, UsageError
from trueup_edge.spool import read_records

ROW = bundles.ROWS[0][0]
LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","record":(\{.*\})\}')


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return load(bundles.write(folder / "bundle"), trust=bundles.trust(folder / "trust.json"))


def put(spool, model, number=0, **row):
    prediction = 0.25
    return spool.append(model, ROW | row, prediction, key={"id": number}, event_time="2024-03-01T18:30:00")


def records(file) -> list[dict]:
    """The records of a file, read as its description says."""
    found = [LINE.fullmatch(line) for line in file.read_bytes().splitlines()]
    assert all(match and int(match[1], 16) == zlib.crc32(match[2]) for match in found)
    return [json.loads(match[2]) for match in found]


def predictions(file) -> list[dict]:
    return [record for record in records(file) if "spool" not in record]


def test_a_record_has_what_trueup_needs_to_find_its_row(tmp_path, model):
    with Spool(tmp_path / "spool.jsonl", device="gate-12") as spool:
        row = {
            "distance": math.inf,
            "speed": np.float64("nan"),
            "rate": np.float32(0.5),
            "at": datetime(2024, 3, 1, 18),
        }
        assert spool.append(model, row, 0.25, key={"flight": "UA1"}, event_time="2024-03-01T23:30:00Z")
        assert put(spool, model)
        assert spool.hand_back(tmp_path / "back.jsonl").predictions == 2
    counter, first, second = records(tmp_path / "back.jsonl")
    assert counter == {"spool": "trueup-spool/1", "device": "gate-12", "lost": 0, "n": 0}
    assert datetime.fromisoformat(first.pop("time")).tzinfo is not None
    assert first == {
        "n": 1,
        "device": "gate-12",
        "model": "toy",
        "version": 3,
        "epoch": 5,
        "key": {"flight": "UA1"},
        "event_time": "2024-03-01T18:30:00",  # in the model's time zone
        "row": {"distance": "Infinity", "speed": None, "rate": 0.5, "at": "2024-03-01T18:00:00"},
        "prediction": 0.25,
    }
    assert second["n"] == 2


@given(st.lists(st.integers(0, 2000), max_size=60), st.integers(0, 60))
def test_it_keeps_its_size_and_counts_what_it_drops(tmp_path_factory, model, sizes, restart):
    folder = tmp_path_factory.mktemp("spool")
    path, limit = folder / "spool.jsonl", 10_000
    spool = Spool(path, limit, "gate-12")
    for number, size in enumerate(sizes):
        if number == restart:
            spool.close()
            spool = Spool(path, limit, "gate-12")
        assert put(spool, model, number, carrier="x" * size)
        assert sum(file.stat().st_size for file in folder.glob("spool.jsonl*")) <= limit
    with spool:
        lost = spool.lost
        back = spool.hand_back(folder / "back.jsonl")
        assert back.lost == lost
        assert back.predictions + back.lost == len(sizes)
        assert spool.hand_back(folder / "none.jsonl").predictions == 0
        assert not (folder / "none.jsonl").exists()
        put(spool, model)
        assert spool.hand_back(folder / "next.jsonl").lost == 0
    assert predictions(folder / "next.jsonl")[0]["n"] == len(sizes) + 1
    if sizes:
        kept = predictions(folder / "back.jsonl")
        assert [record["n"] for record in kept] == list(range(lost + 1, len(sizes) + 1))  # the newest
        assert sum(record["lost"] for record in records(folder / "back.jsonl") if "spool" in record) == lost


def test_the_numbers_go_on_after_a_restart(tmp_path, model):
    for number in range(3):
        with Spool(tmp_path / "spool.jsonl") as spool:
            put(spool, model, number)
    with Spool(tmp_path / "spool.jsonl") as spool:
        spool.hand_back(tmp_path / "back.jsonl")
    assert [record["n"] for record in predictions(tmp_path / "back.jsonl")] == [1, 2, 3]


def test_a_torn_last_line_is_dropped_and_counted(tmp_path, model):
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        put(spool, model)
        put(spool, model)
    path.write_bytes(path.read_bytes()[:-20])
    with Spool(path) as spool:
        assert spool.lost == 1
        put(spool, model)
        assert spool.hand_back(tmp_path / "back.jsonl").predictions == 2
    assert [record.get("lost") for record in records(tmp_path / "back.jsonl")] == [0, None, 1, None]


def test_a_broken_line_is_left_to_the_reader(tmp_path, model):
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        put(spool, model, 1)
        put(spool, model, 2)
    path.write_bytes(path.read_bytes().replace(b'"id":1', b'"id":7'))
    with Spool(path) as spool:
        spool.hand_back(tmp_path / "back.jsonl")
    assert [record is None for record in read_records((tmp_path / "back.jsonl").read_bytes())] == [False, True, False]


@pytest.mark.parametrize("step", ["new half written", "old half renamed"])
def test_an_interrupted_change_of_halves_is_completed(tmp_path, model, step):
    path = tmp_path / "spool.jsonl"
    with Spool(path, device="gate-12") as spool:
        put(spool, model)
    with Spool(tmp_path / "other.jsonl", device="gate-12"):
        (tmp_path / "other.jsonl").rename(tmp_path / "spool.jsonl.new")
    if step == "old half renamed":
        path.rename(tmp_path / "spool.jsonl.old")
    with Spool(path, device="gate-12") as spool:
        put(spool, model)
        spool.hand_back(tmp_path / "back.jsonl")
    assert [record["n"] for record in predictions(tmp_path / "back.jsonl")] == [1, 2]


def test_records_are_not_handed_back_over_others(tmp_path, model):
    (tmp_path / "back.jsonl").write_text("earlier")
    with Spool(tmp_path / "spool.jsonl") as spool:
        put(spool, model)
        with pytest.raises(UsageError, match="exists"):
            spool.hand_back(tmp_path / "back.jsonl")
        with pytest.raises(Unavailable):
            spool.hand_back(tmp_path / "nowhere" / "back.jsonl")
        assert spool.hand_back(tmp_path / "other.jsonl").predictions == 1


def test_one_process_at_a_time_uses_a_spool(tmp_path):
    with Spool(tmp_path / "spool.jsonl"), pytest.raises(UsageError, match="another process"):
        Spool(tmp_path / "spool.jsonl")
    Spool(tmp_path / "spool.jsonl").close()


def test_values_that_are_not_plain_are_refused_by_name(tmp_path, model):
    with Spool(tmp_path / "spool.jsonl") as spool:
        with pytest.raises(InputError, match=r"row\.speed is a list"):
            put(spool, model, speed=[1])
        with pytest.raises(InputError, match=r"key\.id is a set"):
            put(spool, model, {1})
        with pytest.raises(InputError, match=r"key\.id is a whole number of 33220 bits"):
            put(spool, model, 10**10000)
        with pytest.raises(InputError, match="event_time"):
            spool.append(model, ROW, 0.5, key={}, event_time="soon")


def test_a_spool_that_is_too_small_or_cannot_be_opened_is_said(tmp_path):
    with pytest.raises(UsageError, match="8192"):
        Spool(tmp_path / "spool.jsonl", max_bytes=100)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be opened"):
        Spool(tmp_path / "file" / "spool.jsonl")


def test_the_command_hands_back(tmp_path, model, command):
    with Spool(tmp_path / "spool.jsonl") as spool:
        put(spool, model)
    done = command("hand-back", tmp_path / "spool.jsonl", "--to", tmp_path / "back.jsonl")
    assert (done.returncode, done.stdout) == (0, "1 predictions handed back, 0 lost\n")
    assert command("hand-back", tmp_path / "nowhere.jsonl", "--to", tmp_path / "other.jsonl").returncode == 2


def test_the_command_hands_back_after_an_interrupted_change_of_halves(tmp_path, model, command):
    with Spool(tmp_path / "spool.jsonl") as spool:
        put(spool, model)
    (tmp_path / "spool.jsonl").rename(tmp_path / "spool.jsonl.old")
    done = command("hand-back", tmp_path / "spool.jsonl", "--to", tmp_path / "back.jsonl")
    assert (done.returncode, done.stdout) == (0, "1 predictions handed back, 0 lost\n")


APPENDING = """
import sys
from types import SimpleNamespace
from trueup_edge import Spool
model = SimpleNamespace(name="toy", version=3, epoch=5, local_time=str)
with Spool(sys.argv[1], int(sys.argv[2])) as spool:
    for number in range(int(sys.argv[3])):
        print(number if spool.append(model, {"x": 1.5}, 0.5, key={"id": number}, event_time="") else "lost", flush=True)
"""


def appending(*arguments: object, limit: int | None = None) -> subprocess.Popen[str]:
    def limited() -> None:
        import resource

        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-c", APPENDING, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(bundles.EDGE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,
    )


def killed_after(count, process):
    """Kill a process after `count` answers; returns how many predictions it answered."""
    answered = sum(process.stdout.readline().strip().isdigit() for _ in range(count))
    os.kill(process.pid, signal.SIGKILL)
    return answered + sum(line.strip().isdigit() for line in process.stdout.read().splitlines())


def test_a_killed_process_loses_no_answered_prediction(tmp_path):
    acknowledged = 0
    for kill_after in (200, 431, 1000):
        with appending(tmp_path / "spool.jsonl", 100_000_000, 1_000_000) as process:
            acknowledged += killed_after(kill_after, process)
    with Spool(tmp_path / "spool.jsonl", 100_000_000) as spool:
        back = spool.hand_back(tmp_path / "back.jsonl")
    assert acknowledged >= 1631
    assert back.predictions >= acknowledged
    numbers = [record["n"] for record in predictions(tmp_path / "back.jsonl")]
    assert numbers == sorted(set(numbers))


def test_a_process_killed_while_halves_change_counts_right(tmp_path):
    answered, kills = 0, 8
    for kill_after in range(150, 150 + kills * 7, 7):
        with appending(tmp_path / "spool.jsonl", 8_192, 1_000_000) as process:
            answered += killed_after(kill_after, process)
    with Spool(tmp_path / "spool.jsonl", 8_192) as spool:
        back = spool.hand_back(tmp_path / "back.jsonl")
    assert answered <= back.predictions + back.lost <= answered + kills  # one may be written and not answered


def test_a_full_disk_costs_the_records_that_it_does_not_take(tmp_path):
    with appending(tmp_path / "spool.jsonl", 100_000_000, 100, limit=9_000) as process:
        answers, problems = process.communicate()
    written = sum(line.isdigit() for line in answers.splitlines())
    assert 10 < written < 100
    assert problems.count("could not be written") == 1
    with Spool(tmp_path / "spool.jsonl", 100_000_000) as spool:
        assert put(spool, SimpleNamespace(name="toy", version=3, epoch=5, local_time=str))
        assert spool.hand_back(tmp_path / "back.jsonl").predictions == written + 1
    assert len(predictions(tmp_path / "back.jsonl")) == written + 1


def test_losses_are_counted_once_there_is_room_again(tmp_path, model):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Spool(tmp_path / "spool.jsonl") as spool:
        put(spool, model)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
            assert [put(spool, model) for _ in range(3)] == [False] * 3
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert put(spool, model)
        back = spool.hand_back(tmp_path / "back.jsonl")
    assert (back.predictions, back.lost) == (2, 3)
    assert [record["n"] for record in predictions(tmp_path / "back.jsonl")] == [1, 2]


def test_a_spool_can_be_required(tmp_path, model):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Spool(tmp_path / "spool.jsonl", required=True, durable=True) as spool:
        put(spool, model)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
            with pytest.raises(Unavailable, match="could not be written"):
                put(spool, model)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert put(spool, model)


@pytest.mark.parametrize("ending", ["", ".old", ".new"])
def test_records_are_not_handed_back_into_the_spool_itself(tmp_path, model, ending):
    with Spool(tmp_path / "spool.jsonl") as spool:
        put(spool, model)
        with pytest.raises(UsageError, match="a file of the spool itself"):
            spool.hand_back(tmp_path / f"spool.jsonl{ending}")
        assert spool.hand_back(tmp_path / "back.jsonl").predictions == 1


def test_a_closed_spool_takes_nothing(tmp_path, model):
    spool = Spool(tmp_path / "spool.jsonl")
    put(spool, model)
    spool.close()
    for use in (lambda: put(spool, model), lambda: spool.hand_back(tmp_path / "back.jsonl")):
        with pytest.raises(UsageError, match="is closed"):
            use()
    spool.close()


FORKED = """
import os, sys
from types import SimpleNamespace
from trueup_edge import Spool
from trueup_edge.errors import UsageError
model = SimpleNamespace(name="toy", version=3, epoch=5, local_time=str)
with Spool(sys.argv[1]) as spool:
    if os.fork() == 0:
        try:
            spool.append(model, {}, 0.5, key={"id": 1}, event_time="")
        except UsageError as error:
            print(error, flush=True)
        spool.close()
        os._exit(0)
    os.wait()
    assert spool.append(model, {}, 0.5, key={"id": 2}, event_time="")
"""


def test_a_forked_process_does_not_share_a_spool(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, tmp_path / "spool.jsonl"],
        env=os.environ | {"PYTHONPATH": str(bundles.EDGE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "opened by another process" in done.stdout
    assert [record["key"] for record in predictions(tmp_path / "spool.jsonl")] == [{"id": 2}]


@pytest.mark.parametrize("prediction", [math.nan, math.inf, None, "0.5", {"early": 0.5, "late": math.nan}, [0.5]])
def test_a_prediction_that_is_no_finite_number_is_refused(tmp_path, model, prediction):
    with Spool(tmp_path / "spool.jsonl") as spool:
        with pytest.raises(InputError, match="prediction is"):
            spool.append(model, ROW, prediction, key={}, event_time="2024-03-01T18:30:00")
        for value in (np.float32(0.5), np.float64(0.5), {"early": np.float32(0.5)}):
            assert spool.append(model, ROW, value, key={}, event_time="2024-03-01T18:30:00")
    assert [record["prediction"] for record in predictions(tmp_path / "spool.jsonl")] == [0.5, 0.5, {"early": 0.5}]


@pytest.mark.parametrize("value", [np.array([1.0, 2.0]), np.array([1.0]), np.datetime64("2024-01-01", "ns")])
def test_arrays_and_numpys_times_are_not_plain(tmp_path, model, value):
    with Spool(tmp_path / "spool.jsonl") as spool, pytest.raises(InputError, match=r"row\.speed is a"):
        put(spool, model, speed=value)


def test_losses_are_counted_at_the_end_of_a_process(tmp_path, model):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool = Spool(tmp_path / "spool.jsonl")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
        assert not put(spool, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    spool.close()
    with Spool(tmp_path / "spool.jsonl") as again:
        assert again.lost == 1


def test_a_torn_last_line_of_the_older_half_is_dropped_and_counted(tmp_path, model):
    path = tmp_path / "spool.jsonl"
    with Spool(path, 8_192) as spool:
        for number in range(20):
            put(spool, model, number)
    old = tmp_path / "spool.jsonl.old"
    old.write_bytes(old.read_bytes()[:-20])
    with Spool(path, 8_192) as spool:
        back = spool.hand_back(tmp_path / "back.jsonl")
    assert (back.predictions, back.lost) == (19, 1)
    assert [record["n"] for record in predictions(tmp_path / "back.jsonl")][-1] == 20
