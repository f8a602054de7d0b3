"""Files that nobody has written since the last ingest are not read again; whatever else an ingest depends on still counts."""

import os

import pytest

from tests import streams
from tests.story import PLAIN, Story, in_week, stream
from trueup.adapters.sources import file_state
from trueup.adapters.sources.file_table import FileTable
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
