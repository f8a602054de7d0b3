"""A home moves between folders, buckets, SQLite and PostgreSQL; a move that is killed can be repeated."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from pandas.testing import assert_frame_equal

from tests import buckets
from tests.faults.homes import copied
from tests.forked import Killed, forked
from tests.story import Story
from tests.upkeep.test_backup import told  # noqa: F401  (a fixture)
from trueup.adapters.background import NoReports
from trueup.adapters.sql.engines import connect
from trueup.audit.verify import anchor, verify
from trueup.config.settings import Settings
from trueup.crash import POINTS_OF_MOVE
from trueup.errors import UsageError, WorkError
from trueup.governance.status import decisions, overview
from trueup.home import Home
from trueup.upkeep.move import move
from trueup.upkeep.move_files import SHARED

pytestmark = pytest.mark.thorough

KEY = "11" * 32


@pytest.fixture(scope="module")
def server():
    with buckets.running() as one:
        yield one


@pytest.fixture
def first(told, tmp_path):  # noqa: F811
    """A copy of a home with a history, in a folder of its own."""
    key = (told.home.root / "ledger.key").read_text()
    told.home.close()
    copied(told, tmp_path / "old").home.close()
    (tmp_path / "old" / "home" / "evidently").mkdir(exist_ok=True)
    (tmp_path / "old" / "home" / "evidently" / "one.json").write_text("{}")
    return Place(tmp_path / "old", told.frame, {"home": tmp_path / "old" / "home", "ledger_key": key})


class Place:
    """A home at some place, opened for each look at it."""

    def __init__(self, folder: Path, frame, settings: dict[str, object]) -> None:
        self.folder, self.frame, self.settings = folder, frame, settings

    def open(self, **changes: object) -> Story:
        return Story.at(self.folder, self.frame, cache=self.folder / "cache", **self.settings | changes)

    def at(self, **settings: object) -> "Place":
        kept = {"ledger_key": self.settings["ledger_key"]}
        return Place(self.folder, self.frame, kept | settings)

    def move(self, to: "Place"):
        story = self.open()
        given = {"to": str(to.settings["home"]), "database": to.settings.get("database_url")}
        try:
            return move(story.home, {"toy": story.config}, **given, mlflow=to.settings.get("mlflow_uri"))
        finally:
            story.home.close()


def history(place: Place) -> dict[str, object]:
    """What a home knows, wherever it is."""
    story = place.open()
    facts = story.facts()
    facts.pop("files")
    facts |= {
        "status": overview(story.model),
        "ledger": decisions(story.home, None, 99),
        "files": sorted(e.key for folder in SHARED[:-1] for e in story.home.files.listed(folder)),
        "versions": [v.version for v in story.home.registry.versions("toy")],
        "problems": [str(p) for p in verify({"toy": story.config}, story.home).problems],
    }
    assert story.model.champion().load(story.home) is not None
    story.home.close()
    return facts


def predictions(place: Place):
    story = place.open()
    found = [story.predictions(week) for week in range(8)]
    story.home.close()
    return found


def require_moved(before, place: Place) -> None:
    facts, served = before
    assert history(place) == facts
    for was, now in zip(served, predictions(place), strict=True):
        assert_frame_equal(was, now)


def test_a_home_goes_round_and_is_the_same_at_each_place(first, server, new_database, tmp_path):
    here, buckets_ = first, [server.bucket() + "/home", server.bucket()]
    places = [
        first.at(home=buckets_[0], database_url=new_database(), mlflow_uri=new_database()),
        first.at(home=buckets_[1], database_url=new_database(), mlflow_uri=new_database()),
        first.at(home=tmp_path / "folder", database_url=new_database(), mlflow_uri=new_database()),
        first.at(home=tmp_path / "sqlite"),
    ]
    story = first.open()
    anchor(story.home)
    story.home.close()
    before = history(first), predictions(first)
    for number, place in enumerate(places):
        done = here.move(place)
        assert done.files > 50
        assert KEY not in str(done)
        require_moved(before, place)
        with pytest.raises(UsageError, match=r"was moved to .* and is closed for writing"):
            here.open().turn(9)
        here = place
        if number == 1:
            _require_no_key(place)
    last = here.open()
    assert [v.uri for v in last.home.registry.versions("toy") if str(tmp_path / "sqlite") not in v.uri] == []
    assert len(last.turn(10).batches) > 0


def _require_no_key(place: Place) -> None:
    story, key = place.open(), str(place.settings["ledger_key"])
    for entry in story.home.files.listed(""):
        with story.home.files.opened(entry.key) as file:
            assert key.encode() not in file.read(), entry.key
    for url in (story.home.settings.database, story.home.settings.mlflow_store):
        engine = connect(url)
        tables = sa.MetaData()
        tables.reflect(engine)
        with engine.connect() as connection:
            for table in tables.sorted_tables:
                assert key not in str(connection.execute(sa.select(table)).all()), table.name
        engine.dispose()
    story.home.close()


@pytest.mark.parametrize("point", POINTS_OF_MOVE)
@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_a_move_that_is_killed_does_not_count_and_can_be_repeated(first, server, new_database, tmp_path, kind, point):
    place = first.at(home=tmp_path / "new")
    if kind == "bucket":
        place = first.at(home=server.bucket() + "/home", database_url=new_database(), mlflow_uri=new_database())
    before = forked(history, first), forked(predictions, first)
    with pytest.raises(Killed):
        forked(first.move, place, crash_at=point)
    if point == "move.arrived":  # all is done
        require_moved(before, place)
        with pytest.raises(UsageError, match="was moved to"):
            first.move(place)
        return
    with pytest.raises(UsageError, match=r"is not complete|does not exist|was moved"):
        _require_it_counts(place)
    first.move(place)
    require_moved(before, place)


def _require_it_counts(place: Place) -> None:
    if not str(place.settings["home"]).startswith("s3:") and not (Path(place.settings["home"]) / "trueup.db").exists():
        raise UsageError("does not exist")
    story = place.open()
    try:
        _ = story.home.ledger
    finally:
        story.home.close()


def test_what_another_home_or_move_has_put_there_is_refused(first, server, new_database, tmp_path):
    address, database, models = server.bucket() + "/home", new_database(), new_database()
    place = first.at(home=address, database_url=database, mlflow_uri=models)
    full = Home(Settings(home=address, database_url=database, mlflow_uri=models, cache=tmp_path / "c", ledger_key=KEY))
    full.files.put_new("reports/page.html", b"x")
    with pytest.raises(UsageError, match=r"is not empty: it has reports/page.html"):
        first.move(place)
    full.files.delete("reports/page.html")
    with pytest.raises(Killed):
        forked(first.move, place, crash_at="move.files")
    with pytest.raises(UsageError, match="has a part of another move"):
        first.move(first.at(home=address, database_url=database, mlflow_uri=new_database()))
    first.move(place)
    other = first.at(home=server.bucket() + "/home", database_url=database, mlflow_uri=new_database())
    with pytest.raises(UsageError, match="was moved to"):
        first.move(other)


def test_a_bucket_needs_the_key_from_outside(first):
    story = Story.at(first.folder, first.frame, home=first.settings["home"])
    story.home.background = NoReports()
    with pytest.raises(UsageError, match=r"no key is kept in an object store.*TRUEUP_LEDGER_KEY_FILE"):
        move(story.home, {"toy": story.config}, "s3://bucket/home", "postgresql://u@h/d", "postgresql://u@h/m")


def test_a_copy_that_is_not_equal_is_noticed_and_the_old_home_stays_open(first, server, new_database, monkeypatch):
    from trueup.adapters.files.bucket import BucketFiles

    upload = BucketFiles._upload

    def damaged(self, content, key):
        if key.startswith("predictions/"):
            content.write_bytes(b"damaged" + content.read_bytes()[7:])
        upload(self, content, key)

    monkeypatch.setattr(BucketFiles, "_upload", damaged)
    place = first.at(home=server.bucket() + "/home", database_url=new_database(), mlflow_uri=new_database())
    with pytest.raises(WorkError, match=r"s3://.*predictions/.* is not equal to .*check the disk and the network"):
        first.move(place)
    monkeypatch.undo()
    assert first.open().turn(9).batches
    first.move(place)
