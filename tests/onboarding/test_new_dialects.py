"""Tables as other programs write them: `new` finds out how, and a run reads by what the config says."""

import pandas as pd
import pytest

from tests.onboarding.test_new_odd import orders
from trueup.config.settings import Settings
from trueup.domain.profiling.questions import Ask
from trueup.home import Home
from trueup.onboarding.check import check
from trueup.onboarding.new_model import draft, save

FRAME = orders(n=1_200, days=60).assign(amount=lambda f: (f["x"] * 3_000 + 2_000).round(2))


@pytest.fixture
def home(tmp_path):
    opened = Home(Settings(home=tmp_path / "home", configs=tmp_path / "configs"))
    yield opened
    opened.close()


def lines(frame=FRAME, **more):
    return frame.to_csv(index=False, **more)


def told(column, how):
    return lines(FRAME.assign(**{column: FRAME[column].map(how)}))


def brackets(x):
    return f"({-x:,.2f})" if x < 0 else f"{x:,.2f}"


TABLES = {
    "plain": (lines(), {}),
    "title": ("Orders of 2024\nmade, by hand\n\n" + lines(), {"skip_rows": 3}),
    "total": (lines() + "Total,,,,700,99999\n", {}),
    "note below": (lines() + "\nSource: the shop's own books\n", {"pad": True}),
    "header twice": (lines(FRAME[:600]) + lines(FRAME[600:]), {}),
    "blank lines": ("\n\n" + lines().replace("\n", "\n\n"), {"skip_rows": 2}),
    "old Mac": (lines().replace("\n", "\r"), {}),
    "tabs": (lines(sep="\t"), {}),
    "carets": (lines(sep="^"), {"separator": "^"}),
    "blanks": (lines().replace(",", ", "), {"trim": True}),
    "trailing": (lines().replace("\n", ",\n"), {}),
    "dollars": (told("amount", lambda x: f"${x:,.2f}"), {"marks": {"amount": ["$", ","]}}),
    "brackets": (told("amount", lambda x: brackets(x - 2_000)), {"marks": {"amount": [",", "()"]}}),
    "percent": (told("x", lambda x: f"{x}%"), {"marks": {"x": ["%"]}}),
    "utc": (told("ordered", lambda t: f"{t} UTC"), {}),
    "epoch": (told("ordered", lambda t: int(t.timestamp() * 1000)), {}),
    "oracle": (told("ordered", lambda t: f"{t:%d-%b-%y %I.%M.%S %p}".upper()), {}),
    "excel": (told("ordered", lambda t: (t - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)), {}),
    "apache": (told("ordered", lambda t: f"{t:%d/%b/%Y:%H:%M:%S} +0000"), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_what_another_program_wrote_is_read_to_the_last_value(name, home):
    text, said = TABLES[name]
    path = home.configs.parent / "orders.csv"
    path.write_text(text, newline="")
    made = draft(Ask("orders", str(path), "ordered", "late", key=("order_id",)), home)
    save(made)
    found = check("orders", home)
    assert found.problems == []
    source = made.config.ingest.source
    assert {k: v for k, v in source.model_dump(exclude_unset=True).items() if k not in {"kind", "path"}} == said
    assert (found.first, found.last) == (FRAME["ordered"].min(), FRAME["ordered"].max())
    read = home.source(made.config).read(found.first, found.last + pd.Timedelta(days=1))
    rows = read[read["ordered"].notna()].reset_index(drop=True)
    expected = FRAME["amount"] - (2_000 if name == "brackets" else 0)
    for column, values in {
        "order_id": FRAME["order_id"].astype(str),  # a key is text
        "x": FRAME["x"],
        "amount": expected,
        "late": FRAME["late"].astype(str),  # and so is an outcome, until it is known what counts as 1
    }.items():
        pd.testing.assert_series_equal(
            rows[column], values, check_dtype=False, check_names=False, check_categorical=False
        )
    assert rows["ordered"].tolist() == FRAME["ordered"].tolist()
    assert rows["shop"].tolist() == FRAME["shop"].tolist()
    assert {"x", "amount"} <= set(made.config.features.numeric)


def test_a_run_whose_file_is_written_otherwise_is_refused_by_name(home):
    path = home.configs.parent / "orders.csv"
    path.write_text(lines())
    save(draft(Ask("orders", str(path), "ordered", "late", key=("order_id",)), home))
    path.write_text("Orders, of 2024\n\n" + lines())
    (problem,) = check("orders", home).problems
    assert "ingest.source.skip_rows" in problem
    path.write_text(told("ordered", lambda t: f"{t:%d/%m/%Y}"))
    (problem,) = check("orders", home).problems
    assert "ingest.time_format" in problem


@pytest.mark.parametrize(
    ("encoding", "said"), [("cp1252", "cp1252"), ("cp1251", "cp1251"), ("utf-16", "utf-16"), ("utf-8-sig", None)]
)
def test_encodings(encoding, said, home):
    path, shops = home.configs.parent / "orders.csv", ["Zürich", "Köln", "Bern"]
    shops = ["Москва", "Казань", "Псков"] if encoding == "cp1251" else shops
    path.write_bytes(lines(FRAME.assign(shop=FRAME["shop"].map(dict(zip("abc", shops, strict=True))))).encode(encoding))
    made = draft(Ask("orders", str(path), "ordered", "late", key=("order_id",)), home)
    save(made)
    assert made.config.ingest.source.model_dump(exclude_unset=True).get("encoding") == said
    assert set(home.source(made.config).everything()["shop"]) == {*shops}


def test_of_a_workbook_the_sheet_that_names_the_time_is_taken(home):
    openpyxl = pytest.importorskip("openpyxl", reason="pip install openpyxl")
    pytest.importorskip("python_calamine", reason="pip install python-calamine")
    book = openpyxl.Workbook()
    book.active.append(["Read me first"])
    sheet = book.create_sheet("Orders")
    sheet.append(["Orders of 2024"])
    sheet.append(list(FRAME.columns))
    for row in FRAME.itertuples(index=False):
        sheet.append([v.to_pydatetime() if isinstance(v, pd.Timestamp) else v for v in row])
    path = home.configs.parent / "orders.xlsx"
    book.save(path)
    made = draft(Ask("orders", str(path), "ordered", "late", key=("order_id",)), home)
    save(made)
    assert (made.config.ingest.source.sheet, made.config.ingest.source.skip_rows) == ("Orders", 1)
    assert "CHECK sheet: of Sheet, Orders the first that names ordered" in made.text
    assert check("orders", home).problems == []
    assert home.source(made.config).everything()["amount"].tolist() == FRAME["amount"].tolist()


def test_a_delta_table_is_drafted_by_its_folder(home):
    deltalake = pytest.importorskip("deltalake", reason="pip install deltalake")
    folder = home.configs.parent / "orders"
    deltalake.write_deltalake(str(folder), FRAME.assign(late=1 - FRAME["late"]))
    deltalake.write_deltalake(str(folder), FRAME, mode="overwrite")
    made = draft(Ask("orders", str(folder), "ordered", "late", key=("order_id",)), home)
    assert (made.findings.rows, made.findings.duplicates) == (len(FRAME), 0)


def test_a_history_of_more_batches_than_a_run_lands_is_asked_about(home):
    path = home.configs.parent / "orders.csv"
    orders(n=1_200, days=1_150).to_csv(path, index=False)
    made = draft(Ask("orders", str(path), "ordered", "late", key=("order_id",), period="day"), home)
    assert made.config.ingest.max_batches > 1_149
    assert "CHECK: the table holds 1,1" in made.text
