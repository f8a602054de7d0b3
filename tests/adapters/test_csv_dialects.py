"""How CSV files are written, as the config says it: quotation marks, titles, short lines, numbers and times."""

from datetime import datetime

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.test_sources import files, opened, write
from trueup.errors import SourceError

START, END = datetime(2024, 1, 1), datetime(2024, 2, 1)
DAYS = ["2024-01-05", "2024-01-06", "2024-01-07"]


def written(root, text, **source):
    ingest = {key: source.pop(key) for key in ("time_format", "missing", "timezone") if key in source}
    write(root / "f.csv", text)
    return opened(root, kind="files", path="f.csv", ingest=ingest, **source)


def amounts(root, values, **source):
    """What a column of amounts holds, separated by a bar."""
    text = "time|amount\n" + "".join(f"{DAYS[0]}|{value}\n" for value in values)
    return written(root, text, separator="|", **source).read(START, END)["amount"].tolist()


class TestText:
    def test_a_line_feed_in_a_name_is_a_blank(self, tmp_path):
        source = written(tmp_path, 'time,"weight\n(kg)"," x "\n2024-01-05,"2\n3",1\n')
        assert source.columns() == ["time", "weight (kg)", "x"]
        assert source.read(START, END)["weight (kg)"].tolist() == ["2\n3"]

    def test_a_backslash_before_a_quotation_mark(self, tmp_path):
        text = 'time,note\n2024-01-05,"say \\"hi\\", twice"\n'
        assert written(tmp_path, text, escape="\\").read(START, END)["note"].tolist() == ['say "hi", twice']
        with pytest.raises(SourceError, match=r"ingest.source.escape"):
            written(tmp_path, text).read(START, END)

    def test_lines_above_the_names_and_short_lines_below(self, tmp_path):
        text = 'Report, of "orders"\n\ntime,x\n2024-01-05,1\nTotal\nmade by hand\n'
        source = written(tmp_path, text, skip_rows=2, pad=True, missing={"time": ["Total", "made by hand"]})
        rows = source.read(START, END)
        assert rows["x"].dropna().tolist() == [1]
        assert rows["time"].isna().sum() == 2, "they come along to be counted"
        with pytest.raises(SourceError, match=r"ingest.source.skip_rows.*ingest.source.pad"):
            written(tmp_path, text, skip_rows=2).read(START, END)

    def test_names_that_stand_further_down_are_hinted_at(self, tmp_path):
        with pytest.raises(SourceError, match=r"no column time; there are Report\. .*ingest.source.skip_rows"):
            written(tmp_path, "Report\na\n").read(START, END)

    @pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
    def test_any_end_of_a_line(self, tmp_path, ends):
        rows = written(tmp_path, ends.join(["title", "time,x", "2024-01-05,1", ""]), skip_rows=1).read(START, END)
        assert rows["x"].tolist() == [1]

    def test_blanks_around_values(self, tmp_path):
        rows = written(tmp_path, "id, time, shop\n1, 2024-01-05, north \n", trim=True).read(START, END)
        assert rows["shop"].tolist() == ["north"]

    def test_a_line_of_totals_chooses_no_type(self, tmp_path):
        text = "id,time,x,n\n1,2024-01-05,1.5,3\n2,2024-01-06,2,4\n\nTotal,,mean 1.75,n = 7\n"
        for query in (None, "SELECT * FROM files"):
            rows = written(tmp_path, text, query=query).read(START, END)
            assert rows["x"].dropna().tolist() == [1.5, 2.0]
            assert rows["n"].dropna().tolist() == [3, 4]
            assert len(rows) == 3
        assert written(tmp_path, text).everything()["x"].dtype == float

    def test_a_header_that_is_repeated_is_named_as_no_time(self, tmp_path):
        text = "time,x\n2024-01-05,1\ntime,x\n2024-01-06,2\n"
        for query in (None, "SELECT * FROM files"):
            rows = written(tmp_path, text, query=query, missing={"time": ["time"]}).read(START, END)
            assert rows["x"].dropna().tolist() == [1, 2]


class TestNumbers:
    @pytest.mark.parametrize(
        ("values", "marks", "decimal", "found"),
        [
            (["1,414.31", "12", "-1,000", "1,234,567"], [","], ".", [1414.31, 12, -1000, 1234567]),
            (["1.414,31", "12", "-1.000"], ["."], ",", [1414.31, 12, -1000]),
            (["12,34,567.5", "1"], [","], ".", [1234567.5, 1]),
            (["1 414,31", "1\u00a0000", "1\u202f000"], [" "], ",", [1414.31, 1000, 1000]),
            (["1'414.31", "12"], ["'"], ".", [1414.31, 12]),
            (["$1,414.31", "-$5", "$ 6", "$-7"], ["$", ","], ".", [1414.31, -5, 6, -7]),
            (["12,50 €", "-3 €", "4"], ["€"], ",", [12.5, -3, 4]),
            (["(1,414.31)", "12", "($5)", "$(6)"], [",", "$", "()"], ".", [-1414.31, 12, -5, -6]),
            (["12-", "3.5", "4 -"], ["-"], ".", [-12, 3.5, -4]),
            (["12%", "3.5 %", "-1%"], ["%"], ".", [12, 3.5, -1]),
            (["12 kg", "3.5kg"], ["kg"], ".", [12, 3.5]),
            (["USD 1e3", ".5"], ["USD"], ".", [1000, 0.5]),
        ],
    )
    def test_are_freed_of_their_marks(self, tmp_path, values, marks, decimal, found):
        assert amounts(tmp_path, values, marks={"amount": marks}, decimal=decimal) == found
        query = "SELECT * FROM files"
        assert amounts(tmp_path, values, marks={"amount": marks}, decimal=decimal, query=query) == found

    @pytest.mark.parametrize("odd", ["1,41", "12,3456", "$", "n/a", "€5", "(5", "1,000,00"])
    def test_what_does_not_fit_stays_as_it_stands(self, tmp_path, odd):
        assert amounts(tmp_path, ["$1,000", odd], marks={"amount": ["$", ",", "()"]}) == ["1000", odd]

    @given(st.floats(-1e9, 1e9).map(lambda x: round(x, 2)), st.booleans())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_amount_comes_back(self, tmp_path, value, brackets):
        text = f"${abs(value):,.2f}"
        text = f"({text})" if value < 0 and brackets else f"-{text}" if value < 0 else text
        assert amounts(tmp_path, [text], marks={"amount": ["$", ",", "()"]}) == [pytest.approx(value)]


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "form", "zone", "found"),
        [
            ("2024-01-05 06:00:00 UTC", None, "UTC", datetime(2024, 1, 5, 6)),
            ("2024-01-05 06:00:00 UTC", None, "America/New_York", datetime(2024, 1, 5, 1)),
            ("2024-01-05 06:00:00 UTC", "%Y-%m-%d %H:%M:%S UTC", "America/New_York", datetime(2024, 1, 5, 1)),
            ("2024-01-05 06:00:00 UTC", "%Y-%m-%d %H:%M:%S %Z", "America/New_York", datetime(2024, 1, 5, 1)),
            ("2024-01-05 06:00:00GMT", None, "America/New_York", datetime(2024, 1, 5, 1)),
            ("2024-01-05T06:00:00.123456789Z", None, "UTC", datetime(2024, 1, 5, 6, 0, 0, 123456)),
            ("1704434400", "epoch s", "UTC", datetime(2024, 1, 5, 6)),
            ("1704434400", "epoch s", "America/New_York", datetime(2024, 1, 5, 1)),
            ("1704434400.25", "epoch s", "UTC", datetime(2024, 1, 5, 6, 0, 0, 250000)),
            ("1704434400123", "epoch ms", "UTC", datetime(2024, 1, 5, 6, 0, 0, 123000)),
            ("1704434400123456", "epoch us", "UTC", datetime(2024, 1, 5, 6, 0, 0, 123456)),
            ("1704434400123456000", "epoch ns", "UTC", datetime(2024, 1, 5, 6, 0, 0, 123456)),
            ("45296.25", "excel", "America/New_York", datetime(2024, 1, 5, 6)),
            ("45296", "excel", "UTC", datetime(2024, 1, 5)),
            ("05-JAN-24 06.00.00 AM", "%d-%b-%y %I.%M.%S %p", "UTC", datetime(2024, 1, 5, 6)),
            ("05-JAN-24 06.00.00.123456789 AM", "%d-%b-%y %I.%M.%S.%f %p", "UTC", datetime(2024, 1, 5, 6, 0, 0, 123456)),
            ("2024-W01-5", "%G-W%V-%u", "UTC", datetime(2024, 1, 5)),
            ("2024-W02", "%G-W%V", "UTC", datetime(2024, 1, 8)),
        ],
    )  # fmt: skip
    def test_are_read_and_filtered(self, tmp_path, text, form, zone, found):
        for query in (None, "SELECT * FROM files"):
            source = written(tmp_path, f"id,time\n1,{text}\n", time_format=form, timezone=zone, query=query)
            assert source.read(START, END)["time"].tolist() == [pd.Timestamp(found)]
            assert source.read(END, datetime(2024, 3, 1)).empty
            assert source.extent() == (found, found)

    @pytest.mark.parametrize("number", [1704434400, 1704434400.0])
    def test_counts_in_a_file_with_types(self, tmp_path, number):
        pd.DataFrame({"id": [1], "time": [number]}).to_parquet(tmp_path / "f.parquet")
        source = files(tmp_path, "f.parquet", ingest={"time_format": "epoch s"})
        assert source.read(START, END)["time"].tolist() == [pd.Timestamp(2024, 1, 5, 6)]
        assert source.extent() == (datetime(2024, 1, 5, 6), datetime(2024, 1, 5, 6))

    def test_a_number_that_is_no_time_is_named(self, tmp_path):
        with pytest.raises(SourceError, match=r"1 of 2 values of 'time' are not times, the first is '99999999999'"):
            written(tmp_path, "time\n1704434400\n99999999999\n", time_format="epoch s").read(START, END)
