"""Features that are read in chunks are those of the whole frame, whatever differs between their files."""

import numpy as np
import pandas as pd
import pytest

from trueup.adapters import parquet
from trueup.adapters.store import feature_rows
from trueup.config.settings import Settings
from trueup.home import Home

KEYS = ["a" * 32, "b" * 32, "c" * 32]


def frames():
    """Three batches: other categories, a column that one lacks, one without values, other precision, and unique text."""
    rng = np.random.default_rng(0)
    for number, n in enumerate((5, 0, 9)):
        frame = pd.DataFrame({
            "row_id": np.arange(n) + 10 * number,
            "x": rng.normal(size=n).astype(np.float32 if number else np.float64),
            "none": np.full(n, np.nan) if number == 0 else rng.normal(size=n),
            "town": pd.Categorical(rng.choice(["Bonn", "Ulm", None] if number else ["Aachen", "Ulm"], n)),
            "name": [f"{number}-{i}" for i in range(n)],
        })  # fmt: skip
        yield frame if number == 0 else frame.assign(late=1.5)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_rows, "CHUNK", 4)
    home = Home(Settings(home=tmp_path, configs=tmp_path))
    for key, frame in zip(KEYS, frames(), strict=True):
        home.store.put_features(key, frame)
    yield home.store
    home.close()


def test_the_rows_are_those_of_the_whole_frame(store):
    whole = store.read_features(KEYS)
    rows = store.feature_rows(KEYS, [np.arange(5), np.arange(0), np.arange(9)])
    assert (len(rows), rows.columns) == (14, list(whole.columns))
    pd.testing.assert_frame_equal(rows.frame(), whole, check_categorical=False)
    chunks = list(rows.chunks())
    assert [len(chunk) for chunk in chunks] == [4, 4, 4, 2]  # filled up across the files
    for chunk in chunks:
        assert chunk.dtypes.astype(str).to_dict() == whole.dtypes.astype(str).to_dict()
    joined = pd.concat([chunk.astype(object) for chunk in chunks], ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole.astype(object))


def test_ranges_positions_and_columns_are_chosen_before_anything_is_read(store, monkeypatch):
    whole = store.read_features(KEYS).astype(object)
    chosen = store.feature_rows(KEYS, [np.array([0, 3]), np.arange(0), np.array([1, 5, 6])])
    whole = whole.iloc[[0, 3, 6, 10, 11]].reset_index(drop=True)
    pd.testing.assert_frame_equal(chosen.frame().astype(object), whole)
    drawn = np.array([4, 0, 3])
    pd.testing.assert_frame_equal(chosen.take(drawn).astype(object), whole.iloc[drawn].reset_index(drop=True))
    last = chosen.only(["town", "x"]).at(slice(-2, None))
    pd.testing.assert_frame_equal(last.frame().astype(object), whole[["town", "x"]].iloc[-2:].reset_index(drop=True))
    read = []
    plain = parquet.chunks
    monkeypatch.setattr(parquet, "chunks", lambda file, *more: read.append(file.key) or plain(file, *more))
    (chunk,) = last.chunks(["x"])
    assert chunk["x"].tolist() == whole["x"].iloc[-2:].tolist()
    assert read == [f"features/cc/{KEYS[2]}.parquet"]
    none = chosen.at(slice(0))
    assert (len(none), len(none.frame()), list(none.chunks())) == (0, 0, [])
