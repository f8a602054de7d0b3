"""What a source brings from one ingest to the next: longer files, new ones, and rows that were written again."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from tests import streams
from tests.story import PLAIN, Story, in_week, stream, window
from trueup.adapters.sql.engines import UserDatabase
from trueup.errors import SourceError
from trueup.loop import steps
from trueup.onboarding.check import check
from trueup.stages import ingest

SQL = PLAIN.replace(
    "{kind: files, path: data/*.csv}",
    '{kind: sql, url: "sqlite:///data.db", query: SELECT * FROM t, updated_at: changed}',
).replace("  period: week\n", "  period: week\n  revisit: 1\n")


def ingested(told: Story, week: int) -> list[int]:
    """Ingest, and give the revisions of the batches."""
    return [b.rows.revision for b in steps.ingest(told.model, streams.week(week))]


# Files that grow


def test_a_longer_file_and_a_new_one_bring_the_next_batches(tmp_path):
    frame = stream(28, per_day=10)
    told = Story(tmp_path, frame[frame["t"] < streams.week(2)])
    folder = told.configs / "data"
    assert ingested(told, 4) == [1, 1]
    with (folder / "stream.csv").open("a") as stream_file:
        frame[in_week(frame, 2)].to_csv(stream_file, index=False, header=False)
    assert ingested(told, 4) == [1, 1, 1]
    frame[in_week(frame, 3)].to_csv(folder / "later.csv", index=False)
    assert ingested(told, 4) == [1, 1, 1, 1], "what was landed before is what it was"
    assert told.batch(3).rows.rows == 70


def test_a_line_that_is_half_written_lands_nothing_until_it_is_whole(tmp_path):
    frame = stream(14, per_day=10)
    told = Story(tmp_path, frame)
    file = told.configs / "data" / "stream.csv"
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b",")])
    os.utime(file, (1e9, 1e9))
    with pytest.raises(SourceError, match=r"stream.csv: cannot be read: .*Line: 141 "):
        ingested(told, 2)
    file.write_bytes(whole)
    assert ingested(told, 2) == [1, 1]


# Rows that were written again


class Table:
    """The table `t` that a story reads."""

    def __init__(self, told: Story, frame: pd.DataFrame) -> None:
        self.file = told.configs / "data.db"
        self.add(frame, "2024-03-01 00:00:00")

    def add(self, frame: pd.DataFrame, changed: str) -> None:
        engine = sa.create_engine(f"sqlite:///{self.file}", poolclass=sa.NullPool)
        frame.assign(changed=changed).to_sql("t", engine, index=False, if_exists="append")

    def write(self, row: int, x: float, changed: str) -> None:
        connection = sqlite3.connect(self.file)
        connection.execute("UPDATE t SET x = ?, changed = ? WHERE id = ?", (x, changed, row))
        connection.commit()
        connection.close()


@pytest.fixture
def landed(tmp_path):
    """Six weeks of ten rows a day, landed; and their table."""
    frame = stream(42, per_day=10)
    told = Story(tmp_path, frame, SQL)
    table = Table(told, frame)
    assert ingested(told, 6) == [1] * 6
    return told, table


@pytest.fixture
def read(monkeypatch):
    """The weeks that were read from the source."""
    weeks: list[int] = []
    real = ingest.land

    def land(model, of, *more):
        weeks.append((of.start - streams.START).days // 7)
        real(model, of, *more)

    monkeypatch.setattr(ingest, "land", land)
    return weeks


def test_an_old_batch_with_rows_written_since_is_read_again(landed, read):
    told, table = landed
    table.write(5, 9.0, "2024-03-02 00:00:00")
    assert ingested(told, 6) == [2, 1, 1, 1, 1, 1]
    read.clear()
    assert ingested(told, 6) == [2, 1, 1, 1, 1, 1]
    assert read == [5], "only what is always read again"
    table.write(75, 9.0, "2024-03-03 00:00:00")
    read.clear()
    told.open()  # another process
    assert ingested(told, 6) == [2, 2, 1, 1, 1, 1]
    assert read == [0, 1, 5], "week 0 holds the row that was the newest one"


def test_without_updated_at_it_is_not(tmp_path):
    frame = stream(42, per_day=10)
    told = Story(tmp_path, frame, SQL.replace(", updated_at: changed", ""))
    table = Table(told, frame)
    ingested(told, 6)
    table.write(5, 9.0, "2024-03-02 00:00:00")
    assert ingested(told, 6) == [1] * 6


def test_what_a_crash_left_unread_is_read_by_the_next(landed, monkeypatch):
    told, table = landed
    table.write(5, 9.0, "2024-03-02 00:00:00")
    table.write(75, 9.0, "2024-03-02 00:00:00")
    real, lands = ingest.land, iter((True, False))

    def land(model, of, *more):
        if not next(lands):
            raise KeyboardInterrupt
        real(model, of, *more)

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "land", land)
        with pytest.raises(KeyboardInterrupt):
            ingested(told, 6)
    told.open()
    assert ingested(told, 6) == [2, 2, 1, 1, 1, 1]


def test_what_lies_after_as_of_is_told_again_later(landed):
    told, table = landed
    table.write(300, 9.0, "2024-03-02 00:00:00")
    ingested(told, 2)
    assert ingested(told, 6) == [1, 1, 1, 1, 2, 1]


def test_a_home_of_before_reads_all_once(tmp_path, read):
    frame = stream(42, per_day=10)
    told = Story(tmp_path, frame, SQL.replace(", updated_at: changed", ""))
    table = Table(told, frame)
    ingested(told, 6)
    table.write(5, 9.0, "2024-03-01 00:00:00")
    (told.configs / "toy.yaml").write_text(SQL)
    told.open()
    read.clear()
    assert ingested(told, 6) == [2, 1, 1, 1, 1, 1]
    assert read == [0, 1, 2, 3, 4, 5]


def test_a_new_batch_and_an_old_one_in_the_same_ingest(landed):
    told, table = landed
    more = stream(49, per_day=10)
    table.add(more[in_week(more, 6)], "2024-03-05 00:00:00")
    table.write(5, 9.0, "2024-03-04 00:00:00")
    assert ingested(told, 7) == [2, 1, 1, 1, 1, 1, 1]


# Sentinels, formats and mistakes, from the config to what is told


def test_sentinels_are_told_by_validation(tmp_path):
    frame = stream(14, per_day=40)
    frame["z"] = frame["z"].astype(object).where(frame["id"] % 50 != 0, "?")
    told = Story(tmp_path, frame, PLAIN.replace("  period: week\n", "  period: week\n  missing: {z: ['?', -200]}\n"))
    first, _ = steps.ingest(told.model, streams.week(2))
    checked = steps.validate(told.model, first, streams.week(2))
    assert checked.status == "pass", checked.reasons
    assert "z: 6 values ? or -200 count as missing" in checked.warnings
    assert told.home.store.read(first.rows)["z"].isna().sum() == 6


def test_lines_of_totals_below_a_table_break_no_batch(tmp_path):
    told = Story(tmp_path, stream(28, per_day=5), PLAIN.replace("min_rows: 30", "min_rows: 10"))
    told.source(pd.concat([told.frame, pd.DataFrame({"id": ["total", "mean"]})]))
    batches = steps.ingest(told.model, streams.week(4))
    assert [b.rows.facts["null_times"] for b in batches] == [2] * 4
    checked = [steps.validate(told.model, b, streams.week(4)) for b in batches]
    assert [c.status for c in checked] == ["pass"] * 4, checked[0].reasons
    assert all("2 rows without a time were left out" in c.warnings for c in checked)


def test_text_in_a_numeric_feature_breaks_the_batch_unless_it_is_coerced(tmp_path):
    frame = stream(14, per_day=40)
    frame["z"] = frame["z"].astype(object).where(frame["id"] != 50, "broken")
    for coerce, status in (("", "fail"), ("  coerce: [z]\n", "pass")):
        told = Story(tmp_path / status, frame, PLAIN.replace("  period: week\n", f"  period: week\n{coerce}"))
        first, second = steps.ingest(told.model, streams.week(2))
        checked = steps.validate(told.model, first, streams.week(2))
        assert checked.status == status, checked.reasons
        assert steps.validate(told.model, second, streams.week(2)).status == "pass"
    assert "z: 279 texts read as numbers, 1 values were none" in checked.warnings


def test_dates_with_slashes_land_in_their_weeks(tmp_path):
    frame = stream(14, per_day=40)
    written = frame.assign(t=frame["t"].dt.strftime("%d/%m/%Y %H:%M:%S"))
    config = PLAIN.replace("  period: week\n", "  period: week\n  time_format: '%d/%m/%Y %H:%M:%S'\n")
    told = Story(tmp_path, written, config)
    assert ingested(told, 2) == [1, 1]
    landed = told.home.store.read(told.batch(1).rows)
    assert landed["event_time"].tolist() == frame["t"][in_week(frame, 1)].tolist()
    assert window(1).start == landed["event_time"].min()


def test_check_names_what_is_not_there(tmp_path):
    frame = stream(14, per_day=40)
    told = Story(
        tmp_path, frame, PLAIN.replace("  period: week\n", "  period: week\n  missing: {zz: [0], '*': ['?']}\n")
    )
    (problem,) = check("toy", told.home).problems
    assert "ingest.missing.zz: the source has no column zz; did you mean z?" in problem
    other = Story(tmp_path / "sql", frame, SQL)
    UserDatabase("sqlite:///data.db", other.configs, SourceError)
    frame.to_sql("t", sa.create_engine(f"sqlite:///{other.configs / 'data.db'}", poolclass=sa.NullPool), index=False)
    (problem,) = check("toy", other.home).problems
    assert "ingest.source.updated_at: the source has no column changed" in problem
    assert Path(other.configs / "data.db").exists()


# Rows of a wrong date


def misdated(frame: pd.DataFrame, *dates: str) -> pd.DataFrame:
    odd = frame.head(len(dates)).assign(
        t=pd.to_datetime(list(dates), format="ISO8601"), id=[10**6 + i for i in range(len(dates))]
    )
    return pd.concat([frame, odd])


def test_a_row_of_next_year_lands_no_unfinished_week_and_does_not_hold_up_the_next(tmp_path, caplog):
    frame = stream(28, per_day=10)
    until = streams.week(3) - pd.Timedelta(days=4)  # the third week has begun
    told = Story(tmp_path, misdated(frame[frame["t"] < until], "2027-01-10 09:00", "1970-01-01"))
    told.home.now = lambda: datetime(2030, 1, 1, tzinfo=UTC)
    assert told.model.newest_complete() == streams.week(2)
    steps.ingest(told.model, streams.week(500))
    assert "set aside: 1 row before " in caplog.text
    assert "back to 1970-01-01" in caplog.text
    assert [b.rows.rows for b in told.model.batches(streams.week(2))] == [70, 70]
    told.source(misdated(frame, "2027-01-10 09:00", "1970-01-01"))
    assert told.model.newest_complete() == streams.week(4)
    assert [b.rows.rows for b in steps.ingest(told.model, streams.week(4))] == [70] * 4
    assert "up to 2027-01-10" in check("toy", told.home).set_aside


def test_what_is_planned_for_later_does_not_move_the_clock(tmp_path):
    frame = stream(28, per_day=10)
    told = Story(tmp_path, frame)
    told.home.now = lambda: (streams.week(2) + timedelta(days=1, hours=12)).replace(tzinfo=UTC)
    assert told.model.newest_complete() == streams.week(2)


def test_an_absurdly_long_history_is_asked_about(tmp_path):
    frame = stream(28, per_day=10)
    told = Story(
        tmp_path, misdated(frame, *["1970-01-01"] * 9), config=PLAIN.replace("week\n", "week\n  max_batches: 5\n", 1)
    )
    with pytest.raises(SourceError, match=r"batches of a week would be landed at once.*set ingest.max_batches: \d+"):
        ingested(told, 4)
