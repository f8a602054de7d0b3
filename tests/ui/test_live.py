"""What open pages are told, and that the reader sees a home come, grow and be replaced."""

import asyncio
import shutil
import time
from contextlib import suppress

import pytest

from tests.postgres import cluster
from tests.ui.fleets import Fleet
from trueup.config.settings import Settings
from trueup.errors import LedgerError, WorkError
from trueup.ui.live import Live
from trueup.ui.reader import Reader


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path, "toy").open()
    made.decide("toy", "promoted", 0)
    made.batch("toy", 0)
    yield made
    made.close()


def lived(settings, story, heartbeat=15.0):
    """Run a coroutine with the poller at work."""

    async def run():
        live = Live(Reader(settings), pause=0.05)
        live.heartbeat = heartbeat
        live.start()
        await asyncio.wait_for(live.ready.wait(), 30)
        while live.revision < live.first + 2:  # the first look, and the configs
            await asyncio.sleep(0.01)
        try:
            return await asyncio.wait_for(story(live), 30)
        finally:
            await live.stop()

    return asyncio.run(run())


async def until(events, word):
    """The events up to one with a word."""
    heard = []
    async for event in events:
        heard.append(event)
        if word in event:
            return heard
    raise AssertionError(heard)


def test_a_page_is_told_of_a_batch_and_a_decision(fleet):
    async def story(live):
        events = live.events(live.revision, lambda name: f"{name} <changed>")
        assert await anext(events) == "retry: 1000\n\n"
        fleet.batch("toy", 1)
        heard = await until(events, "event: changed")
        assert "event: model-toy\ndata: " in "".join(heard)
        assert "data: toy &lt;changed&gt;\n\n" in heard[0]
        fleet.decide("toy", "held", 1)
        assert await until(events, "event: changed")
        assert len(live.reader.facts["toy"].lines) == 2
        assert len(live.reader.facts["toy"].recent) == 2

    lived(fleet.settings, story)


def test_a_page_that_was_away_is_told_at_once(fleet):
    async def story(live):
        events = live.events(live.revision - 1, str)
        await until(events, "event: changed")
        fresh = live.events(live.revision, str)
        await anext(fresh)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(fresh), 0.3)

    lived(fleet.settings, story)


def test_an_open_page_is_told_that_the_home_cannot_be_read_and_that_it_can_again(fleet):
    async def story(live):
        events = live.events(live.revision, str)
        await anext(events)

        def breaks():
            raise LedgerError("the disk is <away>")

        live.reader.home.ledger.newest = breaks
        heard = "".join(await until(events, "event: changed"))
        assert "event: problem" in heard
        assert "the disk is &lt;away&gt;" in heard
        heard = "".join(await until(events, "event: changed"))  # the home was opened anew
        assert "event: problem\ndata: \n" in heard
        assert "event: model-toy" in heard

    lived(fleet.settings, story)


def test_no_revision_is_that_of_another_server(fleet):
    reader = Reader(fleet.settings)
    first = Live(reader)
    time.sleep(0.01)
    assert Live(reader).first > first.first


def test_pages_that_go_are_forgotten_and_others_get_a_heartbeat(fleet):
    async def story(live):
        pages = [live.events(None, str) for _ in range(3)]
        for page in pages:
            await anext(page)
        assert len(live.clients) == 3
        assert await anext(pages[0]) == ": alive\n\n"
        for page in pages[1:]:
            await page.aclose()
        assert len(live.clients) == 1
        live.end()
        with suppress(StopAsyncIteration):
            await anext(pages[0])
        assert not live.clients

    lived(fleet.settings, story, heartbeat=0.05)


def test_a_name_that_no_model_can_have_begins_no_event(fleet):
    async def story(live):
        events = live.events(None, str)
        await anext(events)
        live.publish(["toy", "x\n\nevent: evil\ndata: 1"])
        heard = "".join(await until(events, "event: changed"))
        assert "\nevent: evil" not in heard
        assert "event: model-toy" in heard

    lived(fleet.settings, story)


def test_a_home_is_seen_once_it_is_there_and_again_when_it_was_replaced(tmp_path):
    later = Fleet(tmp_path, "toy")
    reader = Reader(later.settings)
    assert reader.look() == set()
    assert reader.home is None
    later.open()
    later.decide("toy", "promoted", 0)
    later.batch("toy", 0)
    assert reader.look() == {"toy"}, reader.problem
    assert reader.look() == set()
    later.close()
    shutil.rmtree(later.settings.root)
    later.open()
    later.batch("toy", 3)
    assert reader.look() == {"toy"}, reader.problem
    assert reader.facts["toy"].lines == []
    assert len(reader.facts["toy"].recent) == 1
    reader.close()
    later.close()


def test_a_broken_home_is_told_and_what_was_read_stays(fleet, tmp_path):
    reader = Reader(fleet.settings)
    reader.look()
    fleet.close()
    broken = tmp_path / "broken"
    broken.write_bytes(b"no database " * 1000)
    for side in ("-wal", "-shm"):
        (fleet.settings.root / f"trueup.db{side}").unlink(missing_ok=True)
    broken.replace(fleet.settings.root / "trueup.db")
    assert reader.look() == set()
    assert reader.problem
    assert "toy" in reader.facts
    reader.close()


def test_what_a_failed_look_did_not_read_is_read_by_the_next(tmp_path):
    fleet = Fleet(tmp_path, "a", "b").open()
    reader = Reader(fleet.settings)
    reader.look()
    for name in ("a", "b"):
        fleet.batch(name, 0)
    whole = reader.home.store.newest_results

    def breaks(name, *about):
        if name == "b":
            raise WorkError("the disk is away")
        return whole(name, *about)

    reader.home.store.newest_results = breaks
    assert reader.look() == set()
    assert reader.problem == "the disk is away"
    assert reader.look() == {"a", "b"}
    assert [len(reader.facts[name].recent) for name in ("a", "b")] == [1, 1]
    reader.close()


def test_a_home_on_postgresql(tmp_path, postgres_url):
    fleet = Fleet(tmp_path, "toy", database_url=postgres_url)
    reader = Reader(fleet.settings)
    assert reader.look() == set()
    assert reader.problem is None
    fleet.open()
    fleet.batch("toy", 0)
    fleet.decide("toy", "promoted", 0)
    assert reader.look() == {"toy"}, reader.problem
    assert [line.kind for line in reader.home.ledger.page(model="toy", text="log-loss")] == ["promoted"]
    assert reader.home.ledger.kinds() == ["promoted"]
    fleet.batch("toy", 1)
    assert reader.look() == {"toy"}, reader.problem
    assert len(reader.facts["toy"].recent) == 2
    reader.close()
    fleet.close()


def test_a_server_that_is_away_is_told_at_once_and_seen_again(tmp_path):
    with cluster() as server:
        fleet = Fleet(tmp_path, "toy", database_url=server.url.render_as_string(hide_password=False)).open()
        fleet.batch("toy", 0)
        reader = Reader(fleet.settings)
        assert reader.look() == {"toy"}
        fleet.home.engine.dispose()
        server.stop()
        begun = time.monotonic()
        assert reader.look() == set()
        assert time.monotonic() - begun < 20  # and not the two minutes that a run waits
        assert "refused" in reader.problem
        assert "toy" in reader.facts
        server.start()
        reader.look()
        assert reader.problem is None
        fleet.batch("toy", 1)
        assert reader.look() == {"toy"}
        reader.close()
        fleet.close()


def test_a_changed_config_is_read_again(tmp_path):
    fleet = Fleet(tmp_path, "toy")
    reader = Reader(Settings(home=tmp_path / "home", configs=fleet.configs))
    assert reader.configs.get("toy") is None
    assert reader.configs.read_changed() == {"toy"}
    assert reader.configs.get("toy").about == "The model toy."
    (fleet.configs / "toy.yaml").write_text("model: toy\nnonsense: 1\n")
    assert reader.configs.read_changed() == {"toy"}
    assert "nonsense" in reader.configs.get("toy")
    assert reader.configs.read_changed() == set()
