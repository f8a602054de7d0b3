"""Values from the source to the store and the labels: as they came, for as long as a dataset lives, or named."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml

from trueup.adapters.sinks.sql import SqlSink
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.types import Window
from trueup.errors import SourceError
from trueup.home import Home
from trueup.model import Model
from trueup.onboarding.check import check
from trueup.stages.ingest import ingest

BIG = 7_300_000_000_000_000_000  # more than a float holds
END = datetime(2024, 3, 1)


@dataclass
class Orders:
    """A model's config, its data, and what was landed of them."""

    folder: Path
    changes: dict[str, Any]

    def config(self, **ingest: Any) -> None:
        content: dict[str, Any] = {
            "model": "orders",
            "task": "binary",
            "ingest": {
                "source": {"kind": "files", "path": "rows.parquet"},
                "time": "at",
                "key": ["id"],
                "period": "month",
                "label": {"column": "late", "known_after": "1 day"},
            },
            "validate": {"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}]},
            "features": {"numeric": ["size"], "categorical": ["shop"]},
            "evaluate": {"block": "1 day"},
        }
        content["ingest"] |= self.changes | ingest
        self.folder.mkdir(exist_ok=True)
        (self.folder / "orders.yaml").write_text(yaml.safe_dump(content))

    def home(self) -> Home:
        return Home(Settings(home=self.folder / "home", configs=self.folder))

    def land(self, until: datetime = END, features: dict[str, Any] | None = None) -> None:
        path = self.folder / "orders.yaml"
        if features is not None:
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"features": features}))
        home = self.home()
        ingest(Model(load_model(self.folder, "orders"), home), until)
        home.close()

    def rows(self, columns: list[str]) -> pd.DataFrame:
        return self._read("rows", columns)

    def labels(self) -> pd.DataFrame:
        """The labels with the keys of their rows."""
        return self.labels_of(["row_id", "id"])

    def labels_of(self, columns: list[str]) -> pd.DataFrame:
        return self.rows(columns).merge(self._read("labels", ["row_id", "label"]), on="row_id")

    def revisions(self) -> list[int]:
        return [b.rows.revision for b in self._batches()]

    def _batches(self) -> Any:
        return Model(load_model(self.folder, "orders"), self.home()).batches(END)

    def _read(self, of: str, columns: list[str]) -> pd.DataFrame:
        home = self.home()
        found: pd.DataFrame = home.store.read([getattr(b, of) for b in self._batches()], columns)
        home.close()
        return found


@pytest.fixture
def home(tmp_path: Path) -> Callable[..., Orders]:
    def make(**ingest: Any) -> Orders:
        made = Orders(tmp_path / "model", ingest)
        made.config()
        return made

    return make


def table(n: int = 60, **columns: Any) -> pd.DataFrame:
    """Orders of January and February, one a day."""
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(range(n), unit="D")
    given = {"id": range(n), "at": days, "size": [float(i) for i in range(n)], "shop": ["a", "b"] * (n // 2)}
    columns = {n: pd.Series(c, dtype=object) if isinstance(c, list) and None in c else c for n, c in columns.items()}
    return pd.DataFrame(given | {"late": [0, 1] * (n // 2)} | columns)


def january(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["at"] < "2024-02-01"]


def write(home: Orders, name: str, frame: pd.DataFrame, **types: pa.DataType) -> None:
    made = pa.Table.from_pandas(frame.drop(columns=[*types]), preserve_index=False)
    for column, kind in types.items():
        made = made.append_column(column, pa.array(frame[column].tolist(), kind))
    pq.write_table(made, home.folder / name)


# Identifiers


IDS: dict[str, tuple[list[Any], pa.DataType]] = {
    "int64 with one missing": ([BIG + 3 * i if i != 5 else None for i in range(60)], pa.int64()),
    "decimal(38, 0)": ([Decimal(10**30 + i) for i in range(60)], pa.decimal128(38, 0)),
    "decimal(38, 0) as int64": ([Decimal(BIG + i) if i != 5 else None for i in range(60)], pa.decimal128(38, 0)),
    "uint64": ([2**64 - 1 - i if i != 5 else None for i in range(60)], pa.uint64()),
    "uuid": ([str(uuid.UUID(int=i)) for i in range(60)], pa.string()),
    "text": ([f"{i:08d}" for i in range(60)], pa.string()),
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("apart", [False, True])
def test_identifiers_keep_every_digit(home, kind, apart):
    ids, arrow = IDS[kind]
    made = home()
    frame = table(id=ids)
    if apart:
        made.config(label={"column": "late", "known_after": "1 day", "source": {"kind": "files", "path": "y.parquet"}})
        y = pd.concat([frame[["id", "late"]], pd.DataFrame({"id": [None], "late": [1]})])  # one was cancelled
        write(made, "y.parquet", y.assign(id=y["id"].astype(object).where(y["id"].notna(), None)), id=arrow)
    write(made, "rows.parquet", frame, id=arrow)
    made.land()
    expected = {str(i) for i in ids if i is not None}
    assert set(made.rows(["id"])["id"]) == expected
    assert set(made.labels()["id"]) == expected


@pytest.mark.parametrize("first", [BIG, 9_100_000_000_000_000])
def test_identifiers_of_a_csv_and_of_a_database_keep_every_digit(home, first):
    ids = [first + 3 * i if i != 5 else None for i in range(60)]
    frame = table(id=pd.array(ids, dtype="Int64"))
    expected = {str(i) for i in ids if i is not None}
    made = home(source={"kind": "files", "path": "rows.csv"})
    frame.to_csv(made.folder / "rows.csv", index=False)
    made.land()
    assert set(made.rows(["id"])["id"]) == expected
    engine = sa.create_engine(f"sqlite:///{made.folder / 'rows.db'}")
    frame.assign(id=pd.Series(ids, dtype=object)).to_sql(
        "t", engine, index=False, dtype={"id": sa.BigInteger(), "at": sa.Text()}
    )
    engine.dispose()
    other = Orders(
        made.folder.parent / "sql", {"source": {"kind": "sql", "url": "sqlite:///rows.db", "query": "SELECT * FROM t"}}
    )
    other.config()
    (made.folder / "rows.db").rename(other.folder / "rows.db")
    other.land()
    assert other.rows(["row_id", "id"]).equals(made.rows(["row_id", "id"]))


def test_keys_that_lost_digits_at_the_source_are_refused(home):
    made = home()
    write(made, "rows.parquet", table(id=[float(BIG + i) for i in range(60)]))
    with pytest.raises(SourceError, match="have lost their last digits"):
        made.land()


@pytest.mark.parametrize("later", [lambda i: float(i), lambda i: str(i), lambda i: Decimal(i)])
def test_a_key_of_another_type_later_is_the_same_row(home, later):
    made = home()
    write(made, "rows.parquet", table())
    made.land(datetime(2024, 2, 1))
    before = made.rows(["row_id", "id"])
    frame = table()
    write(made, "rows.parquet", frame.assign(id=[later(i) for i in frame["id"]]))
    made.land()
    after = made.rows(["row_id", "id"])
    assert after.head(len(before)).equals(before)
    assert after["id"].tolist() == [str(i) for i in range(60)]
    assert made.revisions() == [1, 1]


def test_whole_numbers_with_a_fraction_of_zeros_are_the_same_codes_and_counted(home):
    """As pandas writes a column with a missing value to CSV."""
    made = home(source={"kind": "files", "path": "rows.csv"})
    frame = table(shop=["101", "102"] * 30)
    january(frame).to_csv(made.folder / "rows.csv", index=False)
    made.land(datetime(2024, 2, 1))
    frame.assign(shop=["101.0", "102.0"] * 30).to_csv(made.folder / "rows.csv", index=False)
    made.land()
    assert set(made.rows(["shop"])["shop"]) == {"101", "102"}
    assert made._batches()[-1].rows.facts["respelled"]["shop"] == 29


# Categories


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (["101", "102"], ["101", "EXT"], {"101", "102", "EXT"}),
        (["0101", "102"], ["101", "102"], {"0101", "101", "102"}),
        (["True", "False"], ["True", "unknown"], {"true", "false", "unknown"}),
        (["1.50", "2.25"], ["1.50", "x"], {"1.50", "2.25", "x"}),
        (["NA", "DE"], ["NA", "null"], {"NA", "DE", "null"}),
    ],
)
def test_a_category_has_one_text_whatever_its_neighbours_are(home, old, new, expected):
    made = home(source={"kind": "files", "path": "rows.csv"})
    frame = table()
    months = frame["at"].dt.month
    frame["shop"] = [(old if m == 1 else new)[i % 2] for i, m in enumerate(months)]
    january(frame).to_csv(made.folder / "rows.csv", index=False)
    made.land(datetime(2024, 2, 1))
    before = made.rows(["row_id", "shop"])
    frame.to_csv(made.folder / "rows.csv", index=False)
    made.land()
    after = made.rows(["row_id", "shop"])
    assert set(after["shop"]) == expected
    assert after.head(31).astype(object).equals(before.astype(object))
    assert made.revisions() == [1, 1]


def test_a_key_may_be_called_na(home):
    made = home(source={"kind": "files", "path": "rows.csv"}, key=["shop", "at"])
    table(shop=["NA", "DE"] * 30).to_csv(made.folder / "rows.csv", index=False)
    made.land()
    assert made.rows(["shop"])["shop"].value_counts().to_dict() == {"NA": 30, "DE": 30}


# Types


def test_a_later_value_of_another_type_is_named(home):
    made = home(keep=["floor"])
    write(made, "rows.parquet", january(table(floor=1)))
    made.land(datetime(2024, 2, 1))
    write(made, "rows.parquet", table(floor="ground"))
    made.land()
    assert made._batches()[-1].rows.facts["mistyped"] == {"floor": {"kind": "number", "examples": ["ground"]}}


def test_a_column_that_is_something_else_by_now_is_landed_again_and_a_key_is_not(home):
    made = home()
    write(made, "rows.parquet", table(shop=[7, 8] * 30))
    made.land()
    made.land(features={"numeric": ["size", "shop"]})
    assert made.revisions() == [2, 2]
    assert made.rows(["shop"])["shop"].dtype == "int64"
    made.land()
    assert made.revisions() == [2, 2]
    made.config(types={"id": "integer"})
    with pytest.raises(SourceError, match="a key keeps its type"):
        made.land()


def test_whole_numbers_that_are_declared_keep_their_digits_beside_missing_ones(home):
    made = home(keep=["account"], types={"account": "integer"})
    accounts = [BIG + i if i % 7 else None for i in range(60)]
    write(made, "rows.parquet", table(account=accounts), account=pa.int64())
    made.land()
    found = made.rows(["account"])["account"]
    assert [None if pd.isna(v) else v for v in found] == accounts


# Outcomes


@pytest.mark.parametrize("spelled", [str.upper, lambda s: s + ".", lambda s: s[0]])
def test_outcomes_that_nobody_knows_are_refused_and_named(home, spelled):
    made = home(label={"column": "late", "known_after": "1 day", "positive": "Yes"})
    frame = table(late=["No", "Yes"] * 30)
    write(made, "rows.parquet", january(frame))
    made.land(datetime(2024, 2, 1))
    write(made, "rows.parquet", frame.assign(late=[spelled(v) if i >= 31 else v for i, v in enumerate(frame["late"])]))
    with pytest.raises(SourceError, match=rf"neither the positive 'Yes' nor a known one .*'{spelled('Yes')}' \(15\)"):
        made.land()
    assert len(made.labels()) == 31


def test_a_few_unknown_outcomes_are_no_outcomes_and_counted(home):
    label = {"column": "late", "known_after": "1 day", "positive": "Yes", "negative": ["No"]}
    made = home(label=label)
    outcomes = ["No", " Yes"] * 30
    outcomes[3] = "N/A"
    write(made, "rows.parquet", table(late=outcomes))
    made.land()
    assert (len(made.labels()), made.labels()["label"].sum()) == (59, 29)
    assert made._batches()[0].rows.facts["unknown_outcomes"] == {"count": 1, "values": {"N/A": 1}}


def test_a_class_that_is_only_spelled_otherwise_is_none_and_a_new_one_is_one(home):
    made = home()
    text = (made.folder / "orders.yaml").read_text().replace("task: binary", "task: multiclass")
    (made.folder / "orders.yaml").write_text(text)
    frame = table(late=["red", "blue"] * 30)
    write(made, "rows.parquet", january(frame))
    made.land(datetime(2024, 2, 1))
    frame.loc[31:45, "late"] = "green"
    write(made, "rows.parquet", frame)
    made.land()
    assert set(made.labels()["label"]) == {"red", "blue", "green"}
    frame.loc[46:, "late"] = "Red."
    write(made, "rows.parquet", frame)
    with pytest.raises(SourceError, match=r"'Red.' \(14\)"):
        made.land()


# Labels of another source


def apart(home: Callable[..., Orders], **label: Any) -> Orders:
    source = {"kind": "files", "path": "y.parquet"}
    return home(label={"column": "late", "known_after": "1 day", "source": source} | label)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda y: y.assign(id=[f"{i:06d}" for i in y["id"]]), "zeros at the front"),
        (lambda y: y.tail(3), ""),
        (lambda y: y.assign(id=["x" + str(i) for i in y["id"]]), ""),
    ],
)
def test_a_label_source_that_lost_its_keys_is_refused_and_withdraws_nothing(home, spoil, cause):
    made = apart(home)
    frame = table(id=range(1000, 1060))
    write(made, "rows.parquet", frame)
    write(made, "y.parquet", frame[["id", "late"]])
    made.land()
    write(made, "y.parquet", spoil(frame[["id", "late"]]))
    with pytest.raises(SourceError, match=rf"of 60 landed labels are missing in it .*{cause}"):
        made.land()
    assert len(made.labels()) == 60


def test_what_is_taken_back_with_an_empty_outcome_is_withdrawn_however_much_it_is(home):
    made = apart(home)
    frame = table()
    write(made, "rows.parquet", frame)
    write(made, "y.parquet", frame[["id", "late"]])
    made.land()
    write(made, "y.parquet", frame[["id"]].assign(late=pd.Series([None] * 50 + [1.0] * 10)))
    made.land()
    assert len(made.labels()) == 10


def test_keys_with_zeros_in_one_table_only_are_told_with_the_mend(home):
    made = apart(home)
    frame = table()
    write(made, "rows.parquet", frame.assign(id=[f"{i:08d}" for i in frame["id"]]))
    write(made, "y.parquet", frame[["id", "late"]])
    (said,) = check("orders", made.home()).problems
    assert "other zeros at the front" in said
    assert "lpad(CAST(... AS VARCHAR), 8, '0')" in said


# What a history or a neighbour must not hide


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_change_of_spelling_in_the_newest_outcomes_does_not_hide_in_a_long_history(home, share):
    """500 new outcomes among 60,000, in a file that is judged as a whole: .4 % of it."""
    made = apart(home, positive="Yes", negative=["No"])
    rng = np.random.default_rng(0)
    n = 20_000
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.uniform(0, 60, n)), unit="D")
    late = np.where(rng.random(n) < 0.3, "Yes", "No").astype(object)
    frame = pd.DataFrame({"id": range(n), "at": days.astype("datetime64[us]"), "size": 1.0, "shop": "a", "late": late})
    write(made, "rows.parquet", frame)
    write(made, "y.parquet", frame[["id", "late"]])
    made.land()
    new = (frame.index >= n - 300) & (late == "Yes") & (rng.random(n) < share)
    write(made, "y.parquet", frame[["id", "late"]].assign(late=np.where(new, "YES", late)))
    with pytest.raises(SourceError, match=r"outcomes \(the newest 50\) in 'late' are unknown values: 'YES'"):
        made.land()
    assert len(made.labels()) == n


def test_unknown_outcomes_of_one_batch_are_refused_wherever_they_stand_in_the_label_source(home):
    made = apart(home, positive="Yes", negative=["No"])
    n = 6_000
    days = pd.date_range("2024-01-01", "2024-02-29", periods=n).astype("datetime64[us]")
    late = np.array(["No", "Yes"] * (n // 2), dtype=object)
    late[:200][late[:200] == "Yes"] = "yes!"  # 1.7 % of all, 3.2 % of January's
    frame = pd.DataFrame({"id": range(n), "at": days, "size": 1.0, "shop": "a", "late": late})
    write(made, "rows.parquet", frame)
    write(made, "y.parquet", frame[["id", "late"]].sample(frac=1, random_state=1))
    with pytest.raises(
        SourceError, match=r"rows of \[2024-01-01, 2024-02-01\) in 'late' are unknown values: 'yes!' \(100\)"
    ):
        made.land()


def test_what_means_none_in_the_features_is_looked_for_in_the_outcome(home):
    made = home(missing={"size": [-200]}, label={"column": "late", "known_after": "1 day", "above": 5})
    outcomes = [float(i % 9) for i in range(60)]
    outcomes[3] = outcomes[40] = outcomes[41] = -200.0
    write(made, "rows.parquet", table(late=outcomes))
    made.land()
    assert [b.rows.facts["suspect_outcomes"] for b in made._batches()] == [{"-200": 1}, {"-200": 2}]


def test_a_kept_column_of_a_csv_keeps_its_text_whatever_the_window_holds(home):
    """1.50 is no number in February because all of February's neighbours are."""
    made = home(source={"kind": "files", "path": "rows.csv"}, keep=["code"])
    frame = table()
    frame["code"] = ["x" if m == 1 and i % 2 else "1.50" for i, m in enumerate(frame["at"].dt.month)]
    january(frame).to_csv(made.folder / "rows.csv", index=False)
    made.land(datetime(2024, 2, 1))
    frame.to_csv(made.folder / "rows.csv", index=False)
    made.land()
    assert made.rows(["code"])["code"].astype(object).tolist() == frame["code"].tolist()


def test_a_query_over_a_csv_keeps_the_text_of_a_kept_column_too(home):
    made = home(source={"kind": "files", "path": "*.csv", "query": "SELECT * FROM files"}, keep=["code"])
    frame = table(code=["x", "1.50"] * 30)
    frame.to_csv(made.folder / "rows.csv", index=False)
    made.land(datetime(2024, 2, 1))
    frame.assign(code="1.50").to_csv(made.folder / "rows.csv", index=False)
    made.land()
    assert set(made.rows(["code"])["code"]) == {"1.50"}


def test_a_key_without_a_value_in_the_first_batch_joins_later(home):
    made = apart(home, key={})
    frame = table()
    frame["slot"] = pd.Series([None] * 31 + [*frame["at"][31:]], dtype="datetime64[us]").dt.tz_localize("UTC")
    write(made, "rows.parquet", frame)
    write(made, "y.parquet", frame[["id", "slot", "late"]])
    made.config(key=["id", "slot"])
    made.land()
    assert len(made.labels()) == 29


def test_whole_numbers_beyond_a_float_are_read_beside_batches_with_missing_ones(home):
    made = home()
    sizes = [BIG + i if i > 31 else (None if i == 3 else i) for i in range(60)]
    write(made, "rows.parquet", table(size=sizes), size=pa.int64())
    made.land()
    assert made.rows(["size"])["size"].iloc[-1] == float(BIG + 59)
    assert made._batches()[1].rows.facts["rounded"]["size"] > 0


def test_decimals_are_the_nearest_floats_and_have_one_text_whatever_their_neighbours_are(home):
    made = home(keep=["fee"], types={"fee": "text"})
    fees = [Decimal("-0.00000048"), *[(Decimal(i) / 7).quantize(Decimal(1).scaleb(-20)) for i in range(59)]]
    small = [Decimal("0.00000012"), Decimal("-0.00000048")] * 30
    write(made, "rows.parquet", table(size=small, fee=fees), size=pa.decimal128(9, 9), fee=pa.decimal128(38, 20))
    write(made, "other.parquet", table(fee=small), fee=pa.decimal128(9, 9))
    made.land()
    found = made.rows(["size", "fee"])
    assert set(found["size"]) == {1.2e-07, -4.8e-07}
    assert found["fee"].astype(object).iloc[0] == "-0.00000048"
    made.config(source={"kind": "files", "path": "other.parquet"})
    made.land()
    assert set(made.rows(["fee"])["fee"]) == {"0.00000012", "-0.00000048"}


def test_bytes_and_nul_characters_are_written_otherwise_and_said(home):
    made = home(keep=["raw"])
    write(
        made,
        "rows.parquet",
        table(raw=[b"\x00\xff"] * 60, shop=["a\0b", "a\0c"] * 30),
        raw=pa.binary(),
        shop=pa.string(),
    )
    made.land()
    assert set(made.rows(["raw"])["raw"]) == {"00ff"}
    assert set(made.rows(["shop"])["shop"]) == {"a\u2400b", "a\u2400c"}
    assert made._batches()[0].rows.facts["rewritten"] == {"raw": {"bytes": 31}, "shop": {"nul": 31}}


def test_times_that_differ_by_less_than_a_microsecond_are_no_keys(home):
    made = home(key=["id"])
    stamps = pd.to_datetime("2024-01-01") + pd.to_timedelta(range(60), unit="ns")
    write(made, "rows.parquet", table(id=stamps))
    with pytest.raises(SourceError, match=r"'id' holds [0-9]+ times that are finer than a microsecond"):
        made.land()


def test_uuids_of_parquet_are_text(home):
    ids = [uuid.UUID(int=i) for i in range(60)]
    made = apart(home)
    frame = table(id=[str(i) for i in ids])
    binary = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([i.bytes for i in ids], pa.binary(16)))
    rows = pa.Table.from_pandas(frame.drop(columns="id"), preserve_index=False).append_column("id", binary)
    pq.write_table(rows, made.folder / "rows.parquet")
    write(made, "y.parquet", frame[["id", "late"]])
    made.land()
    assert set(made.labels()["id"]) == {str(i) for i in ids}


def test_a_table_that_holds_keys_as_whole_numbers_gets_whole_numbers(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'out.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE p (row_id BIGINT PRIMARY KEY, id BIGINT, prediction DOUBLE)"))
    window = Window(datetime(2024, 1, 1), datetime(2024, 1, 1) + timedelta(days=1))
    frame = pd.DataFrame({"row_id": [1, 2], "id": [str(BIG + 1), str(BIG + 2)], "prediction": [0.5, 0.5]})
    SqlSink(url="sqlite:///out.db", table="p").write(window, frame, tmp_path)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id FROM p ORDER BY row_id")).scalars().all() == [BIG + 1, BIG + 2]
    engine.dispose()
