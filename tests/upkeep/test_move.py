"""A home moves: everything comes along, the old one is closed, and nothing is lost if it fails."""

import shutil

import pytest

from tests.forked import Killed, forked
from tests.story import Story
from tests.upkeep.test_backup import history, told  # noqa: F401  (a fixture)
from trueup.adapters.background import NoReports
from trueup.adapters.sql import closing
from trueup.audit.verify import verify
from trueup.config.settings import Settings
from trueup.errors import UsageError, WorkError
from trueup.home import Home
from trueup.model import Model
from trueup.upkeep.move import move, reopen


@pytest.fixture
def story(told, tmp_path):  # noqa: F811
    """A copy of a home with a history, at a place of its own."""
    told.home.close()
    shutil.copytree(told.folder, tmp_path / "old")
    story = Story.at(tmp_path / "old", told.frame)
    yield story
    story.home.close()


def opened(story, **places) -> Story:
    other = object.__new__(Story)
    other.folder, other.frame, other.configs = story.folder, story.frame, story.configs
    other.home = Home(Settings(configs=story.configs, **places))
    other.home.background = NoReports()
    return other


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_home_moves_with_all_it_has(story, tmp_path, request, kind):
    database = request.getfixturevalue("new_database")() if kind == "postgresql" else None
    before, configs = history(story), {"toy": story.config}
    done = move(story.home, configs, f"{tmp_path}/new", database)
    assert done.entries == len(story.home.ledger.entries())
    assert done.batches == 2 * len(story.home.store.batches("toy/rows"))
    assert database is None or database not in str(done)
    moved = opened(story, home=f"{tmp_path}/new", database_url=database)
    assert history(moved) == before
    assert [str(p) for p in verify(configs, moved.home).problems] == list(done.problems)
    moved.turn(9)  # it goes on there
    moved.home.close()

    old = opened(story, home=story.home.root)
    for write in (lambda: old.turn(9), lambda: old.home.store, lambda: story.turn(9)):
        with pytest.raises(UsageError, match=r"was moved to .*new.* and is closed for writing"):
            write()
    old.home.close()
    looking = Home(Settings(home=story.home.root, configs=story.configs), looks=True)
    assert len(looking.ledger.entries()) == done.entries  # nothing was deleted
    looking.close()
    assert reopen(story.home)
    assert not reopen(story.home)
    assert Model(story.config, story.home).champion() is not None


def test_a_move_that_is_killed_can_be_repeated(story, tmp_path):
    before, configs, to = forked(history, story), {"toy": story.config}, f"{tmp_path}/new"
    with pytest.raises(Killed):
        forked(move, story.home, configs, to, crash_at="move.loaded")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="run the same `trueup move` again"):
        forked(story.turn, 9)
    move(story.home, configs, to)
    moved = opened(story, home=to)
    assert history(moved) == before
    moved.home.close()


def test_a_home_in_which_something_is_at_work_stays(story, tmp_path):
    other = opened(story, home=story.home.root)
    with other.home.retraining("toy") as held:
        assert held
        with pytest.raises(WorkError, match="`trueup retrain` of toy is at work in this home; stop all workers"):
            move(story.home, {"toy": story.config}, f"{tmp_path}/new")
    other.home.close()
    assert not (tmp_path / "new").exists()
    closing.require_open(story.home.engine)


def test_a_move_that_fails_leaves_the_old_home_open(story, tmp_path):
    batch = story.home.store.batches("toy/rows")[0]
    (story.home.root / batch.path).write_bytes(b"damaged")
    with pytest.raises(WorkError, match=r"cannot be read|is not what was landed|damaged"):
        move(story.home, {"toy": story.config}, f"{tmp_path}/new")
    closing.require_open(story.home.engine)


@pytest.mark.parametrize(
    ("to", "problem"),
    [
        ("old/home/inside", "is inside the home"),
        ("old", "is inside .*; use another place"),
        ("full", "is not empty"),
        ("s3://bucket/home", "name an empty PostgreSQL database"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused(story, tmp_path, to, problem):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()

    with pytest.raises(UsageError, match=problem):
        move(story.home, {"toy": story.config}, to if ":" in to else str(tmp_path / to))
    closing.require_open(story.home.engine)
