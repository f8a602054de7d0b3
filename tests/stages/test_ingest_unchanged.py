"""Files and tables that nobody has written since the last ingest are not read again; whatever else an ingest depends on still counts."""

import os

import pytest

from tests import streams
from tests.story import PLAIN, Story, in_week, stream
from trueup.adapters import git
from trueup.adapters.sources import file_state
from trueup.adapters.sources.file_table import FileTable
from trueup.adapters.sources.sql import SqlTable
from trueup.adapters.sql.engines import UserDatabase
from trueup.errors import SourceError
from trueup.loop import steps


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A home that has read three weeks, from files whose times count although they were just written."""
    monkeypatch.setattr(file_state, "_SETTLED", -60.0)
    story = Story(tmp_path, stream(21, per_day=20))
    steps.ingest(story.model, streams.week(3))
    return story


@pytest.fixture
def reads(monkeypatch):
    """The questions that sources were asked."""
    asked, answer = [], FileTable._answer

    def counted(self, *question):
        asked.append(self.name)
        return answer(self, *question)

    monkeypatch.setattr(FileTable, "_answer", counted)
    return asked


def test_what_nobody_has_written_is_not_read(told, reads):
    landed = steps.ingest(told.model, streams.week(3))
    assert reads == []
    told.open()
    assert told.model.newest_complete() == streams.week(3)
    assert steps.ingest(told.model, streams.week(3)) == landed
    assert reads == []


def test_a_corrected_row_is_read_even_if_size_and_time_of_the_file_are_as_before(told):
    file = told.configs / "data" / "stream.csv"
    before = file.stat()
    changed = told.frame.copy()
    changed.loc[in_week(changed, 2), "group"] = changed.loc[in_week(changed, 2), "group"].map(
        {"a": "b", "b": "c", "c": "a"}
    )
    told.source(changed)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert [b.rows.revision for b in steps.ingest(told.model, streams.week(3))] == [1, 1, 2]


def test_another_config_an_earlier_moment_and_a_lost_file_read_again(told, reads):
    config = told.configs / "toy.yaml"
    config.write_text(PLAIN.replace("min_rows: 30", "min_rows: 31"))
    steps.ingest(told.model, streams.week(3))
    assert reads
    reads.clear()
    steps.ingest(told.model, streams.week(2))
    assert reads
    steps.ingest(told.model, streams.week(3))
    reads.clear()
    lost = told.home.root / told.batch(2).rows.path
    lost.unlink()
    steps.ingest(told.model, streams.week(3))
    assert reads
    assert lost.exists()


def test_other_code_or_packages_read_again(told, reads, monkeypatch):
    monkeypatch.setattr("trueup.model.code_digest", lambda: "of the next release")
    steps.ingest(told.model, streams.week(3))
    assert reads


def test_the_digest_of_the_code_follows_every_file_of_the_library(tmp_path, monkeypatch):
    package = tmp_path / "trueup" / "adapters"
    package.mkdir(parents=True)
    monkeypatch.setattr(git.trueup, "__file__", str(tmp_path / "trueup" / "__init__.py"))
    digests = set()
    for text in ("x = 1", "x = 2"):
        (package / "reading.py").write_text(text)
        git.code_digest.cache_clear()
        digests.add(git.code_digest())
    (package / "reading.py").rename(package / "other.py")
    git.code_digest.cache_clear()
    digests.add(git.code_digest())
    git.code_digest.cache_clear()
    assert len(digests) == 3


class TestATableWithAWatermark:
    SOURCE = "{kind: sql, url: 'sqlite:///data.db', query: SELECT * FROM orders, watermark: WATERMARK}"

    @pytest.fixture
    def change(self, tmp_path):
        """Writes to the database with the table."""
        database = UserDatabase("sqlite:///data.db", tmp_path / "configs", SourceError)

        def write(statement):
            with database.engine.begin() as connection:
                connection.exec_driver_sql(statement)

        return write

    def told(self, tmp_path, watermark="'SELECT max(changed), count(*) FROM orders'"):
        config = PLAIN.replace("{kind: files, path: data/*.csv}", self.SOURCE.replace("WATERMARK", watermark))
        assert config != PLAIN
        frame = stream(21, per_day=20)
        story = Story(tmp_path, frame, config)
        database = UserDatabase("sqlite:///data.db", story.configs, SourceError)
        frame.assign(changed=1).to_sql("orders", database.engine, index=False)
        steps.ingest(story.model, streams.week(3))
        return story

    @pytest.fixture
    def questions(self, monkeypatch):
        """The questions that the table was asked, besides its watermark."""
        asked, names = [], SqlTable._names

        def counted(self, *arguments):
            asked.append(self.name)
            return names(self, *arguments)

        monkeypatch.setattr(SqlTable, "_names", counted)
        return asked

    def test_is_not_read_until_the_watermark_changes(self, tmp_path, questions, change):
        story = self.told(tmp_path)
        questions.clear()
        landed = steps.ingest(story.model, streams.week(3))
        assert questions == []
        change("UPDATE orders SET x = x + 1, changed = 2 WHERE id = (SELECT max(id) FROM orders)")
        again = steps.ingest(story.model, streams.week(3))
        assert questions
        assert [b.rows.revision for b in landed] == [1, 1, 1]
        assert [b.rows.revision for b in again] == [1, 1, 2]

    @pytest.mark.parametrize(
        ("watermark", "said"),
        [
            ("SELECT elsewhere FROM orders", "no such column: elsewhere; check ingest.source.watermark"),
            ("SELECT id FROM orders", "has more than 100 rows; select a few figures"),
            ("SELECT 1 WHERE false", "has no row; select a few figures"),
            ("ANALYZE", "check ingest.source.watermark"),
        ],
    )
    def test_one_that_cannot_be_used_is_named(self, tmp_path, watermark, said):
        with pytest.raises(SourceError, match=said):
            self.told(tmp_path, watermark)

    def test_percent_signs_and_colons_are_the_databases(self, tmp_path, questions):
        story = self.told(tmp_path, "\"SELECT count(*) % 7, ':a', 'b%' FROM orders\"")
        questions.clear()
        steps.ingest(story.model, streams.week(3))
        assert questions == []


@pytest.mark.parametrize("seconds_ago", [0.5, -5.0])
def test_a_file_that_was_just_written_or_by_a_clock_that_is_ahead_has_no_known_state(
    tmp_path, seconds_ago, monkeypatch
):
    file = tmp_path / "a.csv"
    file.write_text("a\n")
    written = file.stat().st_ctime
    monkeypatch.setattr(file_state.time, "time", lambda: written + seconds_ago)
    assert file_state.state_of([file]) is None
    monkeypatch.setattr(file_state.time, "time", lambda: written + 10)
    assert file_state.state_of([file]) is not None


def test_a_query_may_depend_on_the_day(told, reads):
    text = PLAIN.replace("path: data/*.csv}", "path: data/*.csv, query: SELECT * FROM files}")
    (told.configs / "toy.yaml").write_text(text)
    told.open()
    for _ in range(2):
        reads.clear()
        steps.ingest(told.model, streams.week(3))
        assert reads
