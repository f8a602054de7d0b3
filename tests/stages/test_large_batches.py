"""A batch that is handled in parts gives what it gives as a whole, and is in memory once."""

from __future__ import annotations

import weakref

import numpy as np
import pandas as pd
import pytest

from tests import loans, streams
from tests.stages.test_late_labels import WITH_HISTORY, Book
from trueup.adapters import parquet
from trueup.domain.features.features import feature_frame
from trueup.domain.types import ROW_ID
from trueup.loop import steps
from trueup.stages import features

AS_OF = streams.week(6)


@pytest.fixture
def book(tmp_path):
    """Six validated weeks of loans; some have no region or income, and two rows of the last are in quarantine."""
    rows, outcomes = loans.book(6, per_day=5)
    rows.loc[rows.index % 7 == 3, "region"] = None
    rows.loc[rows.index % 5 == 1, "income"] = None
    rows.loc[rows.index[-3:-1], "amount"] = -1
    config = WITH_HISTORY.replace("min_rows: 30", "min_rows: 30\n  max_quarantined: 0.5").replace(
        "windows: [7 days]", "windows: [7 days, 40 days]"
    )
    book = Book(tmp_path, rows, outcomes, config)
    book.ingest(6)
    for batch in book.model.batches(AS_OF):
        steps.validate(book.model, batch, AS_OF)
    yield book
    book.home.close()


@pytest.mark.parametrize("at_once", [4, 34])
def test_features_made_in_chunks_are_those_of_the_whole_batch(book, monkeypatch, at_once):
    batch, of = book.model.usable_batches(AS_OF)[-1], book.config.features
    key = features.features(book.model, batch, AS_OF)
    whole = book.home.store.read_features([key])
    file = book.home.store.at(f"features/{key[:2]}/{key}.parquet")
    assert len(whole) == batch.rows.rows - 2
    assert whole.filter(like="_n").sum().gt(0).all()
    digest = parquet.digest(parquet.read(file))
    file.files.delete(file.key)
    monkeypatch.setattr(features, "AT_ONCE", at_once)
    assert features.features(book.model, batch, AS_OF, of) == key
    assert len(list(parquet.chunks(file))) > 1
    pd.testing.assert_frame_equal(book.home.store.read_features([key]), whole, check_exact=True)
    assert parquet.digest(parquet.read(file)) == digest


def test_the_past_of_a_window_has_all_that_its_rows_can_see(book):
    usable, of = book.model.usable_batches(AS_OF), book.config.features
    batch = usable[-1]
    past = features.past_of(book.config, usable, batch.window, of)
    rows = book.home.store.effective(batch.rows)
    every, seen = (features.outcomes_of(of.history, book.home, past, of_) for of_ in (None, batch.window))
    assert 0 < len(seen) < len(every)
    pd.testing.assert_frame_equal(feature_frame(rows, seen, of), feature_frame(rows, every, of))
    ids, labels = (book.home.store.read([getattr(b, which) for b in past]) for which in ("rows", "labels"))
    joined = labels.merge(ids[[ROW_ID, "region"]], on=ROW_ID)
    assert len(every) == len(joined) - np.isin(joined[ROW_ID], book.home.store.quarantined_ids(batch.rows)).sum()


def test_what_the_source_returned_is_let_go_before_the_rows_are_stored(book, monkeypatch):
    read, seen = list[weakref.ref[pd.DataFrame]](), list[bool]()
    source = type(book.home.source(book.config))
    plain_read, plain_land = source.read, book.home.store.land

    def reading(*args, **more):
        frame = plain_read(*args, **more)
        read.append(weakref.ref(frame))
        return frame

    def land(*args):
        seen.extend(one() is None for one in read)
        return plain_land(*args)

    monkeypatch.setattr(source, "read", reading)
    monkeypatch.setattr(book.home.store, "land", land)
    book.ingest(6)
    assert seen
    assert all(seen)
