"""A worker that is cut off from the database, in a network namespace of its own: another one takes over."""

import ctypes
import os
import subprocess
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests import postgres
from tests.forked import Started, forked
from trueup.adapters.sql.engines import connect, reading, writing
from trueup.adapters.sql.lock import alone
from trueup.errors import LockLost

pytestmark = pytest.mark.thorough

NAME, OURS, THEIRS = "trueup-cut", "10.213.57.1", "10.213.57.2"
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
        ip("addr", "add", f"{OURS}/24", "dev", LINK)
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
