"""A worker that is cut off from the database or the object store, in a network namespace of its own: others take over."""

import ctypes
import os
import subprocess
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests import buckets, postgres, streams
from tests.faults.workers import FIRST, Shared, laid_out, settled, work
from tests.forked import Started, forked
from trueup.adapters.files import bucket
from trueup.adapters.sql.engines import connect, reading, writing
from trueup.adapters.sql.lock import alone
from trueup.errors import LockLost, WorkError
from trueup.loop import steps, turn

pytestmark = pytest.mark.thorough

NAME, OURS, THEIRS, STORE = "trueup-cut", "10.213.57.1", "10.213.57.2", "10.213.57.3"
LINK, INSIDE = "trueup-a", "trueup-b"
NOTES = sa.Table("notes", sa.MetaData(), sa.Column("text", sa.Text))
NOTICED_WITHIN = 90  # seconds; the server looks for signs of life after 20, three times, 10 apart


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def network():
    """A namespace with one link to this one; skips where none may be made."""
    try:
        ip("netns", "add", NAME)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces cannot be made here: this needs root and CAP_NET_ADMIN")
    try:
        ip("link", "add", LINK, "type", "veth", "peer", "name", INSIDE, "netns", NAME)
        for address in (OURS, STORE):
            ip("addr", "add", f"{address}/24", "dev", LINK)
        ip("link", "set", LINK, "up")
        ip("-n", NAME, "addr", "add", f"{THEIRS}/24", "dev", INSIDE)
        ip("-n", NAME, "link", "set", INSIDE, "up")
        yield
    finally:
        ip("netns", "del", NAME)


@pytest.fixture
def url(network):  # noqa: ARG001
    """A PostgreSQL that both namespaces reach."""
    with postgres.cluster() as cluster:
        cluster.stop()
        url = cluster.also_at(OURS)
        cluster.start()
        yield url.render_as_string(hide_password=False)


def enter() -> None:
    """Let this process be in the other namespace from now on."""
    with Path(f"/var/run/netns/{NAME}").open() as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def note(engine: sa.Engine, text: str) -> None:
    with writing(engine) as connection:
        connection.execute(sa.insert(NOTES), {"text": text})


def cut_off(url: str, at_work, linked_again) -> str:
    """Work with the lock, and go on after the link was away."""
    enter()
    engine = connect(url)
    with alone(engine, "one") as held:
        assert held
        note(engine, "by the first")
        at_work.set()
        assert linked_again.wait(300)
        try:
            note(engine, "too late")
        except LockLost as error:
            return str(error)
    return "recorded"


def take_over(url: str, waiting) -> float:
    """Wait for the lock, and work with it."""
    engine = connect(url)
    waiting.set()
    with alone(engine, "one", wait=300) as held:
        assert held
        note(engine, "by the second")
    return 0.0


def prepare(url: str) -> None:
    NOTES.metadata.create_all(connect(url))


def noted(url: str) -> list[str]:
    with reading(connect(url)) as connection:
        return list(connection.scalars(sa.select(NOTES.c.text)))


def test_another_worker_takes_over_and_the_first_records_nothing_more(url):
    forked(prepare, url)
    fork = get_context("fork")
    at_work, waiting, linked_again = fork.Event(), fork.Event(), fork.Event()
    first = Started(cut_off, url, at_work, linked_again)
    assert at_work.wait(120)
    ip("link", "set", LINK, "down")
    second = Started(take_over, url.replace(OURS, "127.0.0.1"), waiting)
    assert waiting.wait(60)
    second.result(NOTICED_WITHIN)
    ip("link", "set", LINK, "up")
    linked_again.set()
    assert "the lock one was lost" in first.result(200)
    assert forked(noted, url.replace(OURS, "127.0.0.1")) == ["by the first", "by the second"]


class CutBefore:
    """The steps of a turn, of which one waits until the link to the object store is gone."""

    def __init__(self, step: str, at_work, cut) -> None:
        self._step, self._at_work, self._cut = step, at_work, cut

    def __getattr__(self, name: str):
        if name == self._step:
            self._at_work.set()
            assert self._cut.wait(300)
        return getattr(steps, name)


def work_until_cut(shared: Shared, step: str, at_work, cut) -> None:
    enter()
    bucket._LONGEST_PAUSE = 0.1
    story = shared.open(1)
    turn.cycle(CutBefore(step, at_work, cut), story.model, streams.week(FIRST + 1), "inline")


@pytest.mark.parametrize("step", ["validate", "evaluate"])
@pytest.mark.usefixtures("homes")
def test_a_worker_cut_off_from_the_object_store_stops_and_another_does_its_work(url, tmp_path, step):
    models = f"models_{step}"
    postgres.execute(sa.make_url(url), f"CREATE DATABASE {models}")
    with buckets.running(STORE) as server:
        places = {"home": server.bucket() + "/home", "ledger_key": "11" * 32, "database_url": url}
        places["mlflow_uri"] = sa.make_url(url).set(database=models).render_as_string(hide_password=False)
        shared = laid_out(tmp_path, 1, **places)
        fork = get_context("fork")
        at_work, cut = fork.Event(), fork.Event()
        first = Started(work_until_cut, shared, step, at_work, cut)
        assert at_work.wait(300)
        # Packets to the store go to nobody: neither an answer nor a refusal comes back.
        ip("-n", NAME, "neigh", "replace", STORE, "lladdr", "02:00:00:00:00:09", "nud", "permanent", "dev", INSIDE)
        cut.set()
        second = Started(work, shared, FIRST + 1, None)
        with pytest.raises(WorkError, match=r"object store does not answer|MLflow"):
            first.result(900)
        assert second.result(900) == 1
        forked(settled, shared, FIRST + 1)
