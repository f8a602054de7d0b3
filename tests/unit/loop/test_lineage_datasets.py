"""Datasets of lineage are named by OpenLineage's conventions, and without secrets."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from trueup.adapters.sources.files import FilesSource
from trueup.adapters.sources.function import CallableSource
from trueup.adapters.sources.sql import SqlSource
from trueup.loop.following.lineage_datasets import sources

MODEL = SimpleNamespace(home=SimpleNamespace(configs=Path("/p/configs")))
FIELDS = {"x": "number"}
JOINED = 'SELECT * FROM shop.orders o JOIN "Late" l ON l.id = o.id WHERE o.id IN (SELECT id FROM shop.orders)'


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (FilesSource(path="data/*.csv"), [("file", "/p/configs/data/*.csv")]),
        (FilesSource(path="s3://bucket/orders/*.parquet"), [("s3://bucket", "orders/*.parquet")]),
        (
            SqlSource(url="postgresql+psycopg://me:word@db:5432/shop", query=JOINED),
            [("postgres://db:5432", "shop.shop.orders"), ("postgres://db:5432", "shop.Late")],
        ),
        (SqlSource(url="mysql://db/shop", query="SELECT 1"), [("mysql://db", "shop")]),
        (SqlSource(url="sqlite:///shop.db", query="SELECT * FROM t"), [("file", "shop.db.t")]),
        (CallableSource(function="orders:rows"), [("python", "orders:rows")]),
    ],
    ids=["files", "bucket", "joined tables", "no table", "sqlite", "function"],
)
def test_the_datasets_of_a_source_have_names_that_other_programs_give_them(source, named):
    found = sources(MODEL, source, FIELDS)
    assert [(d.namespace, d.name) for d in found] == named
    assert not any("word" in str(d) for d in found)
    assert [bool(d.fields) for d in found] == [len(found) == 1] * len(found), "of joined tables it is not known"
