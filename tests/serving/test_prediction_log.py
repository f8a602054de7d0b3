"""What the log acknowledged is in it: when the process is killed, the disk is full, and beyond its limit."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from tests.serving.logs import logged, payloads, serve
from trueup.errors import LogFull
from trueup.serving import log_segments
from trueup.serving.log_format import decoded, erase, is_written, log_files, process_name, read_frames
from trueup.serving.prediction_log import PredictionLog

WRITER = """
import asyncio
import os
import sys
from pathlib import Path
from tests.serving.logs import payloads, serve
from trueup.serving import log_segments
from trueup.serving.prediction_log import PredictionLog
from trueup.serving.log_format import process_name

log_segments.SEGMENT = 20_000
log = PredictionLog(Path(sys.argv[1]), serve(durability=sys.argv[2]), process_name(), model="toy", database=sys.argv[3])

async def ask(n):
    while True:
        if (waiting := log.append(payloads(*(str(n + i) for i in range(1 + n % 3))))) is not None:
            await waiting
        os.write(1, f"{n}\\n".encode())  # a whole line at once, whatever PYTHONUNBUFFERED says
        n += 12
        await asyncio.sleep(0)

async def ask_all():
    await asyncio.gather(ask(0), ask(3), ask(6), ask(9))

asyncio.run(ask_all())
"""


@pytest.fixture
def log(tmp_path):
    """Makes logs in one folder, and closes them."""
    made = []

    def make(name="host-1-1", **changes):
        made.append(PredictionLog(tmp_path, serve(**changes), name))
        return made[-1]

    yield make
    for one in made:
        one.close()


def tear(folder):
    """Half a frame at the end of the newest file, as a power cut leaves it."""
    file = log_files(folder)[-1]
    whole = file.stat().st_size
    with file.open("ab") as stream:
        stream.write(file.read_bytes()[:20])
    return file, whole


def test_records_are_there_when_append_returns(tmp_path, log):
    one = log()
    assert one.append(payloads("a", "b")) is None
    one.append(payloads("c"))
    assert logged(tmp_path) == ["a", "b", "c"]
    assert one.waiting == sum(file.stat().st_size for file in log_files(tmp_path)) > 0


def home_database(file):
    """The table of a home's database that servers write to."""
    with closing(sqlite3.connect(file)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE served_log (id INTEGER PRIMARY KEY, model TEXT, payload BLOB)")
    return f"sqlite:///{file}"


def in_database(file):
    """The ids of the records there."""
    with closing(sqlite3.connect(file)) as look:
        return [decoded(payload).id for (payload,) in look.execute("SELECT payload FROM served_log ORDER BY id")]


@pytest.mark.parametrize(
    ("durability", "_round"), [*(("process", number) for number in range(3)), ("machine", 0), ("home", 0)]
)
def test_a_killed_process_has_logged_all_that_it_acknowledged(tmp_path, durability, _round):
    url = home_database(tmp_path / "trueup.db")
    words = [sys.executable, "-c", WRITER, tmp_path, durability, url]
    writer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    first = "".join(writer.stdout.readline() for _ in range(4))
    time.sleep(random.uniform(0, 0.1))
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate(timeout=30)
    acknowledged = [int(line) for line in (first + rest).splitlines()[:-1]]  # the last line may be cut off
    kept = set(in_database(tmp_path / "trueup.db") if durability == "home" else logged(tmp_path))
    assert {str(n + i) for n in acknowledged for i in range(1 + n % 3)} <= kept
    assert len(kept) > 1
    assert not any(is_written(file) for file in log_files(tmp_path))


def test_a_torn_tail_and_a_damaged_record_lose_nothing_else(tmp_path, log):
    one = log()
    one.append(payloads("a", "b", "c"))
    file, whole = tear(tmp_path)
    frames = read_frames(file)
    assert (len(frames.payloads), frames.end, frames.torn, frames.broken) == (3, whole, 20, 0)
    with file.open("r+b") as stream:
        stream.seek(frames.starts[1] + 12)
        stream.write(b"\xff\xff")
    assert logged(tmp_path) == ["a", "c"]
    assert read_frames(file).broken == 1


def test_an_erased_record_leaves_the_others(tmp_path, log):
    one = log()
    one.append(payloads("a", "b", "c"))
    [file] = log_files(tmp_path)
    frames = read_frames(file)
    erase(file, {frames.starts[1]: len(frames.payloads[1])})
    one.append(payloads("d"))
    assert logged(tmp_path) == ["a", "c", "d"]
    assert b"\xa1b" not in file.read_bytes()
    assert read_frames(file).broken == read_frames(file).torn == 0


def filled(log, names):
    """Append records until the log is full; return those that it took."""
    taken = []
    try:
        for some in names:
            log.append(payloads(*some))
            taken += some
    except LogFull as full:
        return taken, str(full)
    return taken, ""


def test_files_are_begun_anew_and_bounded_together(tmp_path, log, monkeypatch):
    monkeypatch.setattr(log_segments, "_LOOK", 0)
    monkeypatch.setattr(log_segments, "_LOOK_FULL", 0)
    one, other = log("host-1-1", log_mib=0.02), log("host-2-1", log_mib=0.02)
    filled(other, [[f"{n}"] for n in range(60)])
    _, why = filled(one, [[f"{n}"] for n in range(10_000)])
    assert "log_mib" in why
    assert "run the loop" in why
    sizes = [file.stat().st_size for file in log_files(tmp_path)]
    assert sum(sizes) <= 0.02 * 2**20
    assert len(sizes) > 4
    stored = {file.name: file.stat().st_size for file in log_files(tmp_path)}
    (tmp_path / "drained.json").write_text(json.dumps(stored))
    one.append(payloads("after"))
    assert "after" in logged(tmp_path)


def test_a_file_that_somebody_removed_is_begun_anew(tmp_path, log, monkeypatch):
    monkeypatch.setattr(log_segments, "_LOOK", 0)
    one = log()
    one.append(payloads("a"))
    log_files(tmp_path)[0].unlink()
    one.append(payloads("b"))
    assert logged(tmp_path) == ["b"]


def test_a_full_disk_refuses_and_leaves_whole_files(tmp_path, request):
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", place], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", place], check=True))
    with closing(PredictionLog(place / "log", serve(), process_name())) as log:
        taken, why = filled(log, [[f"{n}-{i}" for i in range(30)] for n in range(10_000)])
        assert "No space left on device" in why
        assert len(taken) > 300
        assert logged(place / "log") == taken
        assert all(read_frames(file).torn == 0 for file in log_files(place / "log"))
        subprocess.run(["mount", "-o", "remount,size=1m", place], check=True)
        log.append(payloads("room"))  # goes on without a restart
        assert logged(place / "log") == [*taken, "room"]


def test_what_is_drained_and_then_taken_back_hides_no_later_record(tmp_path, log, monkeypatch):
    one, drained = log(durability="machine"), {}
    real = os.fdatasync

    def fails(_):
        drained.update({file: read_frames(file).end for file in log_files(tmp_path)})
        raise OSError(5, "Input/output error")

    async def ask(id):
        await one.append(payloads(id))

    asyncio.run(ask("a"))
    monkeypatch.setattr("os.fdatasync", fails)
    with pytest.raises(LogFull, match="Input/output error"):
        asyncio.run(ask("refused"))
    monkeypatch.setattr("os.fdatasync", real)
    asyncio.run(ask("b"))
    asyncio.run(ask("c"))
    later = [decoded(p).id for f in log_files(tmp_path) for p in read_frames(f, drained.get(f, 0)).payloads]
    assert later == ["b", "c"]


def test_a_file_that_its_process_removed_has_no_frames(tmp_path):
    assert read_frames(tmp_path / "host-1-1-0.log", 8).payloads == []


def test_machine_answers_many_requests_by_one_sync(tmp_path, log, monkeypatch):
    synced = []
    sync = os.fdatasync
    monkeypatch.setattr(
        os, "fdatasync", lambda handle: (time.sleep(0.02), synced.append(len(logged(tmp_path))), sync(handle))
    )
    one = log(durability="machine")

    async def ask(n):
        await one.append(payloads(f"{n}"))
        return synced[-1] > 0 and f"{n}" in logged(tmp_path)

    async def all_at_once():
        return await asyncio.gather(*(ask(n) for n in range(40)))

    assert all(asyncio.run(all_at_once()))
    assert len(synced) < 10


def test_machine_tells_each_request_that_the_disk_is_full(tmp_path, log, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    one = log(durability="machine")
    monkeypatch.setattr(os, "fdatasync", full)

    async def ask():
        return await asyncio.gather(*(one.append(payloads(f"{n}")) for n in range(3)), return_exceptions=True)

    refused = asyncio.run(ask())
    assert [type(error) for error in refused] == [LogFull] * 3
    monkeypatch.undo()

    async def again():
        await one.append(payloads("again"))

    asyncio.run(again())
    assert one.append(payloads("from a thread")) is None  # that has no event loop to wait in
    one.close()
    assert logged(tmp_path) == ["again", "from a thread"]


def test_home_writes_to_the_database_before_the_answer(tmp_path, monkeypatch):
    database = tmp_path / "trueup.db"
    url = home_database(database)

    async def ask(log):
        return await asyncio.gather(*(log.append(payloads(f"{n}")) for n in range(8)), return_exceptions=True)

    with closing(PredictionLog(tmp_path, serve(durability="home"), "h", model="toy", database=url)) as log:
        assert asyncio.run(ask(log)) == [None] * 8
        assert log.waiting > 0
    assert sorted(in_database(database)) == [f"{n}" for n in range(8)]
    database.rename(tmp_path / "away.db")
    with closing(PredictionLog(tmp_path, serve(durability="home"), "h", model="toy", database=url)) as log:
        refused = asyncio.run(ask(log))
        assert all("unable to open" in str(error) for error in refused)
        (tmp_path / "away.db").rename(database)
        [at_once] = asyncio.run(ask(log))[:1]
        assert "unable to open" in str(at_once)  # without a try, which may take seconds
        monkeypatch.setattr(log._table, "_again", 0)  # as if they were over
        assert asyncio.run(ask(log)) == [None] * 8
    assert not log_files(tmp_path)


def test_off_logs_nothing(tmp_path, log):
    assert log(durability="off").append(payloads("a")) is None
    assert not list(tmp_path.iterdir())


def test_a_forked_process_begins_a_file_of_its_own(tmp_path, log):
    one = log()
    one.append(payloads("parent"))
    if (child := os.fork()) == 0:
        one.append(payloads("child"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    one.append(payloads("parent again"))
    assert sorted(logged(tmp_path)) == ["child", "parent", "parent again"]
    assert [is_written(file) for file in log_files(tmp_path)] == [True, False]
