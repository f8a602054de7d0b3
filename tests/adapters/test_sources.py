"""Sources: the same table through files, SQL and a function; and everything that may be wrong with each."""

import bz2
import gzip
import json
import lzma
import os
import sqlite3
import subprocess
import sys
import threading
import zipfile
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.adapters.sources import csv_files, open_source
from trueup.adapters.sql.engines import UserDatabase
from trueup.config.sections.ingest import IngestConfig
from trueup.errors import SourceError, SourceUnavailable

MARCH, APRIL = datetime(2013, 3, 1), datetime(2013, 4, 1)
NEW_YORK = "America/New_York"


def opened(root, timezone="UTC", time="time", ingest=None, **source):
    label = {"column": "late", "known_after": "1 day"}
    config = {"source": source, "time": time, "timezone": timezone, "key": ["id"], "label": label}
    return open_source(IngestConfig.model_validate(config | (ingest or {})), root)


def files(root, path, query=None, **more):
    return opened(root, kind="files", path=path, query=query, **more)


def sql(root, url, query="SELECT * FROM t", **more):
    return opened(root, kind="sql", url=url, query=query, **more)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")
    return path


def sqlite(root, *statements):
    connection = sqlite3.connect(root / "data.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return "sqlite:///data.db"


def flights() -> pd.DataFrame:
    """One row every 5 hours from February to April: rows lie on and beside the borders of March."""
    times = pd.date_range("2013-02-01", "2013-05-01", freq="5h", inclusive="left").union(
        pd.DatetimeIndex([MARCH, APRIL])
    )
    n = len(times)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "time": times.astype("datetime64[us]"),
            "carrier": np.where(np.arange(n) % 3 == 0, "AA", "it's; 9,5 \"E\""),
            "delay": np.where(np.arange(n) % 7 == 0, np.nan, np.arange(n) / 4),
            "late": (np.arange(n) % 5 == 0).astype(int),
        }
    )  # fmt: skip


def as_csv(frame, root):
    frame.to_csv(root / "data.csv", index=False)
    return files(root, "data.csv")


def as_csv_gz(frame, root):
    (root / "folder").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[part].to_csv(root / "folder" / f"{number}.csv.gz", index=False)
    return files(root, "folder")


def as_parquet(frame, root):
    half = len(frame) // 2
    for number, part in enumerate((frame.iloc[:half], frame.iloc[half:])):
        part.to_parquet(root / f"data{number}.parquet", index=False)
    return files(root, "data*.parquet")


def as_query_over_csv(frame, root):
    frame.drop(columns="late").assign(number=frame.id * 10).to_csv(root / "data.csv", index=False)
    query = "SELECT id, CAST(time AS TIMESTAMP) AS time, carrier, delay, number // 10 % 5 = 0 AS late FROM files;"
    return files(root, "data.csv", query)


def as_sqlite(frame, root):
    engine = sa.create_engine(f"sqlite:///{root / 'data.db'}", poolclass=sa.NullPool)
    frame.to_sql("t", engine, index=False)
    return sql(root, "sqlite:///data.db")


def as_function(frame, root):
    frame.to_pickle(root / "frame.pickle")
    code = f"import pandas as pd\ndef load(start, end):\n    return pd.read_pickle({str(root / 'frame.pickle')!r})\n"
    write(root / "ours.py", code)
    return opened(root, kind="callable", function="ours:load")


SOURCES = [as_csv, as_csv_gz, as_parquet, as_query_over_csv, as_sqlite, as_function]


def as_postgres(frame, root, url):
    engine = UserDatabase(url, root, SourceError).engine
    frame.to_sql("t", engine, index=False)
    return sql(root, url)


@pytest.fixture(params=[*SOURCES, as_postgres], ids=lambda f: f.__name__[3:])
def source(request, tmp_path):
    """A source that holds `flights()`."""
    if request.param is as_postgres:
        return as_postgres(flights(), tmp_path, request.getfixturevalue("postgres_url"))
    return request.param(flights(), tmp_path)


class TestEverySource:
    def test_gives_the_rows_of_the_half_open_window(self, source):
        rows = source.read(MARCH, APRIL)
        expected = flights().query("time >= @MARCH and time < @APRIL").reset_index(drop=True)
        assert list(rows.columns) == list(expected.columns)
        assert rows.time.dtype == "datetime64[us]"
        pd.testing.assert_frame_equal(rows.astype({"carrier": object}), expected, check_dtype=False)

    def test_gives_the_columns_that_were_asked_for(self, source):
        assert list(source.read(MARCH, APRIL, ["delay", "id"]).columns) == ["delay", "id"]
        assert list(source.read(MARCH, APRIL, ["time", "id"]).columns) == ["time", "id"]

    def test_names_its_columns(self, source):
        assert source.columns() == ["id", "time", "carrier", "delay", "late"]

    def test_knows_its_extent(self, source):
        assert source.extent() == (flights().time.min().to_pydatetime(), flights().time.max().to_pydatetime())

    def test_gives_an_empty_frame_for_a_window_without_rows(self, source):
        rows = source.read(datetime(2020, 1, 1), datetime(2020, 2, 1))
        assert rows.empty
        assert list(rows.columns) == ["id", "time", "carrier", "delay", "late"]

    def test_names_an_unknown_column_and_those_there_are(self, source):
        with pytest.raises(SourceError, match=r"no column altitude; there are id, time.*[Cc]orrect"):
            source.read(MARCH, APRIL, ["altitude"])

    def test_leaves_no_traces(self, source, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        path = list(sys.path)
        source.read(MARCH, APRIL)
        source.extent()
        assert sorted(f for f in tmp_path.rglob("*") if "__pycache__" not in f.parts) == before
        assert sys.path == path


@pytest.mark.parametrize("store", [as_csv, as_parquet, as_sqlite, as_function], ids=lambda f: f.__name__[3:])
def test_a_source_without_rows_has_no_extent(store, tmp_path):
    empty = store(flights().iloc[:0], tmp_path)
    assert empty.extent() is None
    assert empty.read(MARCH, APRIL).empty


def test_all_sources_agree_on_any_window(tmp_path_factory):
    """Windows cut anywhere: every source gives the rows that pandas gives."""
    frame = flights()
    sources = [store(frame, tmp_path_factory.mktemp(store.__name__)) for store in SOURCES]
    moments = st.datetimes(datetime(2013, 1, 30), datetime(2013, 5, 2)) | st.sampled_from(
        [t.to_pydatetime() for t in frame.time]
    )

    @settings(max_examples=8)
    @given(moments, moments)
    def agree(a, b):
        start, end = min(a, b), max(a, b)
        expected = frame.id[(frame.time >= start) & (frame.time < end)].tolist()
        for source in sources:
            assert source.read(start, end, ["id"]).id.tolist() == expected, source.name

    agree()


class TestZones:
    """`2013-03-01 02:00Z` is still February in New York."""

    BORDER = ("2013-03-01T04:59:59Z", "2013-03-01T05:00:00Z", "2013-04-01T03:59:59Z", "2013-04-01T04:00:00Z")

    @pytest.fixture(params=["csv", "mixed csv", "parquet", "text parquet", "sqlite", "postgresql", "function"])
    def source(self, request, tmp_path):
        frame = pd.DataFrame({"id": range(4), "time": self.BORDER, "late": 0})
        aware = frame.assign(time=pd.to_datetime(frame.time))
        if request.param == "csv":
            frame.to_csv(tmp_path / "f.csv", index=False)
        elif request.param == "mixed csv":  # other ways to write the same moments; one of them without a zone
            other = [
                "2013-02-28 23:59:59",
                "2013-03-01 06:00:00+01:00",
                "2013-04-01T03:59:59.000Z",
                "2013-04-01T04:00+00",
            ]
            frame.assign(time=other).to_csv(tmp_path / "f.csv", index=False)
        elif request.param == "parquet":
            aware.to_parquet(tmp_path / "f.parquet")
        elif request.param == "text parquet":
            frame.to_parquet(tmp_path / "f.parquet")
        elif request.param == "function":
            aware.to_pickle(tmp_path / "f.pickle")
            code = (
                f"import pandas\ndef load(start, end):\n    return pandas.read_pickle({str(tmp_path / 'f.pickle')!r})\n"
            )
            write(tmp_path / "mine.py", code)
            return opened(tmp_path, NEW_YORK, kind="callable", function="mine:load")
        else:
            postgres = request.param == "postgresql"
            url = request.getfixturevalue("postgres_url") if postgres else "sqlite:///data.db"
            (aware if postgres else frame).to_sql("t", UserDatabase(url, tmp_path, SourceError).engine, index=False)
            return sql(tmp_path, url, timezone=NEW_YORK)
        return files(tmp_path, "f.*", timezone=NEW_YORK)

    def test_the_window_is_that_of_the_configured_zone(self, source):
        rows = source.read(MARCH, APRIL)
        assert rows.id.tolist() == [1, 2]
        assert rows.time.tolist() == [pd.Timestamp("2013-03-01 00:00"), pd.Timestamp("2013-03-31 23:59:59")]

    def test_the_extent_is_local(self, source):
        assert source.extent() == (datetime(2013, 2, 28, 23, 59, 59), datetime(2013, 4, 1, 0, 0))

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_each_row_is_in_exactly_one_window_while_the_clocks_change(self, tmp_path, kind):
        """Havana turns its clocks back at midnight: the first hour of the day occurs twice, and one in March never."""
        moments = pd.date_range("2013-03-09", "2013-03-12", freq="15min", tz="UTC").union(
            pd.date_range("2013-11-02", "2013-11-05", freq="15min", tz="UTC")
        )
        frame = pd.DataFrame({"id": range(len(moments)), "time": moments, "late": 0})
        frame.to_csv(tmp_path / "f.csv", index=False) if kind == "csv" else frame.to_parquet(tmp_path / "f.parquet")
        source = files(tmp_path, f"f.{kind}", timezone="America/Havana")
        days = [*pd.date_range("2013-03-08", "2013-03-13"), *pd.date_range("2013-11-01", "2013-11-06")]
        windows = [(a.to_pydatetime(), b.to_pydatetime()) for a, b in pairwise(days)]
        found = [source.read(start, end).id.tolist() for start, end in windows]
        assert sorted(i for ids in found for i in ids) == list(range(len(frame)))


class TestTimesThatCannotBeRead:
    @pytest.fixture(params=["csv", "csv.gz", "parquet", "sqlite", "function"])
    def store(self, request, tmp_path):
        def save(times):
            frame = pd.DataFrame({"id": range(len(times)), "time": times, "late": 0})
            if request.param == "csv":
                frame.to_csv(tmp_path / "f.csv", index=False)
            elif request.param == "csv.gz":
                frame.to_csv(tmp_path / "f.csv.gz", index=False)
            elif request.param == "parquet":
                frame.to_parquet(tmp_path / "f.parquet")
            elif request.param == "sqlite":
                return as_sqlite(frame, tmp_path)
            else:
                return as_function(frame, tmp_path)
            return files(tmp_path, "f.*")

        return save

    @pytest.mark.parametrize(
        "bad", ["yesterday", "13/14/2013", "2013-13-01 00:00", "03.03.2013 10:00", "2013-03-05 25:00"]
    )
    def test_are_an_error_with_count_and_example_and_never_vanish(self, store, bad):
        source = store([*["2013-03-02 10:00:00"] * 3, bad, "2013-03-04T11:00:00"])
        with pytest.raises(SourceError, match=rf"ingest.time: 1 of \d values of 'time' are not times, .*'{bad}'; "):
            source.read(MARCH, APRIL)

    def test_missing_ones_come_along_to_be_counted(self, store):
        source = store(["2013-03-02 10:00:00", None, "2013-05-04 11:00:00"])
        assert source.read(MARCH, APRIL).time.isna().tolist() == [False, True]
        assert source.read(APRIL, datetime(2013, 5, 1)).empty, "a window without rows stays empty"
        assert source.extent() == (datetime(2013, 3, 2, 10), datetime(2013, 5, 4, 11))

    def test_iso_text_may_be_written_in_many_ways(self, store):
        times = [
            "2013-02-28 23:59:59",
            "2013-03-01",
            "2013-03-01T00:00:00.000",
            "2013-03-31T23:59",
            "2013-04-01 00:00:00",
        ]
        assert store(times).read(MARCH, APRIL).id.tolist() == [1, 2, 3]


class TestFiles:
    def test_types_come_from_all_values_of_the_window_not_from_a_sample(self, tmp_path):
        """40,000 whole numbers and then 1.5; dates and then a time; a word in another month."""
        many = [f"{i},2013-03-01,{i % 10},{i % 10},2013-03-01" for i in range(40_000)]
        last = ["40000,2013-03-31T23:00:00,1.5,7,2013-03-02T12:00:00", "40001,2013-04-05,2,word,2013-03-02"]
        write(tmp_path / "f.csv", "\n".join(["id,time,number,mixed,other", *many, *last]))
        march, april = (files(tmp_path, "f.csv").read(*w) for w in ((MARCH, APRIL), (APRIL, datetime(2013, 5, 1))))
        assert march.number.iloc[-1] == 1.5
        assert march.time.iloc[-1] == pd.Timestamp("2013-03-31 23:00")
        assert march.other.iloc[-1] == pd.Timestamp("2013-03-02 12:00")
        assert march.mixed.dtype == np.int64, "April's word does not change March"
        assert april.mixed.tolist() == ["word"]

    @pytest.mark.parametrize("query", [None, "SELECT * FROM files"])
    def test_a_mixed_column_is_text_and_no_failure(self, tmp_path, query):
        write(tmp_path / "f.csv", "id,time,x\n1,2013-03-01,5\n2,2013-03-02,five\n3,2013-03-03,\n")
        assert files(tmp_path, "f.csv", query).read(MARCH, APRIL).x.astype(object).tolist() == ["5", "five", None]

    @pytest.mark.parametrize("query", [None, "SELECT * FROM files"])
    def test_types_of_text(self, tmp_path, query):
        header = "id,time,whole,number,truth,code,long,infinite,missing,text,spaced"
        rows = [
            "1,2013-03-01,-3,1e3,true,00123,12345678901234567890,inf,NA,x,5",
            '2,2013-03-02,+4,,FALSE,45,2,1,,"",6',
        ]
        write(tmp_path / "f.csv", "\n".join([header, *rows]))
        row, other = files(tmp_path, "f.csv", query).read(MARCH, APRIL).to_dict("records")
        assert (row["whole"], row["number"], row["truth"]) == (-3, 1000.0, True)
        assert (row["code"], row["long"], row["infinite"]) == ("00123", "12345678901234567890", np.inf)
        assert row["missing"] == "NA", "a key or a category may be called so"
        assert pd.isna([other["number"], other["missing"], other["text"]]).all()
        assert (other["truth"], other["text"] is np.nan or other["text"] is None) == (False, True)

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_the_delimiter_is_seen_in_the_header(self, tmp_path, delimiter):
        text = 'id,time,"a, b; c",x\r\n1,2013-03-01,"two\nlines",#3\r\n'.replace(",", delimiter).replace(
            f"a{delimiter} b", "a, b"
        )
        write(tmp_path / "f.csv", "\ufeff" + text)
        rows = files(tmp_path, "f.csv").read(MARCH, APRIL)
        assert list(rows.columns) == ["id", "time", "a, b; c", "x"]
        assert rows.iloc[0, 2:].tolist() == ["two\nlines", "#3"]

    def test_files_are_matched_by_column_name(self, tmp_path):
        write(tmp_path / "d" / "1.csv", "id,time,x\n1,2013-03-01,5\n")
        write(tmp_path / "d" / "2.csv", "time;x;id;y\n2013-03-02;6;2;7,5\n")
        write(tmp_path / "d" / "3.csv", "time,id\n")
        write(tmp_path / "d" / "4.CSV", "time,id\n2013-03-04,4\n")
        write(tmp_path / "d" / ".hidden.csv", "broken")
        write(tmp_path / "d" / "notes.txt", "not data")
        rows = files(tmp_path, "d").read(MARCH, APRIL)
        assert rows.id.tolist() == [1, 2, 4]
        assert rows.x.tolist()[:2] == [5, 6]
        assert pd.isna(rows.x[2])
        assert rows.y.astype(object).tolist()[1] == "7,5"

    def test_rows_keep_the_order_of_the_files(self, tmp_path):
        """The last of several rows of a key counts, so their order matters."""
        for name, first in (("b.csv", 1), ("a.csv", 0)):
            rows = "".join(f"{i},2013-03-01\n" for i in range(first, 60_000, 2))
            write(tmp_path / name, f"id,time\n{rows}")
        found = files(tmp_path, "*.csv").read(MARCH, APRIL).id
        assert found.tolist() == [*range(0, 60_000, 2), *range(1, 60_000, 2)]

    def test_a_query_sees_the_files_and_is_filtered_by_the_window(self, tmp_path):
        write(tmp_path / "f.csv", "year,month,day,hour,id,x\n2013,3,1,5,1,2\n2013,4,1,0,2,3\n2013,3,31,23,3,\n")
        query = (
            "SELECT id, make_timestamp(year, month, day, hour, 0, 0) AS time, x * 2 AS x, 'a:b%' AS s FROM files -- all"
        )
        rows = files(tmp_path, "f.csv", query).read(MARCH, APRIL)
        assert rows.id.tolist() == [1, 3]
        assert rows.x.tolist()[0] == 4
        assert rows.s.tolist() == ["a:b%"] * 2

    def test_sums_and_decimals_are_plain_numbers(self, tmp_path):
        write(tmp_path / "f.csv", "id,time,x\n1,2013-03-01,2\n")
        query = "SELECT time, sum(x) AS total, 1.25 AS price FROM files GROUP BY ALL"
        rows = files(tmp_path, "f.csv", query).read(MARCH, APRIL)
        assert rows[["total", "price"]].to_numpy(dtype=float).tolist() == [[2.0, 1.25]]
        assert rows.price.dtype == np.float64

    def test_files_that_change_are_typed_anew(self, tmp_path):
        path = write(tmp_path / "f.csv", "id,time,x\n1,2013-03-01,2\n")
        source = files(tmp_path, "f.csv", "SELECT *, x FROM files".replace(", x", ""))
        assert source.read(MARCH, APRIL).x.dtype == np.int64
        write(path, "id,time,x\n1,2013-03-01,many\n")
        assert source.read(MARCH, APRIL).x.tolist() == ["many"]

    def test_odd_file_names(self, tmp_path):
        for name in ("it's [1].csv", "x1.csv", "plain {2}*.csv"):
            write(tmp_path / name, f"id,time\n{len(name)},2013-03-01\n")
        for name in ("it's [1].csv", "plain {2}*.csv"):
            assert files(tmp_path, name).read(MARCH, APRIL).id.tolist() == [len(name)]

    def test_odd_column_names(self, tmp_path):
        write(tmp_path / "f.csv", 'id,time,"it\'s ""new""",\n1,2013-03-01,2,3\n')
        for query in (None, "SELECT * FROM files"):
            rows = files(tmp_path, "f.csv", query).read(MARCH, APRIL, ['it\'s "new"', "column3"])
            assert rows.to_numpy().tolist() == [[2, 3]]

    def test_text_that_repeats_is_kept_as_codes(self, tmp_path):
        frame = flights()
        for name, save in (("f.csv", frame.to_csv), ("f.parquet", frame.to_parquet)):
            save(tmp_path / name, index=False)
            assert isinstance(files(tmp_path, name).read(MARCH, APRIL).carrier.dtype, pd.CategoricalDtype)

    @pytest.mark.parametrize("names", ["id,time,x,x", "id,time,x,X", 'id;time;" x ";" x "'])
    def test_a_column_twice_is_refused(self, tmp_path, names):
        write(tmp_path / "f.csv", f"{names}\n1,2013-03-01,2,3\n")
        with pytest.raises(
            SourceError, match=r"f.csv: column .* occurs more than once .*; give each column its own name"
        ):
            files(tmp_path, "f.csv").read(MARCH, APRIL)

    def test_a_parquet_column_twice_is_refused(self, tmp_path):
        import pyarrow.parquet as pq

        pq.write_table(pa.table([[1], [datetime(2013, 3, 1)], [2]], names=["id", "time", "id"]), tmp_path / "f.parquet")
        with pytest.raises(SourceError, match="id occurs more than once"):
            files(tmp_path, "f.parquet").extent()

    def test_a_query_with_a_column_twice_is_refused(self, tmp_path):
        write(tmp_path / "f.csv", "id,time\n1,2013-03-01\n")
        with pytest.raises(SourceError, match="id occurs more than once"):
            files(tmp_path, "f.csv", "SELECT *, 1 AS id FROM files").read(MARCH, APRIL)

    @pytest.mark.parametrize(
        ("name", "content", "query", "problem"),
        [
            ("f.csv", "id,time\n1,2013-03-01\n2\n", None, r"Line: 3 .*Expected Number of Columns: 2 Found: 1"),
            ("f.csv", "id,time\n1,2013-03-01\n2,3,4\n", None, r"Line: 3 .*Expected Number of Columns: 2 Found: 3"),
            ("f.csv", "", None, r"f.csv is empty; a CSV begins with a line of column names"),
            ("f.csv", b"id,time,M\xfcller\n1,2013-03-01,2\n", None, r"f.csv, line 1 is not UTF-8 .*encoding: cp1252`"),
            ("f.csv", b"id,time,x\n1,2013-03-01,M\xfcller\n", None, r"f.csv: .*Line: 2 .*not utf-8.*encoding: cp1252`"),
            ("f.csv.gz", b"id,time\n1,2013-03-01\n", None, r"cannot be read: Not a gzipped file"),
            ("f.csv.gz", gzip.compress(b"id,time\n1,2013-03-01\n" * 99, mtime=0)[:40], None, r"cannot be read"),
            ("f.parquet", "hello, I am no Parquet", None, r"cannot be read: .*[Pp]arquet"),
            ("f.csv", "id,when\n1,2013-03-01\n", None, r"no column time; there are id, when\. Correct the name"),
            ("f.csv", "id,time\n1,2013-03-01\n", "SELECT nope FROM files", r'cannot be read: .*"nope" not found'),
            ("f.csv", "id,time\n1,2013-03-01\n", "SELEKT 1", r"cannot be read: .*syntax error.*ingest.source.query"),
            ("f.csv", "id,time\n1,2013-03-01\n", "SELECT * FROM sys", r"cannot be read: .*sys does not exist"),
            ("f.csv", "id,time\n1,3\n", "SELECT * FROM files", r"'time' holds BIGINT and not times; .*make_timestamp"),
            ("f.csv", "id,time\n1,3\n", None, r"ingest.time: 1 of 1 values of 'time' are not times, the first is '3'"),
            ("f.docx", "id,time", None, r"1 files that are not all CSV .* or Parquet .*; name one kind"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_read_is_said(self, tmp_path, name, content, query, problem):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        source = files(tmp_path, name, query)
        with pytest.raises(SourceError, match=rf"(?s)^files {name}.*{problem}"):
            source.read(MARCH, APRIL)

    def test_what_is_not_there_is_said(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(SourceError, match=r"there is no such file: .*none.csv; correct ingest.source.path"):
            files(tmp_path, "none.csv").extent()
        with pytest.raises(SourceError, match=r"there is no such file: .*\*.csv; correct ingest.source.path"):
            files(tmp_path, "*.csv").extent()
        with pytest.raises(SourceError, match=r"the folder holds no CSV, CSV.gz, JSON Lines, Excel or Parquet file"):
            files(tmp_path, "empty").extent()

    def test_a_file_that_may_not_be_read_is_said(self, tmp_path):
        if os.getuid() == 0:
            pytest.skip("root may read everything")
        write(tmp_path / "f.csv", "id,time\n").chmod(0)
        with pytest.raises(SourceError, match="Permission denied"):
            files(tmp_path, "f.csv").extent()

    def test_csv_and_parquet_together_are_refused(self, tmp_path):
        write(tmp_path / "a.csv", "id,time\n")
        write(tmp_path / "b.parquet", "")
        with pytest.raises(SourceError, match="2 files that are not all CSV"):
            files(tmp_path, ".").extent()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), min_size=1, max_size=9)
    )
    @example(["NA", "N/A", "NaN", "nan", "NULL", "null", "None"])
    def test_any_text_comes_back(self, tmp_path, texts):
        texts = ["a word", *texts]  # so that the column is text
        pd.DataFrame({"id": range(len(texts)), "time": "2013-03-01", "x": texts}).to_csv(
            tmp_path / "f.csv", index=False
        )
        found = files(tmp_path, "f.csv").read(MARCH, APRIL).x.astype(object)
        assert [None if pd.isna(x) else x for x in found] == [x or None for x in texts]

    def test_an_error_that_is_kept_keeps_nothing_of_duckdb(self, tmp_path):
        """DuckDB prints pages at the end of a process in which one of its objects is still held."""
        wrong = {
            "twice": ("id,time,a,A\n1,2013-03-01,1,2\n", None),
            "made_twice": ("id,time,a\n1,2013-03-01,1\n", "SELECT *, id AS a FROM files"),
            "no_times": ("id,time\n1,soon\n", None),
            "no_such_table": ("id,time\n1,2013-03-01\n", "SELECT * FROM nowhere"),
            "ragged": ("id,time\n1,2013-03-01,9,9\n", None),
            "no_such_column": ("id,when\n1,2013-03-01\n", None),
        }
        for name, (text, _) in wrong.items():
            write(tmp_path / f"{name}.csv", text)
        code = f"""
import ctypes
from datetime import datetime
from pathlib import Path
from tests.adapters.test_sources import files
from trueup.errors import SourceError
kept = []
for name, query in {[(name, query) for name, (_, query) in wrong.items()]!r}:
    source = files(Path({str(tmp_path)!r}), name + ".csv", query)
    for ask in (source.columns, source.extent, lambda: source.read(datetime(2013, 3, 1), datetime(2013, 4, 1), ["a"])):
        try:
            ask()
        except SourceError as error:
            kept.append(name)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(error))  # to the very end, as Prefect keeps the state of a run
print(*sorted(set(kept)))
"""
        root = Path(__file__).parents[2]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
        assert done.stdout.split() == sorted(wrong)
        assert done.stderr == ""


class TestSql:
    def test_times_of_sqlite_are_text_and_still_exact(self, tmp_path):
        """Compared as text, '2013-03-01 00:00:00' lies before '2013-03-01 00:00:00.000000'."""
        times = ["2013-02-28 23:59:59.999", "2013-03-01", "2013-03-01 00:00:00", "2013-03-01T00:00:00Z"]
        times += ["2013-03-31T23:59:59.999999", "2013-04-01 00:00:00", "2013-04-01T01:00:00+02:00"]
        values = ", ".join(f"({i}, '{t}')" for i, t in enumerate(times))
        url = sqlite(tmp_path, "CREATE TABLE t (id INTEGER, time TEXT)", f"INSERT INTO t VALUES {values}")
        assert sql(tmp_path, url).read(MARCH, APRIL).id.tolist() == [1, 2, 3, 4, 6]

    def test_the_query_may_hold_colons_percents_comments_and_a_semicolon(self, database_url, tmp_path):
        database = UserDatabase(database_url, tmp_path, SourceError)
        (tmp_path / "home").mkdir(exist_ok=True)
        pd.DataFrame({"id": [1, 2], "time": [MARCH, MARCH], "s": ["12:30:x", "50%"]}).to_sql("t", database.engine)
        query = "SELECT *, 'a:b' AS c, '\\:d' AS e, '%(f)s' AS g FROM t WHERE s LIKE '%:%' -- only these;\n ; "
        rows = sql(tmp_path, database_url, query).read(MARCH, APRIL)
        assert rows[["id", "s", "c", "e", "g"]].to_numpy().tolist() == [[1, "12:30:x", "a:b", "\\:d", "%(f)s"]]

    def test_dates_and_decimals_of_postgresql(self, postgres_url, tmp_path):
        query = "SELECT * FROM (VALUES (1, DATE '2013-03-01', 1.5::numeric), (2, '2013-04-01', NULL)) AS v (id, \"Time\", x)"
        rows = sql(tmp_path, postgres_url, query, time="Time").read(MARCH, APRIL)
        assert rows.id.tolist() == [1]
        assert rows.x.dtype == np.float64

    def test_the_database_filters(self, postgres_url, tmp_path):
        """A row that cannot be computed lies outside of the window: only a database that filters first survives it."""
        engine = UserDatabase(postgres_url, tmp_path, SourceError).engine
        pd.DataFrame({"id": [1, 0], "time": [MARCH, APRIL]}).to_sql("t", engine, index=False)
        rows = sql(tmp_path, postgres_url, "SELECT id, time, 1 / id AS late FROM t").read(MARCH, APRIL)
        assert rows.late.tolist() == [1]

    def test_the_url_takes_variables_and_quotes_what_stands_in_them(
        self, postgres_server, postgres_url, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("DB_PASSWORD", postgres_server.password)
        monkeypatch.setenv("WHOLE_URL", postgres_url)
        place = sa.make_url(postgres_url)
        url = f"postgresql://trueup:${{DB_PASSWORD}}@127.0.0.1:{place.port}/{place.database}"
        for address in (url, "${WHOLE_URL}"):
            assert sql(tmp_path, address, "SELECT 1 AS id, now() AS time").columns() == ["id", "time"]

    def test_secrets_are_in_no_message(self, postgres_server, tmp_path, monkeypatch):
        secret = "hush/hush@100%"
        monkeypatch.setenv("DB_PASSWORD", secret)
        port = postgres_server.port
        written = "postgresql://trueup:open-secret@127.0.0.1:1/x"
        for url in (
            f"postgresql://trueup:${{DB_PASSWORD}}@127.0.0.1:{port}/postgres",  # a wrong password
            "postgresql://trueup:${DB_PASSWORD}@127.0.0.1:1/x",  # nobody listens
            f"postgresql://trueup:${{DB_PASSWORD}}@127.0.0.1:{port}/postgres?nonsense=1",
            "sqlite:///${DB_PASSWORD}.db",
            "${DB_PASSWORD}",
            "mysql://me:${DB_PASSWORD}@host/db",
            written,
            written + "?password=open-secret",
        ):
            with pytest.raises(SourceError) as raised:
                sql(tmp_path, url).extent()
            chain = repr(raised.value) + str(raised.value) + repr(raised.value.__cause__)
            assert not any(s in chain for s in (secret, "hush", "open-secret")), chain

    def test_a_database_that_does_not_answer_may_answer_later(self, tmp_path):
        with pytest.raises(SourceUnavailable, match=r"127.0.0.1:1/x: .*check the address and that the database runs"):
            sql(tmp_path, "postgresql://me@127.0.0.1:1/x").extent()

    def test_a_variable_that_is_not_set_is_named(self, tmp_path):
        with pytest.raises(SourceError, match="environment variable NOT_SET_AT_ALL is not set; set it"):
            sql(tmp_path, "postgresql://me:${NOT_SET_AT_ALL}@host/db")

    def test_a_missing_sqlite_file_is_not_created(self, tmp_path):
        with pytest.raises(SourceError, match=r"there is no file .*none.db; correct the path"):
            sql(tmp_path, "sqlite:///none.db")
        assert not (tmp_path / "none.db").exists()

    @pytest.mark.parametrize("url", ["nonsense", "oracle9://x/y", "mysql+mysqldb://x/y"])
    def test_an_address_that_cannot_be_used_is_said(self, tmp_path, url):
        with pytest.raises(
            SourceError, match=r"not a database address that can be used: .*; write it like postgresql://"
        ):
            sql(tmp_path, url)

    @pytest.mark.parametrize(
        ("query", "problem"),
        [
            ("SELECT * FROM nowhere", r"nowhere.*; check ingest.source.query"),
            ("SELEKT 1", r"syntax error.*; check ingest.source.query"),
            ("SELECT 1 AS id", r"no column time; there are id"),
            ("SELECT 1 AS id, 2 AS id, 3 AS time", r"id occurs more than once"),
            (
                "SELECT 1 AS id, 20130101 AS time",
                r"'time' holds int values such as 20130101, not times; convert them in",
            ),
        ],
    )
    def test_a_query_that_does_not_work_is_said(self, database_url, tmp_path, query, problem):
        UserDatabase(database_url, tmp_path, SourceError)
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "home" / "trueup.db").touch()
        with pytest.raises(SourceError, match=rf"(?s)^SQL source .*{problem}"):
            sql(tmp_path, database_url, query).read(MARCH, APRIL)

    def test_text_times_outside_of_sqlite_are_to_be_cast(self, postgres_url, tmp_path):
        with pytest.raises(SourceError, match=r"'time' is text in the database.*; cast it in the query"):
            sql(tmp_path, postgres_url, "SELECT 1 AS id, '2013-03-01' AS time").read(MARCH, APRIL)


class TestFunction:
    def load(self, root, code, name="load"):
        write(root / "ours.py", f"import pandas as pd\n{code}")
        return opened(root, kind="callable", function=f"ours:{name}")

    def test_gets_the_window_and_may_give_more(self, tmp_path):
        code = "calls = []\ndef load(start, end):\n    calls.append((start, end))\n    load.calls = calls\n"
        code += "    return pd.DataFrame({'id': [1, 2], 'time': ['2013-03-05', '2013-04-05']})\n"
        source = self.load(tmp_path, code)
        assert source.read(MARCH, APRIL).id.tolist() == [1]
        assert source._function.calls == [(MARCH, APRIL)]

    def test_a_frame_that_it_keeps_is_not_changed(self, tmp_path):
        code = "frame = pd.DataFrame({'id': [1], 'time': ['2013-03-05']}, index=[7])\ndef load(start, end):\n    return frame\n"
        source = self.load(tmp_path, code)
        rows = source.read(MARCH, APRIL)
        kept = source._function.__globals__["frame"]
        assert (kept.time.tolist(), kept.index.tolist()) == (["2013-03-05"], [7])
        assert np.shares_memory(rows["id"], kept["id"])  # nor copied: a batch is in memory once

    def test_may_know_its_extent(self, tmp_path):
        code = "def load(start, end):\n    raise AssertionError\nload.extent = lambda: ('2013-01-01', pd.Timestamp('2013-02-01 05:00'))\n"
        assert self.load(tmp_path, code).extent() == (datetime(2013, 1, 1), datetime(2013, 2, 1, 5))
        assert self.load(tmp_path, "def load(start, end): ...\nload.extent = lambda: None\n").extent() is None

    def test_may_import_what_lies_beside_it(self, tmp_path):
        write(tmp_path / "beside_ours_1.py", "value = 5")
        code = "def load(start, end):\n    from beside_ours_1 import value\n    return pd.DataFrame({'id': [value], 'time': [start]})\n"
        assert self.load(tmp_path, code).read(MARCH, APRIL).id.tolist() == [5]

    def test_two_folders_may_have_modules_of_the_same_name(self, tmp_path):
        code = "def load(start, end):\n    return pd.DataFrame({{'id': [{}], 'time': ['2013-03-05']}})\n"
        sources = [self.load(tmp_path / folder, code.format(i)) for i, folder in enumerate("ab")]
        assert [s.read(MARCH, APRIL).id.tolist() for s in sources] == [[0], [1]]

    def test_a_module_in_a_package_is_found(self, tmp_path):
        code = "import pandas as pd\ndef load(start, end):\n    return pd.DataFrame({'id': [3], 'time': [start]})\n"
        write(tmp_path / "package_of_ours" / "data.py", code)
        source = opened(tmp_path, kind="callable", function="package_of_ours.data:load")
        assert source.read(MARCH, APRIL).id.tolist() == [3]

    def test_a_source_that_does_not_answer_may_say_so(self, tmp_path):
        code = "from trueup.errors import SourceUnavailable\ndef load(start, end):\n    raise SourceUnavailable('asleep')\n"
        with pytest.raises(SourceUnavailable, match=r"^asleep$"):
            self.load(tmp_path, code).read(MARCH, APRIL)

    @pytest.mark.parametrize(
        ("code", "problem"),
        [
            ("def load(start, end):\n    raise KeyError('x')\n", r"raised KeyError: 'x'; fix the function"),
            (
                "def load(start, end):\n    return [1]\n",
                r"returned list and not a DataFrame; return a pandas DataFrame",
            ),
            ("def load():\n    return 1\n", r"raised TypeError: .*takes 0 positional arguments"),
            ("def load(start, end):\n    return pd.DataFrame({'id': [1]})\n", r"no column time; there are id"),
            (
                "def load(a, b):\n    return pd.DataFrame([[1, 2, 3]], columns=['id', 'time', 'id'])\n",
                r"id occurs more than",
            ),
            ("def other(): ...\n", r"ours.py has no load; correct the name"),
            ("import no_such_module_anywhere\n", r"no module no_such_module_anywhere; put ours.py beside the config"),
            ("1 / 0\n", r"importing it raised ZeroDivisionError: division by zero; fix the module"),
            (
                "def load(a, b): ...\nload.extent = lambda: 5\n",
                r"its extent returned 5; return \(first, last\) or None",
            ),
        ],
    )
    def test_what_goes_wrong_is_said(self, tmp_path, code, problem):
        path = list(sys.path)
        with pytest.raises(SourceError, match=rf"ours:load: .*{problem}|{problem}"):
            self.load(tmp_path, code).extent()
        assert sys.path == path

    def test_a_module_that_is_nowhere_is_said(self, tmp_path):
        with pytest.raises(
            SourceError, match=r"nowhere:load: no module nowhere; put nowhere.py beside the config \(in "
        ):
            opened(tmp_path, kind="callable", function="nowhere:load")


def test_a_path_is_relative_to_the_folder_of_the_configs(tmp_path, monkeypatch):
    write(tmp_path / "data" / "f.csv", "id,time\n1,2013-03-01\n")
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir("/")
    assert files(tmp_path / "configs", "../data/f.csv").read(MARCH, APRIL).id.tolist() == [1]
    assert files(tmp_path / "configs", str(Path(tmp_path) / "data")).read(MARCH, APRIL).id.tolist() == [1]


def test_an_odd_value_next_door_does_not_change_a_window(tmp_path):
    (tmp_path / "f.csv").write_text("id,time,x\n1,2024-01-07T23:00:00,1.5\n2,2024-01-08T01:30:00,broken\n")
    config = IngestConfig.model_validate(
        {
            "source": {"kind": "files", "path": "f.csv"},
            "time": "time",
            "key": ["id"],
            "label": {"column": "x", "known_after": "1 day"},
        }
    )
    found = open_source(config, tmp_path).read(datetime(2024, 1, 1), datetime(2024, 1, 8))
    assert found["x"].tolist() == [1.5]


def march(root, path, **source):
    return opened(root, kind="files", path=path, **source).read(MARCH, APRIL)


def packed(text: bytes, path: Path) -> Path:
    """Write a file, compressed by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zst":
        with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
            stream.write(text)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner/name.csv", text)
            archive.writestr("__MACOSX/inner/._name.csv", b"\0")
    else:
        pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
        path.write_bytes(pack(text))
    return path


PACKED = ["", ".gz", ".bz2", ".xz", ".zst", ".zip"]


class TestHowCsvIsWritten:
    @pytest.mark.parametrize("query", [None, "SELECT * FROM files"])
    @pytest.mark.parametrize("ending", PACKED)
    @pytest.mark.parametrize("kind", [".csv", ".tsv", ".TXT"])
    def test_compressed_in_an_encoding_with_a_decimal_comma(self, tmp_path, kind, ending, query):
        text = "id;time;Größe;code\n1;2013-03-01;1,5;007\n2;2013-03-02;-2;008\n3;2013-03-03;+1e3;009\n"
        packed(text.encode("cp1252"), tmp_path / f"f{kind}{ending}")
        rows = march(tmp_path, f"f{kind}{ending}", encoding="cp1252", decimal=",", query=query)
        assert rows["Größe"].tolist() == [1.5, -2.0, 1000.0]
        assert rows["code"].astype(object).tolist() == ["007", "008", "009"]

    @pytest.mark.parametrize("query", [None, "SELECT * FROM files"])
    def test_with_a_decimal_comma_a_point_is_no_number(self, tmp_path, query):
        """1.234 may be a thousand: text, so that the batch fails and nobody guesses."""
        write(tmp_path / "f.csv", "id;time;x;y\n1;2013-03-01;1.234;1\n2;2013-03-02;2,5;1,5\n")
        rows = march(tmp_path, "f.csv", decimal=",", query=query)
        assert rows.x.astype(object).tolist() == ["1.234", "2,5"]
        assert rows.y.tolist() == [1.0, 1.5]

    def test_a_separator_that_is_named_is_not_looked_for(self, tmp_path):
        write(tmp_path / "f.csv", "id~time~a,b,c,d\n1~2013-03-01~x\n")
        assert list(march(tmp_path, "f.csv", separator="~").columns) == ["id", "time", "a,b,c,d"]

    @pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "shift_jis", "utf-8-sig"])
    def test_any_encoding_of_python(self, tmp_path, encoding):
        word = "日本" if encoding.startswith(("utf", "shift")) else "né"
        (tmp_path / "f.csv").write_bytes(f"id,time,x\n1,2013-03-01,{word}\n".encode(encoding))
        assert march(tmp_path, "f.csv", encoding=encoding).x.tolist() == [word]

    def test_a_wrong_encoding_names_file_and_line_and_the_mend(self, tmp_path):
        text = "id,time,x\n" + "1,2013-03-01,a\n" * 90_000 + "2,2013-03-02,M\u00fcller\n"
        packed(text.encode("cp1252"), tmp_path / "f.csv.xz")
        said = r"f.csv.xz, line 90002 is not UTF-8 \(byte 0xfc: .*; set .*`ingest.source.encoding: cp1252`"
        with pytest.raises(SourceError, match=said):
            march(tmp_path, "f.csv.xz")
        (tmp_path / "g.csv").write_bytes(b"id,time,x\n1,2013-03-01,\x81\n")
        with pytest.raises(SourceError, match=r"g.csv, line 2 is not CP1252 .*`ingest.source.encoding: utf-8`"):
            march(tmp_path, "g.csv", encoding="cp1252")

    def test_an_encoding_that_does_not_exist_is_a_mistake_of_the_config(self, tmp_path):
        with pytest.raises(ValidationError, match="there is no encoding 'cp12521'; write one like utf-8"):
            files(tmp_path, "f.csv", encoding="cp12521")

    @pytest.mark.parametrize("ending", PACKED[1:])
    @pytest.mark.parametrize("harm", ["cut", "another file"])
    def test_a_broken_archive_is_no_shorter_file(self, tmp_path, ending, harm):
        rng = np.random.default_rng(1)
        lines = "".join(f"{i},2013-03-01\n" for i in rng.integers(0, 10**9, 5_000))
        path = packed(f"id,time\n{lines}".encode(), tmp_path / f"f.csv{ending}")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if harm == "cut" else b"id,time\n1,2013-03-01\n")
        with pytest.raises(SourceError, match=rf"^files f.csv{ending}.*cannot be read"):
            march(tmp_path, f"f.csv{ending}")

    @pytest.mark.parametrize(("names", "said"), [(["a.csv", "b.csv"], r"2 files \(a.csv, b.csv\)"), ([], "0 files")])
    def test_an_archive_holds_one_file(self, tmp_path, names, said):
        with zipfile.ZipFile(tmp_path / "f.csv.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "id,time\n")
        with pytest.raises(SourceError, match=rf"f.csv.zip cannot be read: it holds {said}; create the archive again"):
            march(tmp_path, "f.csv.zip")

    def test_a_folder_of_all_kinds_of_csv(self, tmp_path):
        for number, ending in enumerate(PACKED):
            packed(f"id,time\n{number},2013-03-01\n".encode(), tmp_path / "d" / f"{number}.csv{ending}")
        write(tmp_path / "d" / "readme.txt", "no data")
        assert march(tmp_path, "d").id.tolist() == [0, 1, 2, 3, 4, 5]

    def test_an_archive_is_unpacked_once_while_it_does_not_change(self, tmp_path, monkeypatch):
        unpacked = []
        real = csv_files.opened
        monkeypatch.setattr(csv_files, "opened", lambda f, s: (unpacked.append(f.name), real(f, s))[1])
        packed(b"id,time\n1,2013-03-01\n", tmp_path / "f.csv.xz")
        source = files(tmp_path, "f.csv.xz")
        for _ in range(3):
            assert source.read(MARCH, APRIL).id.tolist() == [1]
        assert files(tmp_path, "f.csv.xz").extent() == (MARCH, MARCH), "another source of this process"
        assert unpacked.count("f.csv.xz") == 1
        packed(b"id,time\n1,2013-03-01\n2,2013-03-02\n", tmp_path / "f.csv.xz")
        assert source.read(MARCH, APRIL).id.tolist() == [1, 2]
        assert unpacked.count("f.csv.xz") == 2

    def test_copies_go_with_their_process(self, tmp_path):
        packed(b"id,time\n1,2013-03-01\n", tmp_path / "f.csv.bz2")
        code = f"""
from pathlib import Path
from tests.adapters.test_sources import march
assert march(Path({str(tmp_path)!r}), "f.csv.bz2").id.tolist() == [1]
assert list(Path({str(tmp_path / "temp")!r}).rglob("f.csv"))
"""
        (tmp_path / "temp").mkdir()
        root, env = Path(__file__).parents[2], os.environ | {"TMPDIR": str(tmp_path / "temp")}
        subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=env)
        assert not list((tmp_path / "temp").glob("trueup-files-*"))


class TestALineThatIsBeingWritten:
    def test_is_waited_for(self, tmp_path):
        path = write(tmp_path / "f.csv", "id,time,x\n1,2013-03-01,10\n2,2013-03-02,1")

        def go_on():
            with path.open("a") as stream:
                stream.write("5\n")

        timer = threading.Timer(0.5, go_on)
        timer.start()
        assert march(tmp_path, "f.csv").x.tolist() == [10, 15]
        timer.join()

    def test_and_is_named_when_it_does_not_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr(csv_files, "_PATIENCE", 0.1)
        write(tmp_path / "f.csv", "id,time,x\n1,2013-03-01,10\n2,2013-03-02,1")
        with pytest.raises(SourceUnavailable, match=r"f.csv, line 3 has no end and the file is still being written"):
            march(tmp_path, "f.csv")

    def test_a_file_that_nobody_writes_to_may_end_without_an_end_of_line(self, tmp_path):
        path = write(tmp_path / "f.csv", "id,time,x\n1,2013-03-01,10\n2,2013-03-02,1")
        os.utime(path, (1e9, 1e9))
        assert march(tmp_path, "f.csv").x.tolist() == [10, 1]

    def test_a_line_without_all_its_columns_is_an_error_with_file_and_line(self, tmp_path):
        write(tmp_path / "d" / "a.csv", "id,time,x\n1,2013-03-01,10\n")
        path = write(tmp_path / "d" / "b.csv", "id,time,x\n1,2013-03-01,10\n2,2013-0")
        os.utime(path, (1e9, 1e9))
        with pytest.raises(SourceError, match=r"^files d, b.csv: cannot be read: .*Line: 3 .*Columns: 3 Found: 2"):
            march(tmp_path, "d")


@pytest.fixture
def memory():
    """A bucket that is empty before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_both_passes_of_a_repeated_hour_are_instants_of_a_csv_read_whole(tmp_path):
    write(tmp_path / "f.csv", "id,time\n1,2024-11-03T01:30:00-04:00\n2,2024-11-03T01:30:00-05:00\n3,2024-11-03 05:00\n")
    source = files(tmp_path, "f.csv", timezone="America/New_York")
    found = source.everything()["time"].dt.tz_convert("UTC").dt.strftime("%H:%M").tolist()
    assert found == ["05:30", "06:30", "10:00"]


class TestAddresses:
    def test_a_glob_a_folder_and_a_file(self, tmp_path, memory):
        frame = flights()
        for number, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
            memory.pipe(f"/bucket/orders/{number}.csv.gz", gzip.compress(frame.iloc[part].to_csv(index=False).encode()))
        memory.pipe("/bucket/orders/_SUCCESS", b"")
        for path in ("memory://bucket/orders/*.csv.gz", "memory://bucket/orders"):
            source = files(tmp_path, path)
            assert source.columns() == list(frame.columns)
            assert source.extent() == (frame.time.min().to_pydatetime(), frame.time.max().to_pydatetime())
            expected = frame.id[(frame.time >= MARCH) & (frame.time < APRIL)].tolist()
            assert source.read(MARCH, APRIL).id.tolist() == expected
        assert files(tmp_path, "memory://bucket/orders/0.csv.gz").everything().id.tolist()[0] == 0

    def test_parquet(self, tmp_path, memory):
        with memory.open("/bucket/f.parquet", "wb") as stream:
            flights().to_parquet(stream)
        assert len(files(tmp_path, "memory://bucket/*.parquet").read(MARCH, APRIL)) == 150

    @pytest.mark.parametrize("path", ["memory://bucket/o", "memory://bucket/o/shop=*/*.parquet"])
    def test_folders_with_values(self, tmp_path, memory, path):
        for shop, rows in flights().groupby(flights().id % 2):
            with memory.open(f"/bucket/o/shop={shop}%20b/part.parquet", "wb") as stream:
                rows.to_parquet(stream)
        rows = files(tmp_path, path).read(MARCH, APRIL)
        assert (rows["shop"] == (rows.id % 2).map({0: "0 b", 1: "1 b"})).all()
        assert len(rows) == 150

    @pytest.mark.parametrize("path", ["", "/*.parquet", "/a.parquet", "/shop=1", "/shop=*/*.parquet"])
    @pytest.mark.parametrize(
        ("log", "kind"),
        [
            ("_delta_log/0.json", "Delta"),
            ("metadata/v1.metadata.json", "Iceberg"),
            (".hoodie/hoodie.properties", "Hudi"),
        ],
    )
    def test_tables_of_table_formats_are_refused(self, tmp_path, memory, path, log, kind):
        memory.pipe(f"/bucket/orders/{log}", b"{}")
        for name in ("a.parquet", "shop=1/b.parquet"):
            with memory.open(f"/bucket/orders/{name}", "wb") as stream:
                flights().to_parquet(stream)
        with pytest.raises(SourceError, match=rf"/bucket/orders is a {kind} table, .*copy it there or mount it"):
            files(tmp_path, f"memory://bucket/orders{path}").extent()

    def test_files_of_this_machine(self, tmp_path):
        write(tmp_path / "f.csv", "id,time\n1,2013-03-01\n")
        assert march(Path("/nowhere"), f"file://{tmp_path}/*.csv").id.tolist() == [1]

    def test_a_file_is_fetched_once_while_it_does_not_change(self, tmp_path, memory, monkeypatch):
        fetched = []
        real = type(memory).get_file
        monkeypatch.setattr(type(memory), "get_file", lambda s, p, *a, **k: (fetched.append(p), real(s, p, *a, **k)))
        memory.pipe("/bucket/a.csv", b"id,time\n1,2013-03-01\n")
        source = files(tmp_path, "memory://bucket/*.csv")
        for _ in range(3):
            assert source.read(MARCH, APRIL).id.tolist() == [1]
        memory.pipe("/bucket/a.csv", b"id,time\n3,2013-03-01\n")
        memory.pipe("/bucket/b.csv", b"id,time\n2,2013-03-02\n")
        assert source.read(MARCH, APRIL).id.tolist() == [3, 2]
        assert fetched == ["/bucket/a.csv", "/bucket/a.csv", "/bucket/b.csv"]

    @pytest.mark.usefixtures("memory")
    def test_what_is_not_there_is_said(self, tmp_path):
        for path in ("memory://bucket/none.csv", "memory://bucket/*.csv"):
            with pytest.raises(SourceError, match=r"there is no such file; correct ingest.source.path"):
                files(tmp_path, path).extent()

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("s3://bucket/f.csv", "s3:// addresses are read by the package s3fs; install it, as with pip install s3fs"),
            ("gs://bucket/f.csv", "the package gcsfs; install it"),
            ("nonsense://bucket/f.csv", "Protocol not known: nonsense; check ingest.source.path"),
        ],
    )
    def test_a_package_that_is_missing_is_named(self, tmp_path, monkeypatch, path, said):
        for package in ("s3fs", "gcsfs"):
            monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(SourceError, match=said):
            files(tmp_path, path).extent()

    def test_over_http_and_no_secret_is_told(self, tmp_path):
        write(tmp_path / "f.csv", "id,time\n1,2013-03-01\n")
        handler = partial(_Quiet, directory=str(tmp_path))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}"
            assert march(tmp_path, f"{address}/f.csv?token=hush").id.tolist() == [1]
            with pytest.raises(SourceError) as raised:
                march(tmp_path, f"{address}/none.csv?token=hush")
            server.shutdown()
        assert "there is no such file" in str(raised.value)
        assert "hush" not in str(raised.value)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class TestAFormatOfTime:
    """31 January is 31/01: no other reading, whatever the source."""

    TEXTS = ("28/02/2013 23:59", "01/03/2013 00:00", "31/03/2013 23:59", "01/04/2013 00:00")

    @pytest.fixture(params=["csv", "csv with a query", "parquet", "sqlite", "postgresql", "function"])
    def source(self, request, tmp_path):
        frame = pd.DataFrame({"id": range(4), "time": self.TEXTS, "late": 0})
        form = {"time_format": "%d/%m/%Y %H:%M"}
        if request.param == "function":
            frame.to_pickle(tmp_path / "frame.pickle")
            code = (
                f"import pandas\ndef load(a, b):\n    return pandas.read_pickle({str(tmp_path / 'frame.pickle')!r})\n"
            )
            write(tmp_path / "formed.py", code)
            return opened(tmp_path, ingest=form, kind="callable", function="formed:load")
        if request.param in {"sqlite", "postgresql"}:
            url = "sqlite:///data.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
            frame.to_sql("t", UserDatabase(url, tmp_path, SourceError).engine, index=False)
            return sql(tmp_path, url, ingest=form)
        if request.param == "parquet":
            frame.to_parquet(tmp_path / "f.parquet")
        else:
            frame.to_csv(tmp_path / "f.csv", index=False)
        return files(tmp_path, "f.*", "SELECT * FROM files" if "query" in request.param else None, ingest=form)

    def test_is_read_and_filtered_everywhere(self, source):
        assert source.extent() == (datetime(2013, 2, 28, 23, 59), APRIL)
        rows = source.read(MARCH, APRIL)
        assert rows.id.tolist() == [1, 2]
        assert rows.time.tolist() == [pd.Timestamp(MARCH), pd.Timestamp(2013, 3, 31, 23, 59)]

    def test_other_text_is_an_error_with_the_format(self, tmp_path):
        write(tmp_path / "f.csv", "id,time\n1,01/03/2013 00:00\n2,2013-03-02 00:00\n")
        said = r"1 of 2 values of 'time' are not times, the first is '2013-03-02 00:00'; they are not of the form '%d/"
        with pytest.raises(SourceError, match=said):
            files(tmp_path, "f.csv", ingest={"time_format": "%d/%m/%Y %H:%M"}).read(MARCH, APRIL)

    @pytest.mark.parametrize(
        ("form", "text", "zone", "hour"),
        [
            ("%Y%m%d", "20130301", "UTC", 0),
            ("%Y-%d-%m", "2013-01-03", "UTC", 0),
            ("%d.%m.%y %H:%M:%S.%f", "01.03.13 07:00:00.5", "UTC", 7),
            ("%d %b %Y %I:%M %p", " 1 Mar 2013 07:30 PM", "UTC", 19),
            ("%d/%m/%Y %H:%M %z", "01/03/2013 07:00 +0000", NEW_YORK, 2),
            ("%Y %j", "2013 060", "UTC", 0),
            ("%G-W%V-%u", "2013-W09-5", "UTC", 0),
        ],
    )
    @pytest.mark.parametrize("query", [None, "SELECT * FROM files"])
    def test_forms(self, tmp_path, form, text, zone, hour, query):
        write(tmp_path / "f.csv", f"id,time\n1,{text}\n")
        times = files(tmp_path, "f.csv", query, timezone=zone, ingest={"time_format": form}).read(MARCH, APRIL).time
        assert times.tolist() == [pd.Timestamp(2013, 3, 1, hour) + (times[0] - times[0].floor("h"))]

    @pytest.mark.parametrize("form", ["%H:%M", "soon", "%Q", "%Y-%m"])
    def test_one_that_gives_no_day_is_a_mistake_of_the_config(self, tmp_path, form):
        with pytest.raises(ValidationError, match=r"has no day|cannot be read"):
            files(tmp_path, "f.csv", ingest={"time_format": form})


class TestWhatWasWritten:
    """`updated_at`: which times have rows that were written since."""

    ROWS = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "time": pd.to_datetime(["2013-01-05", "2013-02-05", "2013-03-05"]),
            "changed": pd.to_datetime(["2013-03-06 10:00", "2013-03-06 10:00", None]),
        }
    )

    @pytest.fixture(params=["sqlite", "postgresql"])
    def database(self, request, tmp_path):
        url = "sqlite:///data.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
        engine = UserDatabase(url, tmp_path, SourceError).engine
        self.ROWS.to_sql("t", engine, index=False)

        def change(statement):
            with engine.begin() as connection:
                connection.exec_driver_sql(statement)

        return sql(tmp_path, url, updated_at="changed"), change

    def test_only_later_rows_are_told(self, database):
        source, change = database
        mark = json.loads(json.dumps(source.mark()))
        assert mark == source.mark()
        change("UPDATE t SET changed = '2013-03-07 10:00:00.000000' WHERE id = 1")
        assert source.mark() != mark
        assert sorted(source.written_since(mark)) == [datetime(2013, 1, 5), datetime(2013, 2, 5)]
        assert source.written_since(source.mark()) == [datetime(2013, 1, 5)]

    def test_more_rows_at_the_same_moment_are_not_missed(self, database):
        source, change = database
        mark = source.mark()
        change("UPDATE t SET changed = '2013-03-06 10:00:00.000000' WHERE id = 3")
        assert source.mark() != mark
        assert datetime(2013, 3, 5) in source.written_since(mark)

    def test_another_column_knows_nothing_of_the_mark(self, database):
        source, _ = database
        mark = source.mark() | {"column": "another"}
        assert sorted(source.written_since(mark)) == [datetime(2013, 1, 5), datetime(2013, 2, 5)]

    def test_a_column_that_is_not_there_is_named(self, tmp_path):
        url = sqlite(tmp_path, "CREATE TABLE t (id INTEGER, time TEXT)")
        with pytest.raises(SourceError, match="no column changed; there are id, time"):
            sql(tmp_path, url, updated_at="changed").mark()

    @pytest.mark.parametrize("value", ["7", "1.5", "'a'"])
    def test_numbers_and_text_will_do(self, tmp_path, value):
        url = sqlite(tmp_path, "CREATE TABLE t (id, time, v)", f"INSERT INTO t VALUES (1, '2013-03-01', {value})")
        source = sql(tmp_path, url, updated_at="v")
        assert source.written_since(source.mark()) == [MARCH]
        assert sql(tmp_path, url).mark() is None


INTERRUPTED = """
import os, signal, threading, time
from datetime import datetime
from pathlib import Path
from tests.adapters.test_sources import files
source = files(Path(PLACE), "a.csv", query="SELECT t, (SELECT count(*) FROM range(10000000000) r WHERE r.range % 7 = length(t)) AS n FROM files")
def strike():
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=strike).start()
source.read(datetime(2024, 1, 1), datetime(2024, 2, 1))
"""


def test_ctrl_c_in_the_middle_of_a_query_is_an_interruption_and_no_error_of_the_file(tmp_path):
    (tmp_path / "a.csv").write_text("t,x\n2024-01-02,1\n")
    code = INTERRUPTED.replace("PLACE", repr(str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr.splitlines()[-1]
    assert "RuntimeError" not in done.stderr.splitlines()[-1]
