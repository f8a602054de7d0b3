"""Any value of any type comes out of landing, store, labels, predictions and sinks as it went in, or is refused and counted."""

from __future__ import annotations

import csv
import math
import re
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.adapters.sinks.folder import FolderSink
from trueup.adapters.sinks.sql import SqlSink
from trueup.adapters.sql.engines import connect
from trueup.config.load import parse_model
from trueup.config.settings import Settings
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Window
from trueup.errors import SourceError
from trueup.home import Home
from trueup.model import Model
from trueup.stages.ingest import ingest

ROWS = 40
BEGIN, END = datetime(2024, 1, 1), datetime(2024, 3, 1)
EXACT = 2**53


# The kinds of values: how each is made, written to a source, and what is to become of it


def plain(value: Any) -> str:
    """The one text of a value."""
    return str(value)


def of_decimal(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def of_float(value: float) -> str:
    return of_decimal(Decimal(repr(value))) if math.isfinite(value) else str(value)


def of_text(value: str) -> str:
    """Booleans have one text, and a NUL is written as its sign."""
    return {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}.get(value, value).replace("\0", "␀")


def of_moment(value: datetime) -> str:
    return str(value.date() if value.time() == time() else value)


@dataclass(frozen=True)
class Kind:
    """Values and their Arrow type; `text` and `number` say what lands of one. Without `csv` or `sql` the source has no such values."""

    values: st.SearchStrategy[Any]
    arrow: pa.DataType
    text: Callable[[Any], str] = plain
    number: Callable[[Any], float] | None = None
    moment: Callable[[Any], datetime] | None = None
    csv: Callable[[Any], str] | None = plain
    sql: Callable[[Any], Any] | None = None
    csv_text: Callable[[Any], str] | None = None  # where a CSV's text is another


SPECIAL = ["", " ", "NA", "null", "None", "nan", "NaN", "True", "FALSE", "true", "007", "1.0", "1", "1e5", "-0", "a\0b", "\0", '"', "'", "a\nb",
           "a\r\nb", "a,b", "a;b", "\\", "😀", "é", "e\u0301", "\ufeff", "\u2028", "2024-01-01", "inf", "9" * 25, "0x10", "1_000"]  # fmt: skip
TEXT = st.one_of(st.sampled_from(SPECIAL), st.text(st.characters(codec="utf-8"), max_size=6))
MOMENTS = st.datetimes(datetime(1800, 1, 1), datetime(2250, 1, 1))
KINDS = {
    "text": Kind(TEXT, pa.string(), of_text, sql=plain),
    "codes": Kind(st.from_regex(r"\A0?[0-9]{1,20}(\.0)?\Z"), pa.string(), sql=plain),
    "truth in words": Kind(st.sampled_from(["True", "False", "TRUE", "false", "unknown"]), pa.string(), of_text, sql=plain),
    "int64": Kind(st.integers(-(2**63), 2**63 - 1), pa.int64(), number=float, sql=int),
    "uint64": Kind(st.integers(0, 2**64 - 1), pa.uint64(), number=float),
    "int8": Kind(st.integers(-128, 127), pa.int8(), number=float, sql=int),
    "decimal(38, 0)": Kind(st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal), pa.decimal128(38, 0), of_decimal, float),
    "decimal(38, 9)": Kind(st.integers(-(10**37), 10**37).map(lambda i: Decimal(i).scaleb(-9, None)), pa.decimal128(38, 9), of_decimal, float),
    "decimal(9, 9)": Kind(st.integers(-999, 10**9 - 1).map(lambda i: Decimal(i).scaleb(-9)), pa.decimal128(9, 9), of_decimal, float),
    "uuid": Kind(st.uuids(), pa.uuid(), sql=str),
    "bytes": Kind(st.binary(max_size=6), pa.binary(), bytes.hex, csv=None, sql=bytes),
    "boolean": Kind(st.booleans(), pa.bool_(), lambda v: str(v).lower(), float),
    "float64": Kind(st.one_of(st.floats(allow_nan=False), st.sampled_from([-0.0, 1e308, 5e-324, 1e-9, 0.1, 2.0**53, math.inf])), pa.float64(), of_float, float, csv=repr, sql=float),
    "float32": Kind(st.floats(allow_nan=False, width=32), pa.float32(), lambda v: of_float(float(str(np.float32(v)))), float, csv=None),
    "naive us": Kind(MOMENTS, pa.timestamp("us"), of_moment, moment=lambda v: v, sql=str),
    "naive ns": Kind(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), pa.timestamp("ns"), of_moment, moment=lambda v: v, csv=None),
    "zoned": Kind(MOMENTS.map(lambda m: m.replace(tzinfo=UTC)), pa.timestamp("us", "UTC"), str, moment=lambda v: v.replace(tzinfo=None), csv=str),
    "date": Kind(st.dates(date(1600, 1, 1), date(2400, 1, 1)), pa.date32(), moment=lambda v: datetime.combine(v, time()), sql=str),
    "time": Kind(st.times(), pa.time64("us"), csv=str),
}  # fmt: skip
NESTED = {
    "list": (pa.list_(pa.int64()), [1, 2]),
    "struct": (pa.struct([("a", pa.int64())]), {"a": 1}),
    "map": (pa.map_(pa.string(), pa.int64()), [("a", 1)]),
}


# The sources


def parquet(path: Path, columns: dict[str, tuple[list[Any], Kind | None]]) -> dict[str, Any]:
    arrays = {n: _array(held, kind) for n, (held, kind) in columns.items()}
    pq.write_table(pa.table(arrays), path.with_suffix(".parquet"))
    return {"kind": "files", "path": f"{path.name}.parquet"}


def _array(held: list[Any], kind: Kind | None) -> pa.Array:
    if kind is None:
        return pa.array(held)
    if kind.arrow == pa.uuid():
        return pa.ExtensionArray.from_storage(pa.uuid(), pa.array([v and v.bytes for v in held], pa.binary(16)))
    return pa.array(held, kind.arrow)


def csv_file(path: Path, columns: dict[str, tuple[list[Any], Kind | None]]) -> dict[str, Any]:
    written = {n: ["" if v is None else (k.csv if k else str)(v) for v in held] for n, (held, k) in columns.items()}  # type: ignore[misc]
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(written)
        writer.writerows(zip(*written.values(), strict=True))
    return {"kind": "files", "path": f"{path.name}.csv"}


def sqlite(path: Path, columns: dict[str, tuple[list[Any], Kind | None]]) -> dict[str, Any]:
    given = {n: [v if v is None else (k.sql if k else _sql)(v) for v in held] for n, (held, k) in columns.items()}  # type: ignore[misc]
    with sqlite3.connect(path.with_suffix(".db")) as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(f'{n} BLOB' for n in given)})")
        connection.executemany(
            f"INSERT INTO t VALUES ({', '.join('?' * len(given))})", zip(*given.values(), strict=True)
        )
    connection.close()
    return {"kind": "sql", "url": f"sqlite:///{path.name}.db", "query": "SELECT * FROM t"}


def _sql(value: Any) -> Any:
    return str(value) if isinstance(value, datetime) else value


def postgresql(server: sa.URL) -> Callable[[Path, dict[str, tuple[list[Any], Kind | None]]], dict[str, Any]]:
    """Write to tables of a PostgreSQL, each column with the type of its values."""
    names = {id(kind): POSTGRESQL[name] for name, kind in KINDS.items() if name in POSTGRESQL}

    def write(path: Path, columns: dict[str, tuple[list[Any], Kind | None]]) -> dict[str, Any]:
        table = path.name.replace("-", "_")
        types = [names[id(k)] if k else _type(held[0]) for held, k in columns.values()]
        rows = zip(*([_without_nul(v) for v in held] for held, _ in columns.values()), strict=True)
        engine = connect(server.render_as_string(hide_password=False))
        with engine.begin() as connection:
            made = ", ".join(f"{n} {of}" for n, of in zip(columns, types, strict=True))
            connection.exec_driver_sql(f"CREATE TABLE {table} ({made})")
            places = ", ".join(["%s"] * len(columns))
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({places})", list(rows))
        engine.dispose()
        url = server.render_as_string().replace("***", "${POSTGRES_PASSWORD}")
        return {"kind": "sql", "url": url, "query": f"SELECT * FROM {table}"}

    return write


def _type(value: Any) -> str:
    return {datetime: "timestamp", int: "bigint", float: "double precision"}[type(value)]


def _without_nul(value: Any) -> Any:
    """PostgreSQL's text has no NUL."""
    return value.replace("\0", "␀") if isinstance(value, str) else value


POSTGRESQL = {
    "text": "text", "codes": "text", "truth in words": "text", "int64": "bigint", "uint64": "numeric(20, 0)",
    "int8": "smallint", "decimal(38, 0)": "numeric(38, 0)", "decimal(38, 9)": "numeric(38, 9)", "uuid": "uuid",
    "decimal(9, 9)": "numeric(9, 9)", "bytes": "bytea", "boolean": "boolean", "float64": "double precision",
    "float32": "real", "naive us": "timestamp", "zoned": "timestamptz", "date": "date", "time": "time",
}  # fmt: skip
SOURCES = {"parquet": parquet, "csv": csv_file, "sqlite": sqlite}
CASES = [
    (name, source)
    for name, kind in KINDS.items()
    for source in SOURCES
    if source == "parquet" or (kind.csv if source == "csv" else kind.sql)
]


# The model


class World:
    """A home in which each example is a model of its own."""

    def __init__(self, server: sa.URL | None = None) -> None:
        self.writers = SOURCES if server is None else {"postgresql": postgresql(server)}
        self.folder = Path(tempfile.mkdtemp(prefix="trueup-any-"))
        self.home = Home(Settings(home=self.folder / "home", configs=self.folder, reports=False))
        self.numbers = count()

    def landed(self, held: list[Any], kind: Kind, source: str) -> Landed:
        name = f"m{next(self.numbers)}"
        write, days = self.writers[source], [BEGIN + timedelta(hours=36 * i) for i in range(len(held))]
        number = list(range(len(held)))
        amounts = (held, kind) if kind.number else ([float(i) for i in number], None)
        own = {"no": (number, None), "at": (days, None)}
        rows = {**own, **dict.fromkeys(("id", "shop", "other"), (held, kind)), "size": amounts}
        outcomes = {"no": (number, None), "id": (held, kind), "late": amounts if kind.number else (held, kind)}
        content = {
            "model": name,
            "task": "regression" if kind.number else "multiclass",
            "ingest": {
                "source": write(self.folder / f"{name}-rows", rows),
                "time": "at",
                "key": ["no", "id"],
                "keep": ["other"],
                "label": {"column": "late", "known_after": "1 day", "source": write(self.folder / f"{name}-y", outcomes)},
            },
            "validate": {"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "no"}}]},
            "features": {"numeric": ["size"], "categorical": ["shop"]},
            "evaluate": {"block": "1 day"},
        }  # fmt: skip
        return Landed(self, parse_model(yaml.safe_dump(content)))


class Landed:
    """What is in the store of one example."""

    def __init__(self, world: World, config: Any) -> None:
        self.config, self.world = config, world
        ingest(Model(config, world.home), END)
        self.batches = Model(config, world.home).batches(END)
        store = world.home.store
        self.rows = store.read([b.rows for b in self.batches])
        self.rows = self.rows.assign(no=self.rows["no"].astype(int)).set_index("no", drop=False)
        labels = store.read([b.labels for b in self.batches], [ROW_ID, LABEL]) if len(self.rows) else None
        self.labels = {} if labels is None else dict(zip(labels[ROW_ID], labels[LABEL], strict=True))

    def counted(self, fact: str) -> int:
        """How many rows the landings count for something."""
        return sum(b.rows.facts[fact] for b in self.batches)

    def counted_in(self, column: str) -> int:
        """How many values of a column were named as landed in another form."""
        facts = [b.rows.facts for b in self.batches]
        counts = sum(f[name].get(column, 0) for f in facts for name in ("respelled", "rounded"))
        counts += sum(sum(f["rewritten"].get(column, {}).values()) for f in facts)
        return int(counts) + sum(
            b.rows.rows for b, f in zip(self.batches, facts, strict=True) if column in f["mistyped"]
        )

    @property
    def uncounted_outcomes(self) -> int:
        """How many outcomes the landings of labels set aside or changed, and say so."""
        names = ("infinite_outcomes", "rounded_outcomes")
        return sum(b.labels.facts.get(name, 0) for b in self.batches for name in names)

    def served(self) -> None:
        """Predictions come out of the store and of the sinks as they are saved."""
        if not len(self.rows):
            return
        store, window = self.world.home.store, Window(BEGIN, END)
        said = [self.labels.get(i, 0.5 if self.config.task == "regression" else "none") for i in self.rows[ROW_ID]]
        frame = self.rows[[ROW_ID, EVENT_TIME]].assign(
            prediction=said, model_version="1", predicted_at=pd.Timestamp(END)
        )
        store.save_predictions(self.config.model, window, frame.reset_index(drop=True))
        kept = store.read_predictions(self.config.model, window)
        assert values(kept.set_index(ROW_ID)["prediction"].reindex(frame[ROW_ID])) == said
        both = self.rows.reset_index(drop=True)[[ROW_ID, "no", "id"]].merge(kept, on=ROW_ID)
        name, folder = self.config.model, self.world.folder
        FolderSink(path=f"{name}-out").write(window, both, folder)
        SqlSink(url=f"sqlite:///{name}-out.db", table="p").write(window, both, folder)
        files = pd.read_parquet(next((folder / f"{name}-out").glob("*.parquet"))).set_index(ROW_ID)
        engine = sa.create_engine(f"sqlite:///{folder / f'{name}-out.db'}")
        with engine.connect() as connection:
            sunk = {r[0]: r[1:] for r in connection.execute(sa.text("SELECT row_id, id, prediction FROM p"))}
        engine.dispose()
        keys = [str(v) for v in values(self.rows["id"])]
        stored = dict(zip(self.rows[ROW_ID], self.rows["id"], strict=True))
        written = {i: pd.Timestamp(k) if isinstance(stored[i], pd.Timestamp) else k for i, (k, _) in sunk.items()}
        assert [str(written[i]) for i in self.rows[ROW_ID]] == keys
        assert [sunk[i][1] for i in self.rows[ROW_ID]] == said
        assert [str(v) for v in values(files["id"].reindex(self.rows[ROW_ID]))] == keys
        assert values(files["prediction"].reindex(self.rows[ROW_ID])) == said


def values(column: pd.Series[Any]) -> list[Any]:
    """Values of a column, None where there is none."""
    return [None if pd.isna(v) else v for v in column.astype(object)]


REFUSED = (
    r"'id' holds [\d,]+ floating-point numbers beyond 2\^53"
    r"|'id' holds [\d,]+ times that are finer than a microsecond"
    r"|'late' must hold numbers, but [\d,]+ values are not numbers"
)


def outcome(value: Any, kind: Kind, source: str) -> Any:
    """What label lands of a value."""
    if kind.number:
        return kind.number(value)
    made = expected(value, kind, source, "")
    return of_digits(made.strip()) or None


def of_digits(text: str) -> str:
    return text.split(".")[0] if re.fullmatch(r"[+-]?(?:0|[1-9]\d*)\.0+", text) else text


@pytest.fixture(scope="module")
def world() -> Any:
    made = World()
    yield made
    made.home.close()


def expected(value: Any, kind: Kind, source: str, landed: Any) -> Any:
    """What is to land of a value in a column that holds what `landed` is of."""
    if value is None:
        return None
    if isinstance(landed, pd.Timestamp):
        return pd.Timestamp(kind.moment(value)) if kind.moment else "no time"
    if isinstance(landed, int | float | np.number) and kind.number:
        return kind.number(value)
    if source == "csv" and kind.csv:
        text = kind.csv(value)
        # A column that is kept for later is of numbers where a CSV holds nothing else in it: the same ones, to the digit.
        # One that holds only booleans is of 1 and 0.
        if isinstance(landed, int | float | np.number) and of_text(text) in {"true", "false"}:
            return of_text(text) == "true"
        number = isinstance(landed, int | float | np.number) and re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", text)
        return Decimal(text) if number else of_text(text)
    if source == "sqlite" and kind.sql:
        made = kind.sql(value)
        return kind.text(value) if isinstance(made, float | bytes) else of_text(str(made))
    return kind.text(value)


def judge(world: World, name: str, source: str, data: Any) -> None:
    """Land an example, and hold all that came out against all that went in."""
    kind = KINDS[name]
    held = data.draw(st.lists(st.one_of(st.none(), kind.values, kind.values), min_size=ROWS, max_size=ROWS))
    try:
        found = world.landed(held, kind, source)
    except SourceError as error:
        if not re.search(REFUSED, str(error)):
            raise
        return
    there = [i for i, v in enumerate(held) if v is not None and (source, v) != ("csv", "")]
    assert (found.counted("rows"), found.counted("null_keys")) == (len(there), ROWS - len(there))
    assert sorted(found.rows["no"]) == there
    for column in ("id", "shop", "other", "size") if kind.number else ("id", "shop", "other"):
        landed = dict(zip(found.rows["no"], values(found.rows[column]), strict=True))
        odd = [(held[i], landed[i]) for i in there if landed[i] != expected(held[i], kind, source, landed[i])]
        assert len(odd) <= found.counted_in(column), (column, odd)
    outcomes = {i: found.labels.get(row) for i, row in zip(found.rows["no"], found.rows[ROW_ID], strict=True)}
    wrong = [(held[i], outcomes[i]) for i in there if outcomes[i] != outcome(held[i], kind, source)]
    assert len(wrong) <= found.uncounted_outcomes, wrong
    found.served()


@pytest.mark.parametrize(("name", "source"), CASES)
@given(data=st.data())
@settings(max_examples=2)
def test_any_value_comes_out_as_it_went_in_or_is_counted(world, name, source, data):
    judge(world, name, source, data)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "source"), CASES)
@given(data=st.data())
@settings(max_examples=100)
def test_any_of_many_values_comes_out_as_it_went_in_or_is_counted(world, name, source, data):
    judge(world, name, source, data)


@pytest.fixture(scope="module")
def with_postgresql(postgres_server):
    made = World(postgres_server)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("POSTGRES_PASSWORD", postgres_server.password)
        yield made
    made.home.close()


@pytest.mark.thorough
@pytest.mark.parametrize("name", POSTGRESQL)
@given(data=st.data())
@settings(max_examples=30)
def test_any_value_of_a_postgresql_comes_out_as_it_went_in_or_is_counted(with_postgresql, name, data):
    judge(with_postgresql, name, "postgresql", data)


@pytest.mark.parametrize("name", NESTED)
def test_nested_values_are_refused_by_name(world, name):
    arrow, value = NESTED[name]
    with pytest.raises(SourceError, match="hold lists, structs or maps"):
        world.landed([value] * ROWS, Kind(st.nothing(), arrow), "parquet")
