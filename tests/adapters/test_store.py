"""The store on SQLite and PostgreSQL, with real processes where it matters."""

import hashlib
import math
import multiprocessing
import os
import resource
import signal
import sqlite3
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from trueup.adapters import parquet
from trueup.adapters.files.local import LocalFiles
from trueup.adapters.sql.engines import connect
from trueup.adapters.store import Store, tables
from trueup.domain.types import EVENT_TIME, ROW_ID, Window
from trueup.errors import UsageError, WorkError

JANUARY = Window(datetime(2013, 1, 1), datetime(2013, 2, 1))
FEBRUARY = Window(datetime(2013, 2, 1), datetime(2013, 3, 1))
MARCH = Window(datetime(2013, 3, 1), datetime(2013, 4, 1))

PROCESSES = multiprocessing.get_context("forkserver")


def rows(n=6, window=JANUARY, first=0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            ROW_ID: np.arange(first, first + n, dtype=np.int64) * 10**15,
            EVENT_TIME: pd.date_range(window.start, periods=n, freq="1h").astype("datetime64[us]"),
            "carrier": ["AA", "B6", None, "AA", "AA", "B6"] * (n // 6) + ["AA"] * (n % 6),
            "delay": np.arange(n) / 3,
        }
    )


def predicted(ids, p=0.5, version=1, window=JANUARY) -> pd.DataFrame:
    return pd.DataFrame(
        {
            ROW_ID: np.array(list(ids), dtype=np.int64),
            EVENT_TIME: np.datetime64(window.start, "us"),
            "prediction": p,
            "model_version": version,
            "predicted_at": np.datetime64("2013-02-01", "us"),
        }
    )


def plain(frame) -> pd.DataFrame:
    """Categories as objects, and one way to be missing."""
    texts = [name for name, kind in frame.dtypes.items() if kind.kind == "O" or isinstance(kind, pd.CategoricalDtype)]
    return frame.assign(**{n: frame[n].astype(object).where(frame[n].notna(), None) for n in texts})


def files(home: Path) -> list[Path]:
    return sorted(f for f in home.rglob("*") if f.suffix in {".parquet", ".tmp"})


class InProcess:
    """Run functions in processes of their own, all at the same moment."""

    def __init__(self, function, *calls):
        self.barrier = PROCESSES.Barrier(len(calls))  # kept: the children find it by name
        self.queue = PROCESSES.Queue()
        self.processes = [
            PROCESSES.Process(target=_run, args=(function, self.barrier, self.queue, *call)) for call in calls
        ]
        for process in self.processes:
            process.start()

    def results(self):
        found = [self.queue.get(timeout=60) for _ in self.processes]
        for process in self.processes:
            process.join(timeout=60)
        if errors := [f for f in found if isinstance(f, Exception)]:
            raise errors[0]
        return found

    def exit_codes(self):
        for process in self.processes:
            process.join(timeout=60)
        return [process.exitcode for process in self.processes]


def _run(function, barrier, queue, *call):
    barrier.wait(timeout=60)
    try:
        queue.put(function(*call))
    except Exception as error:
        queue.put(error)


def _open(home, url):
    return Store(LocalFiles(home), connect(url))


def land_once(home, url, frame):
    store = _open(home, url)
    ref = store.land("flights/rows", JANUARY, frame, {})
    store.engine.dispose()
    return ref


def land_and_die(home, url, where):
    """Land, and be killed where it hurts."""

    def die(*_args, **_kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    store = _open(home, url)
    if where == "while the file is written":
        os.fsync = die
    elif where == "after the file":
        Store._show = die
    store.land("flights/rows", JANUARY, rows(), {})


def predict_once(home, url, ids, version):
    store = _open(home, url)
    new = sum(
        store.save_predictions("flights", JANUARY, predicted(part, version=version)) for part in np.array_split(ids, 5)
    )
    store.engine.dispose()
    return new


def first_open(home, url):
    store = _open(home, url)
    ref = store.land("flights/rows", JANUARY, rows(), {})
    store.record("flights", "monitor", JANUARY, 1, MARCH.start, {"process": os.getpid()})
    store.engine.dispose()
    return ref.sequence


class TestLanding:
    def test_what_was_landed_comes_back(self, store):
        ref = store.land("flights/rows", JANUARY, rows(), {"duplicates": 2})
        assert (ref.revision, ref.sequence, ref.rows, ref.facts) == (1, 1, 6, {"duplicates": 2})
        assert store.batches("flights/rows") == [ref]
        assert store.batch(ref.sequence) == ref
        found = store.read(ref, verify=True)
        pd.testing.assert_frame_equal(plain(found), rows())
        assert isinstance(found.carrier.dtype, pd.CategoricalDtype)
        assert list(store.read(ref, ["delay", ROW_ID]).columns) == ["delay", ROW_ID]

    def test_the_same_content_again_changes_nothing(self, store, home):
        ref = store.land("flights/rows", JANUARY, rows(), {"duplicates": 2})
        before = [(f, f.stat().st_mtime_ns) for f in files(home)]
        as_category = rows().astype({"carrier": "category"})[["delay", "carrier", EVENT_TIME, ROW_ID]]
        assert store.land("flights/rows", JANUARY, as_category, {"duplicates": 9}) == ref
        assert [(f, f.stat().st_mtime_ns) for f in files(home)] == before

    def test_other_content_is_a_new_revision(self, store):
        first = store.land("flights/rows", JANUARY, rows())
        store.land("flights/rows", FEBRUARY, rows(window=FEBRUARY))
        second = store.land("flights/rows", JANUARY, rows(5))
        third = store.land("flights/rows", JANUARY, rows())
        assert [r.revision for r in (first, second, third)] == [1, 2, 3]
        assert [r.sequence for r in (first, second, third)] == [1, 3, 4]
        assert store.batches("flights/rows")[0] == third
        assert len(store.read(store.batch(3))) == 5, "an older revision stays readable"

    def test_batches_are_the_newest_revisions_by_window(self, store):
        march = store.land("flights/rows", MARCH, rows(window=MARCH))
        old = store.land("flights/rows", JANUARY, rows())
        new = store.land("flights/rows", JANUARY, rows(5))
        store.land("flights/labels", JANUARY, rows())
        assert store.batches("flights/rows") == [new, march]
        assert store.batches("flights/rows", until=MARCH.start) == [new]
        assert store.batches("flights/rows", until=MARCH.end, sequence=old.sequence) == [old, march]
        assert store.newest("flights/rows", JANUARY) == new
        assert store.newest("flights/rows", FEBRUARY) is None
        assert store.batches("unknown") == []

    def test_a_window_that_cuts_another_is_refused(self, store):
        store.land("flights/rows", JANUARY, rows())
        week = Window(datetime(2013, 1, 28), datetime(2013, 2, 4))
        with pytest.raises(WorkError, match=r"overlaps \[2013-01-01, 2013-02-01\).*set ingest.period back"):
            store.land("flights/rows", week, rows(window=week))
        store.land("flights/labels", week, rows(window=week))

    def test_an_empty_batch_can_be_landed(self, store):
        ref = store.land("flights/rows", JANUARY, rows().iloc[:0])
        assert (ref.rows, len(store.read(ref)), list(store.read(ref).columns)) == (0, 0, list(rows().columns))

    @pytest.mark.parametrize(
        "name", ["../evil", "/etc/passwd", "a/../b", "", "a b", ".hidden", "a//b", "x" * 300, "a\n"]
    )
    def test_names_do_not_lead_out_of_the_home(self, store, home, name):
        with pytest.raises(UsageError, match="cannot name a dataset, a model or a role"):
            store.land(name, JANUARY, rows())
        with pytest.raises(UsageError):
            store.save_predictions("flights", JANUARY, predicted([1]), role=name)
        with pytest.raises(UsageError):
            store.put_evaluation(name, rows())
        assert files(home) == []

    def test_a_changed_file_is_noticed_and_can_be_landed_again(self, store, home):
        ref = store.land("flights/rows", JANUARY, rows())
        parquet.write(parquet.to_table(rows().assign(delay=1.0)), home / ref.path)
        store.read(ref)
        with pytest.raises(WorkError, match="its digest differs from the recorded one; restore it from a backup"):
            store.read(ref, verify=True)
        (home / ref.path).write_bytes(b"no Parquet at all")
        with pytest.raises(WorkError, match="cannot be read"):
            store.read(ref)
        (home / ref.path).unlink()
        with pytest.raises(WorkError, match="or remove it and ingest its window again"):
            store.read(ref)
        assert store.land("flights/rows", JANUARY, rows()) == ref
        assert len(store.read(ref, verify=True)) == 6

    def test_a_column_of_mixed_types_is_refused_and_leaves_nothing(self, store, home):
        with pytest.raises(WorkError, match=r"mixed types cannot be stored: .*odd"):
            store.land("flights/rows", JANUARY, rows().assign(odd=[1, "two", 3, 4, 5, 6]))
        assert files(home) == []

    def test_an_unknown_landing_or_column_is_said(self, store):
        ref = store.land("flights/rows", JANUARY, rows())
        with pytest.raises(WorkError, match="there is no landing 99 in this home"):
            store.batch(99)
        with pytest.raises(WorkError, match=r"no column altitude was landed; there are delay|no column altitude"):
            store.read(ref, ["delay", "altitude"])


class TestReadingSeveral:
    def test_batches_are_joined_by_column(self, store):
        extra = rows(3, FEBRUARY, first=6).assign(late=[1, 0, 1], carrier=["DL", "DL", "AA"]).drop(columns="delay")
        refs = [store.land("flights/rows", JANUARY, rows()), store.land("flights/rows", FEBRUARY, extra)]
        found = store.read(refs)
        expected = pd.concat([rows(), extra], ignore_index=True)
        pd.testing.assert_frame_equal(plain(found), plain(expected[list(found.columns)]))
        assert list(store.read(refs, ["late"]).late.isna()) == [True] * 6 + [False] * 3
        assert store.read([], ["late"]).columns.tolist() == ["late"]
        assert rows().merge(store.effective([], [ROW_ID, "late"]), on=ROW_ID).empty

    def test_a_column_reads_the_same_whatever_type_it_came_with(self, store):
        """Whole numbers in one month, others or none in the next; codes that were numbers until a word came."""
        frames_of = [
            rows(2).assign(number=[1, 2], code=[1, 2], text=[None, None], few="a"),
            rows(2, FEBRUARY).assign(number=[1.5, np.nan], code=["A", "1"], text=["x", "y"], few=["b", "c"]),
            rows(6, MARCH).assign(
                number=np.nan, code=[1.0, 2.0, None, 3.5, 1, 1], text="z", few=["a", "a", "a", "a", "b", "b"]
            ),
        ]
        windows = (JANUARY, FEBRUARY, MARCH)
        refs = [store.land("flights/rows", w, f) for w, f in zip(windows, frames_of, strict=True)]
        found = store.read(refs)
        assert found.number.dtype == np.float64
        assert plain(found).code.tolist() == ["1", "2", "A", "1", "1", "2", None, "3.5", "1", "1"]
        assert found.text.isna().tolist() == [True, True] + [False] * 8
        assert found.few.tolist() == ["a", "a", "b", "c", "a", "a", "a", "a", "b", "b"]


VALUES = {
    "whole": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5),
    "number": st.lists(st.floats(width=64), min_size=5, max_size=5),
    "text": st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=4), min_size=5, max_size=5),
    "truth": st.lists(st.booleans(), min_size=5, max_size=5),
    "time": st.lists(st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=5, max_size=5),
}


def framed(values) -> pd.DataFrame:
    kinds = {"whole": np.int64, "number": np.float64, "text": object, "truth": bool, "time": "datetime64[us]"}
    return pd.DataFrame({name: pd.Series(values[name], dtype=kind) for name, kind in kinds.items()})


class TestDigest:
    @given(st.fixed_dictionaries(VALUES))
    def test_content_survives_parquet_and_keeps_its_digest(self, tmp_path_factory, values):
        frame, path = framed(values), tmp_path_factory.getbasetemp() / "digest.parquet"
        table = parquet.to_table(frame)
        parquet.write(table, path, durable=False)
        assert parquet.digest(parquet.read(path)) == parquet.digest_of_file(path) == parquet.digest(table)
        found = parquet.to_pandas(parquet.read(path))
        pd.testing.assert_frame_equal(plain(found), plain(frame))
        assert parquet.digest(parquet.to_table(found[frame.columns[::-1]])) == parquet.digest(table)

    @given(VALUES["text"], st.integers(0, 4))
    def test_texts_count_as_their_lengths_and_bytes_wherever_they_lie_in_memory(self, texts, skipped):
        column, left = pa.array(["before", *texts])[1 + skipped :], texts[skipped:]
        expected = hashlib.sha256(str(len(left)).encode())
        if all(text is None for text in left):
            expected.update(b"\x004:text:missing\0")
        else:
            expected.update(b"\x004:text:plain text\0")
            lengths = [-1 if text is None else len(text.encode()) for text in left]
            expected.update(np.array(lengths, dtype=np.int32).tobytes())
            expected.update("".join(text for text in left if text is not None).encode())
        assert parquet.digest(pa.table({"text": pa.chunked_array([column])})) == expected.hexdigest()

    @given(st.fixed_dictionaries(VALUES), st.fixed_dictionaries(VALUES))
    def test_other_content_has_another_digest(self, one, other):
        digests = [parquet.digest(parquet.to_table(framed(v))) for v in (one, other)]
        assert (digests[0] == digests[1]) == (repr(one) == repr(other))
        assert digests[0] == parquet.digest(parquet.to_table(framed(one)))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (pd.Series([1, 2, 3]), pd.Series([1.0, 2.0, 3.0])),
            (pd.Series([1, 2, 3], dtype="int8"), pd.Series([1, 2, 3], dtype="float32")),
            (pd.Series([1, None, 3]), pd.Series([1, None, 3], dtype="Int64")),
            (pd.Series(["b", "a", "b", "b", None]), pd.Series(["b", "a", "b", "b", None], dtype="category")),
            (pd.Series(["b", "a"]), pd.Categorical(["b", "a"], categories=["unused", "a", "b"])),
            (pd.Series([None, None]), pd.Series([np.nan, np.nan])),
            (pd.to_datetime(["2013-01-01"]).astype("datetime64[ns]"), pd.to_datetime(["2013-01-01"]).astype("datetime64[us]")),
        ],
    )  # fmt: skip
    def test_how_a_value_is_held_does_not_matter(self, one, other):
        assert parquet.digest(parquet.to_table(pd.DataFrame({"x": one}))) == parquet.digest(
            parquet.to_table(pd.DataFrame({"x": other}))
        )

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"x": [1, 2]}, {"x": [2, 1]}),
            ({"x": [1, 2]}, {"y": [1, 2]}),
            ({"x": ["1", "2"]}, {"x": [1, 2]}),
            ({"x": ["ab", "c"]}, {"x": ["a", "bc"]}),
            ({"x": ["ab", "c"] * 9}, {"x": ["a", "bc"] * 9}),
            ({"x": ["", None]}, {"x": [None, ""]}),
            ({"x": [True, False]}, {"x": [1, 0]}),
            ({"x": [2**53 + 1]}, {"x": [2**53]}),
            ({"x": [1.0, np.inf]}, {"x": [1.0, np.nan]}),
            ({"x": [1]}, {"x": [1], "y": [None]}),
            ({"x": []}, {"x": [None]}),
        ],
    )
    def test_what_differs_differs(self, one, other):
        assert parquet.digest(parquet.to_table(pd.DataFrame(one))) != parquet.digest(
            parquet.to_table(pd.DataFrame(other))
        )

    def test_does_not_depend_on_this_machine_or_version(self):
        frame = pd.DataFrame({"n": [1, 2, 3], "t": ["a", None, "a"], "d": pd.to_datetime(["2013-01-01"] * 3)})
        expected = "6e35236f9fc240dc59c52d5728576a906084b322739f11d68112c9602f5b21d4"
        assert parquet.digest(parquet.to_table(frame)) == expected, "landed content would get new revisions everywhere"

    def test_what_cannot_be_stored_is_said(self):
        with pytest.raises(WorkError, match=r"values of type list<.*cannot be stored"):
            parquet.digest(parquet.to_table(pd.DataFrame({"x": [[1], [2]]})))


class TestCrashes:
    @pytest.mark.parametrize("where", ["while the file is written", "after the file"])
    def test_a_killed_landing_shows_nothing_and_the_next_completes_it(self, store, home, database_url, where):
        killed = InProcess(land_and_die, (home, database_url, where))
        assert killed.exit_codes() == [-signal.SIGKILL]
        assert store.batches("flights/rows") == []
        whole = [f for f in files(home) if f.suffix == ".parquet"]
        assert len(whole) == (1 if where == "after the file" else 0)
        written = [f.stat().st_mtime_ns for f in whole]
        ref = store.land("flights/rows", JANUARY, rows())
        assert (ref.revision, ref.sequence, len(store.read(ref, verify=True))) == (1, 1, 6)
        if whole:
            assert [f.stat().st_mtime_ns for f in whole] == written, "the file of the killed landing was adopted"

    def test_a_full_disk_leaves_nothing_half_written(self, store, home):
        """A limit on the size of files stands in for the full disk: the write itself fails, as it does there."""
        kept = store.land("flights/rows", JANUARY, rows())
        before, limits = files(home), resource.getrlimit(resource.RLIMIT_FSIZE)
        big = rows(60_000).assign(delay=np.random.default_rng(0).normal(size=60_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        try:
            with pytest.raises(WorkError, match=r"cannot be written: File too large; make room .* then run again"):
                store.land("flights/rows", JANUARY, big)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert files(home) == before
        assert store.batches("flights/rows") == [kept]

    def test_a_database_that_cannot_be_opened_is_said(self, tmp_path):
        (tmp_path / "trueup.db").write_text("This is not a database. " * 100)
        engine = connect(f"sqlite:///{tmp_path / 'trueup.db'}")
        with pytest.raises(WorkError, match=r"trueup.db cannot be opened: file is not a database; check its address"):
            Store(LocalFiles(tmp_path), engine)
        engine.dispose()
        engine = connect("postgresql://trueup:hush@127.0.0.1:1/x")
        with pytest.raises(WorkError, match=r"trueup:\*\*\*@127.0.0.1:1/x cannot be opened: .*refused") as raised:
            Store(LocalFiles(tmp_path), engine)
        assert "hush" not in str(raised.value)

    def test_a_locked_database_is_waited_for(self, tmp_path):
        url = f"sqlite:///{tmp_path / 'trueup.db'}"
        store = Store(LocalFiles(tmp_path), connect(url))
        other = sqlite3.connect(tmp_path / "trueup.db", check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        free = threading.Timer(1.0, other.rollback)
        free.start()
        began = time.monotonic()
        store.batches("flights/rows")
        assert time.monotonic() - began < 0.9, "reading waits for nobody"
        assert store.land("flights/rows", JANUARY, rows()).revision == 1
        assert time.monotonic() - began > 0.9
        free.join()
        other.close()
        store.engine.dispose()


class TestSideBySide:
    def test_eight_first_runs_on_an_empty_home_leave_one_healthy_database(self, home, database_url):
        landed = InProcess(first_open, *[(home, database_url)] * 8).results()
        assert landed == [1] * 8
        engine = connect(database_url)
        store = Store(LocalFiles(home), engine)
        assert len(store.batches("flights/rows")) == 1
        assert len(store.results("flights", "monitor", dict)) == 1
        if engine.dialect.name == "sqlite":
            with engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        engine.dispose()

    def test_the_same_window_landed_at_once_is_one_revision(self, store, home, database_url):
        refs = InProcess(land_once, *[(home, database_url, rows(600))] * 3).results()
        assert refs[0] == refs[1] == refs[2]
        assert [r.revision for r in store.batches("flights/rows")] == [1]

    def test_different_content_landed_at_once_is_a_revision_each(self, store, home, database_url):
        refs = InProcess(land_once, *[(home, database_url, rows(n)) for n in (6, 12, 18)]).results()
        assert sorted(r.revision for r in refs) == [1, 2, 3]
        assert sorted(r.sequence for r in refs) == [1, 2, 3]
        assert all(len(store.read(r, verify=True)) == r.rows for r in refs)

    def test_two_scorers_at_once_leave_one_prediction_a_row(self, store, home, database_url):
        ids = np.arange(2_000)
        new = InProcess(
            predict_once, (home, database_url, ids, 1), (home, database_url, ids[::-1], 2), (home, database_url, ids[500:], 3)
        ).results()  # fmt: skip
        found = store.read_predictions("flights", JANUARY)
        assert sorted(found[ROW_ID]) == list(range(2_000))
        assert sum(new) == 2_000, "each process knows how many were its own"
        assert sorted(found.model_version.value_counts()) == sorted(n for n in new if n)
        parts = list((home / "predictions").rglob("*.parquet"))
        assert sum(parquet.read(p).num_rows for p in parts) == 2_000, "the files of those who lost are gone"


class TestQuarantine:
    FAILURES = pd.DataFrame(
        {ROW_ID: [10**15, 10**15, 3 * 10**15], "expectation": ["delay in range", "carrier known", "delay in range"]}
    )

    def test_failing_rows_are_listed_with_what_they_failed_and_not_used(self, store):
        ref = store.land("flights/rows", JANUARY, rows())
        store.quarantine(ref, self.FAILURES)
        listed = store.quarantined(ref)
        assert sorted(listed.itertuples(index=False, name=None)) == [
            (10**15, "carrier known"), (10**15, "delay in range"), (3 * 10**15, "delay in range"),
        ]  # fmt: skip
        assert store.quarantined_ids(ref).tolist() == [10**15, 3 * 10**15]
        assert store.effective(ref)[ROW_ID].tolist() == [0, 2 * 10**15, 4 * 10**15, 5 * 10**15]
        assert store.effective(ref, ["delay"]).columns.tolist() == ["delay"]
        assert len(store.read(ref)) == 6, "the rows themselves are kept"

    def test_a_released_row_is_used_again(self, store):
        ref = store.land("flights/rows", JANUARY, rows())
        store.quarantine(ref, self.FAILURES)
        assert store.release(ref, [10**15, 77], by="ann", why="checked by hand") == 1
        assert store.release(ref, [10**15], by="bob", why="again") == 0
        assert store.effective(ref)[ROW_ID].tolist() == [0, 10**15, 2 * 10**15, 4 * 10**15, 5 * 10**15]
        assert store.quarantined(ref)[ROW_ID].tolist() == [3 * 10**15]
        assert set(store.quarantined(ref, released=True)[ROW_ID]) == {10**15}
        assert store.release(ref, None, by="ann", why="all fine") == 1
        assert len(store.effective(ref)) == 6
        assert store.quarantined(ref).empty

    def test_a_batch_without_failures_is_whole(self, store):
        ref = store.land("flights/rows", JANUARY, rows())
        assert (store.quarantined(ref).empty, store.quarantined_ids(ref).size, len(store.effective(ref))) == (
            True,
            0,
            6,
        )
        store.quarantine(ref, self.FAILURES.iloc[:0])
        assert store.release(ref, None, by="ann", why="") == 0

    def test_the_newest_judgement_counts_and_the_same_again_changes_nothing(self, store, home):
        ref = store.land("flights/rows", JANUARY, rows())
        for _ in range(2):
            store.quarantine(ref, self.FAILURES.iloc[::-1])
        assert len(list((home / "quarantine").rglob("*.parquet"))) == 1
        store.quarantine(ref, self.FAILURES.iloc[2:])
        assert store.quarantined_ids(ref).tolist() == [3 * 10**15]
        store.quarantine(ref, self.FAILURES.iloc[:0])
        assert store.quarantined_ids(ref).tolist() == []
        store.quarantine(ref, self.FAILURES)
        assert store.quarantined_ids(ref).tolist() == [10**15, 3 * 10**15]

    def test_a_correction_is_judged_anew(self, store):
        old = store.land("flights/rows", JANUARY, rows())
        store.quarantine(old, self.FAILURES)
        store.release(old, None, by="ann", why="fine")
        new = store.land("flights/rows", JANUARY, rows().assign(delay=0.0))
        assert len(store.effective(new)) == 6
        store.quarantine(new, self.FAILURES)
        assert store.quarantined_ids(new).tolist() == [10**15, 3 * 10**15]
        assert store.quarantined_ids(old).tolist() == []

    def test_several_batches_leave_out_their_own_rows(self, store):
        refs = [store.land("flights/rows", w, rows(window=w)) for w in (JANUARY, FEBRUARY)]
        store.quarantine(refs[1], self.FAILURES)
        assert store.effective(refs)[ROW_ID].value_counts().sort_index().tolist() == [2, 1, 2, 1, 2, 2]


class TestPredictions:
    def test_the_first_one_served_counts(self, store):
        assert store.save_predictions("flights", JANUARY, predicted([1, 2, 2], [0.1, 0.2, 0.9])) == 2
        assert store.save_predictions("flights", JANUARY, predicted([2, 3], [0.7, 0.3], version=2)) == 1
        assert store.save_predictions("flights", JANUARY, predicted([1, 2, 3], 0.0, version=3)) == 0
        found = store.read_predictions("flights", JANUARY)
        assert found[[ROW_ID, "prediction", "model_version"]].to_numpy().tolist() == [
            [1, 0.1, 1],
            [2, 0.2, 1],
            [3, 0.3, 2],
        ]
        assert found.predicted_at.dtype == "datetime64[us]"

    def test_models_roles_and_windows_are_apart(self, store):
        store.save_predictions("flights", JANUARY, predicted([1]))
        assert store.save_predictions("flights", JANUARY, predicted([1]), role="shadow:2") == 1
        assert store.save_predictions("trains", JANUARY, predicted([1])) == 1
        assert store.save_predictions("flights", FEBRUARY, predicted([2], window=FEBRUARY)) == 1
        assert store.read_predictions("flights", FEBRUARY, columns=[ROW_ID])[ROW_ID].tolist() == [2]
        assert store.read_predictions("flights", Window(JANUARY.start, FEBRUARY.end))[ROW_ID].tolist() == [1, 2]
        assert store.read_predictions("flights", JANUARY, "shadow:2")[ROW_ID].tolist() == [1]
        assert store.read_predictions("flights", MARCH).empty
        assert store.read_predictions("flights", MARCH).merge(predicted([1]), on=[ROW_ID, EVENT_TIME]).empty
        assert store.read_predictions("flights", MARCH, columns=[ROW_ID, "prediction"]).columns.tolist() == [
            ROW_ID,
            "prediction",
        ]

    def test_windows_that_overlap_share_their_predictions(self, store):
        """The period of the batches was changed from months to weeks."""
        store.save_predictions(
            "flights", JANUARY, predicted([1, 2]).assign(event_time=pd.to_datetime(["2013-01-02", "2013-01-20"]))
        )
        week = Window(datetime(2013, 1, 14), datetime(2013, 1, 21))
        again = predicted([2, 3], window=week)
        assert store.save_predictions("flights", week, again) == 1
        assert store.read_predictions("flights", week)[ROW_ID].tolist() == [2, 3]
        assert store.read_predictions("flights", JANUARY)[ROW_ID].tolist() == [1, 2, 3]

    def test_a_prediction_outside_of_its_window_is_a_mistake(self, store):
        with pytest.raises(ValueError, match=r"1 rows for .* have an event time outside of it"):
            store.save_predictions("flights", FEBRUARY, predicted([1]))

    def test_nothing_to_predict_is_nothing_new(self, store, home):
        assert store.save_predictions("flights", JANUARY, predicted([])) == 0
        assert files(home) == []

    def test_classes_keep_their_columns(self, store):
        frame = predicted([1, 2]).assign(prediction=["on time", "late"], p_late=[0.2, 0.8], **{"p_on time": [0.8, 0.2]})
        store.save_predictions("flights", JANUARY, frame)
        found = store.read_predictions("flights", JANUARY)
        assert found["prediction"].tolist() == ["on time", "late"]
        assert found["p_on time"].tolist() == [0.8, 0.2]


class TestResults:
    AS_OF = datetime(2013, 3, 1)

    def test_a_result_is_written_once(self, store):
        body = {"auc": 0.7, "reasons": ["a", "b"], "none": None, "unknown": math.nan}
        first = store.record("flights", "monitor", JANUARY, 1, pd.Timestamp(self.AS_OF), body)
        assert first["reasons"] == ["a", "b"]
        assert math.isnan(first["unknown"])
        assert store.record("flights", "monitor", JANUARY, 1, self.AS_OF, {"auc": 0.1})["auc"] == 0.7
        (found,) = store.results("flights", "monitor", dict)
        assert (found.window, found.revision, found.as_of, found.body["auc"]) == (JANUARY, 1, self.AS_OF, 0.7)

    def test_another_moment_or_revision_is_another_result(self, store):
        store.record("flights", "monitor", FEBRUARY, 1, self.AS_OF, {"n": 3})
        store.record("flights", "monitor", JANUARY, 1, datetime(2013, 4, 1), {"n": 2})
        store.record("flights", "monitor", JANUARY, 1, self.AS_OF, {"n": 1})
        store.record("flights", "monitor", JANUARY, 2, datetime(2013, 4, 1), {"n": 4})
        store.record("flights", "validate", JANUARY, 1, self.AS_OF, {"n": 9})
        store.record("trains", "monitor", JANUARY, 1, self.AS_OF, {"n": 9})
        assert [r.body["n"] for r in store.results("flights", "monitor", dict)] == [1, 2, 4, 3]
        assert [r.body["n"] for r in store.results("flights", "monitor", dict, FEBRUARY)] == [3]


class TestComputed:
    KEY = "ab" * 32

    def test_features_are_kept_by_key(self, store):
        other = "cd" * 32
        assert not store.has_features(self.KEY)
        frame = rows().assign(small=np.arange(6, dtype=np.float32))
        store.put_features(self.KEY, frame)
        store.put_features(other, rows(window=FEBRUARY).assign(small=np.float32(1)))
        assert store.has_features(self.KEY)
        found = store.read_features([self.KEY, other])
        assert found.small.dtype == np.float32
        assert found[ROW_ID].tolist() == rows()[ROW_ID].tolist() * 2
        half = Window(datetime(2013, 1, 1, 3), FEBRUARY.start)
        assert store.read_features([self.KEY, other], half)[EVENT_TIME].tolist() == rows()[EVENT_TIME].tolist()[3:]
        assert store.read_features([]).empty

    def test_a_torn_file_is_as_good_as_none(self, store, home):
        store.put_features(self.KEY, rows())
        (path,) = files(home)
        path.write_bytes(path.read_bytes()[:-20])
        assert not store.has_features(self.KEY)
        assert files(home) == []
        with pytest.raises(WorkError, match="cannot be read"):
            store.read_features([self.KEY])

    def test_keys_are_digests(self, store):
        with pytest.raises(ValueError, match="hexadecimal"):
            store.put_features("../../evil", rows())

    def test_evaluations_are_kept_by_run(self, store):
        path = store.put_evaluation("0af3", rows())
        assert not Path(path).is_absolute()
        assert store.read_evaluation(path)[ROW_ID].tolist() == rows()[ROW_ID].tolist()


def test_booleans_have_one_text_beside_a_third_value(store):
    first = rows(3).drop(columns="carrier").assign(paid=[1.0, 0.0, np.nan])
    one = store.land("toy/rows", JANUARY, first, {"kinds": {"paid": "boolean"}})
    other = store.land("toy/rows", FEBRUARY, first.assign(paid=["unknown", "true", None]), {"kinds": {}})
    for both in (store.read([one, other]), store.effective([one, other])):
        assert both["paid"].astype(object).fillna("-").tolist() == ["true", "false", "-", "unknown", "true", "-"]
    assert store.read(one)["paid"].tolist()[:2] == [1, 0]


def test_memory_of_repeated_text_is_small(store):
    """What matters at millions of rows: one byte or four a value, not a pointer and a string."""
    ref = store.land("flights/rows", JANUARY, rows(30_000))
    assert store.read(ref, ["carrier"]).memory_usage(deep=True)["carrier"] < 2 * 30_000


def test_every_table_is_made_once(store):
    assert {"batches", "quarantine", "releases", "predictions", "results"} <= set(tables.metadata.tables)
    Store(store.files, store.engine)
    assert isinstance(parquet.to_table(rows()), pa.Table)


def test_the_moments_that_the_database_writes_are_utc(database_url, tmp_path):
    url = sa.make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.update_query_dict({"options": f"{url.query['options']} -cTimeZone=Pacific/Auckland"})
    engine = connect(url.render_as_string(hide_password=False))
    Store(LocalFiles(tmp_path), engine).land("toy/rows", JANUARY, rows(3))
    with engine.connect() as connection:
        recorded = connection.scalar(sa.select(tables.BATCHES.c.recorded_at))
    engine.dispose()
    assert abs(datetime.now(UTC).replace(tzinfo=None) - recorded) < timedelta(minutes=1)


@dataclass(frozen=True)
class Brief:
    status: str


def test_results_in_brief_are_the_same_results_with_some_of_their_keys(store):
    week = [
        Window(datetime(2024, 1, 1) + timedelta(weeks=i), datetime(2024, 1, 8) + timedelta(weeks=i)) for i in range(3)
    ]
    for number, window in enumerate(week):
        store.record("m", "validate", window, 1, window.end, {"status": "pass", "checks": [number] * 9})
    for _ in range(2):  # read, and remembered
        found = store.results("m", "validate", Brief)
        assert [(r.window, r.body) for r in found] == [(w, Brief("pass")) for w in week]
    store.record("m", "validate", week[0], 2, week[0].end, {"status": "fail"})
    newest = store.results("m", "validate", Brief, week[0])
    assert [(r.revision, r.body.status) for r in newest] == [(1, "pass"), (2, "fail")]
    assert [r.body for r in store.results("m", "validate", dict, week[1])] == [{"status": "pass", "checks": [1] * 9}]
