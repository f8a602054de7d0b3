"""Tables of table formats, folders that hold values, sheets and JSON: read by what knows them, or refused by name."""

import gzip
import json
import sys
from datetime import datetime
from typing import ClassVar

import pandas as pd
import pyarrow as pa
import pytest

from tests.adapters.test_sources import files, write
from trueup.errors import SourceError

START, END = datetime(2024, 1, 1), datetime(2024, 2, 1)
FRAME = pd.DataFrame(
    {
        "id": range(6),
        "time": pd.date_range("2024-01-05", periods=6, freq="D").astype("datetime64[us]"),
        "shop": list("abcabc"),
        "x": [1.5, 2.0, None, 4.0, 5.0, 6.0],
        "code": ["007", "010", "1", "2", "3", "4"],
        "late": [0, 1, 0, 1, 0, 1],
    }
)


def same(rows, frame=FRAME):
    rows = rows.sort_values("id").reset_index(drop=True)[list(frame.columns)]
    pd.testing.assert_frame_equal(rows.astype({"shop": object, "code": object}), frame, check_dtype=False)


class TestDelta:
    @pytest.fixture
    def folder(self, tmp_path):
        deltalake = pytest.importorskip("deltalake", reason="pip install deltalake")
        deltalake.write_deltalake(str(tmp_path / "orders"), FRAME.assign(late=1 - FRAME["late"], x=-1.0))
        deltalake.write_deltalake(str(tmp_path / "orders"), FRAME, mode="overwrite")
        return tmp_path

    def test_only_the_newest_version_counts(self, folder):
        source = files(folder, "orders")
        same(source.read(START, END))
        assert source.extent() == (datetime(2024, 1, 5), datetime(2024, 1, 10))
        assert len(source.read(datetime(2024, 1, 6), datetime(2024, 1, 8))) == 2
        assert files(folder, "orders", "SELECT * FROM files WHERE shop = 'a'").everything()["id"].tolist() == [0, 3]

    def test_files_of_it_are_refused(self, folder):
        for path in ("orders/*.parquet", "orders/**/*.parquet"):
            with pytest.raises(SourceError, match=r"part of the Delta table .*orders, .*name its folder"):
                files(folder, path).extent()

    def test_a_broken_one_is_refused_by_name(self, tmp_path):
        pytest.importorskip("deltalake", reason="pip install deltalake")
        write(tmp_path / "orders" / "_delta_log" / f"{0:020}.json", "{}")
        FRAME.to_parquet(tmp_path / "orders" / "a.parquet")
        with pytest.raises(SourceError, match="is a Delta table and cannot be read"):
            files(tmp_path, "orders").read(START, END)

    def test_without_its_library_the_package_is_named(self, tmp_path, monkeypatch):
        write(tmp_path / "orders" / "_delta_log" / f"{0:020}.json", "{}")
        monkeypatch.setitem(sys.modules, "deltalake", None)
        with pytest.raises(SourceError, match="pip install deltalake"):
            files(tmp_path, "orders").columns()


class TestIceberg:
    def test_deleted_rows_are_gone(self, tmp_path):
        catalog = pytest.importorskip("pyiceberg.catalog", reason="pip install pyiceberg")
        held = catalog.load_catalog("test", type="in-memory", warehouse=str(tmp_path))
        held.create_namespace("shop")
        arrow = pa.Table.from_pandas(pd.concat([FRAME, FRAME.assign(id=FRAME["id"] + 100)]), preserve_index=False)
        table = held.create_table("shop.orders", schema=arrow.schema)
        table.append(arrow)
        table.delete("id >= 100")
        same(files(tmp_path, "shop/orders").read(START, END))
        with pytest.raises(SourceError, match="part of the Iceberg table"):
            files(tmp_path, "shop/orders/data/*.parquet").columns()


def test_a_hudi_table_is_refused_by_name(tmp_path):
    write(tmp_path / "orders" / ".hoodie" / "hoodie.properties", "")
    FRAME.to_parquet(tmp_path / "orders" / "a.parquet")
    with pytest.raises(SourceError, match=r"is a Hudi table.*export it to Parquet"):
        files(tmp_path, "orders").columns()


class TestFoldersWithValues:
    """The folder's name is a column only where no file has it."""

    @pytest.mark.parametrize("path", ["o", "o/**/*.parquet", "o/shop=*/*/*.parquet"])
    def test_what_the_files_lack_comes_from_the_folders(self, tmp_path, path):
        for (shop, late), part in FRAME.groupby(["shop", "late"]):
            folder = tmp_path / "o" / f"shop={shop}%20/" / f"late={late}"
            folder.mkdir(parents=True, exist_ok=True)
            part.drop(columns=["shop", "late"]).to_parquet(folder / "part.parquet")
        same(files(tmp_path, path).read(START, END), FRAME.assign(shop=FRAME["shop"] + " "))
        asked = files(tmp_path, path, "SELECT * FROM files WHERE late = 1 AND shop = 'b '")
        assert asked.everything()["id"].tolist() == [1]

    def test_what_the_files_have_is_theirs(self, tmp_path):
        folder = tmp_path / "o" / "shop=elsewhere" / "Late=7" / "year=2024" / "month=01"
        folder.mkdir(parents=True)
        FRAME.to_parquet(folder / "a.parquet")
        source = files(tmp_path, "o")
        assert source.columns() == [*FRAME.columns, "year", "month"]
        rows = source.read(START, END)
        same(rows)
        assert (set(rows["year"]), set(rows["month"])) == ({2024}, {"01"})

    def test_csv_and_times_in_the_name_and_nothing(self, tmp_path):
        for day, shop in (("2024-01-05", "a"), ("2024-01-06", "__HIVE_DEFAULT_PARTITION__")):
            write(tmp_path / "o" / f"time={day}" / f"shop={shop}" / "a.csv", "id,x\n1,2\n")
        source = files(tmp_path, "o")
        assert source.extent() == (datetime(2024, 1, 5), datetime(2024, 1, 6))
        assert source.read(START, END)["shop"].dropna().tolist() == ["a"]
        assert len(source.read(datetime(2024, 1, 6), END)) == 1

    def test_folders_above_the_pattern_are_none_of_it(self, tmp_path):
        root = tmp_path / "run=7"
        FRAME.to_parquet(write(root / "data" / "x", "").parent / "a.parquet")
        assert files(root, "data").columns() == list(FRAME.columns)


class TestSheets:
    @pytest.fixture
    def book(self, tmp_path):
        openpyxl = pytest.importorskip("openpyxl", reason="pip install openpyxl")
        pytest.importorskip("python_calamine", reason="pip install python-calamine")
        book = openpyxl.Workbook()
        book.active.title = "Read me"
        book.active.append(["Orders of 2024"])
        sheet = book.create_sheet("Orders")
        sheet.append(["made by hand"])
        sheet.append(list(FRAME.columns))
        for row in FRAME.astype(object).where(FRAME.notna(), None).itertuples(index=False):
            sheet.append([v.to_pydatetime() if isinstance(v, pd.Timestamp) else v for v in row])
        book.create_sheet("Nothing")
        book.save(tmp_path / "o.xlsx")
        return tmp_path

    def test_one_that_is_named_is_read(self, book):
        same(files(book, "o.xlsx", sheet="Orders", skip_rows=1).read(START, END))

    def test_of_several_one_must_be_named(self, book):
        with pytest.raises(SourceError, match=r"2 sheets \(Read me, Orders\).*ingest.source.sheet"):
            files(book, "o.xlsx").read(START, END)
        with pytest.raises(SourceError, match="has no sheet Nothing with something in it"):
            files(book, "o.xlsx", sheet="Nothing").read(START, END)

    def test_what_is_none_is_refused_by_name(self, tmp_path):
        pytest.importorskip("python_calamine", reason="pip install python-calamine")
        write(tmp_path / "o.xlsx", "id,time\n")
        with pytest.raises(SourceError, match=r"o\.xlsx cannot be read"):
            files(tmp_path, "o.xlsx").columns()

    def test_without_the_library_the_package_is_named(self, tmp_path, monkeypatch):
        write(tmp_path / "o.xlsx", "")
        monkeypatch.setitem(sys.modules, "python_calamine", None)
        with pytest.raises(SourceError, match="pip install python-calamine"):
            files(tmp_path, "o.xlsx").columns()


class TestJson:
    ROWS: ClassVar = [
        json.loads(line) for line in FRAME.to_json(orient="records", lines=True, date_format="iso").splitlines()
    ]

    def text(self):
        return "".join(json.dumps(row) + "\n" for row in self.ROWS)

    def test_lines_packed_lines_and_a_list(self, tmp_path):
        write(tmp_path / "a.jsonl", self.text())
        (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(self.text().encode()))
        write(tmp_path / "c.json", json.dumps(self.ROWS))
        for name in ("a.jsonl", "b.ndjson.gz", "c.json"):
            same(files(tmp_path, name).read(START, END))
            assert len(files(tmp_path, name, "SELECT * FROM files WHERE x > 4").everything()) == 2

    def test_a_name_that_some_lines_lack_and_ids_of_any_length(self, tmp_path):
        write(
            tmp_path / "a.jsonl",
            '{"id": 9007199254740993, "time": "2024-01-05"}\n{"id": 2, "time": "2024-01-06", "n": {"k": 1}}\n',
        )
        rows = files(tmp_path, "a.jsonl").read(START, END)
        assert rows["id"].tolist() == [9007199254740993, 2]
        assert rows["n"].tolist()[1] == '{"k":1}'

    def test_what_is_no_json_is_refused_by_name(self, tmp_path):
        write(tmp_path / "a.jsonl", "id,time\n1,2024-01-05\n")
        with pytest.raises(SourceError, match=r"a\.jsonl.*cannot be read|cannot be read.*a\.jsonl"):
            files(tmp_path, "a.jsonl").read(START, END)
