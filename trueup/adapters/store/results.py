"""Results of stages, and frames that they computed."""

from __future__ import annotations

import hashlib
import os
import re
from collections import ChainMap
from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any, Generic, TypeVar, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from trueup.adapters import parquet
from trueup.adapters.old_files import older
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.batches import empty
from trueup.adapters.store.tables import RESULTS, Shelf, as_json, folder_name, moment, until_it_holds, window_of
from trueup.domain.records import from_json, to_plain
from trueup.domain.types import EVENT_TIME, ROW_ID, Window

T = TypeVar("T")
_AT_ONCE = 500  # bodies that are read together


@dataclass(frozen=True)
class Result(Generic[T]):
    """A stage's result about one revision of a window, as of a moment; `basis` names what else it depends on."""

    window: Window
    revision: int
    as_of: datetime
    body: T
    basis: str = ""


class Results(Shelf):
    """Results of stages: each is a record that is written once."""

    def __init__(self, home: Path, engine: sa.Engine) -> None:
        super().__init__(home, engine)
        self._read: dict[tuple[int, type[Any]], Any] = {}  # bodies of listings: what is written stays so

    def record(
        self, model: str, stage: str, window: Window, revision: int, as_of: datetime, body: T, basis: str = ""
    ) -> T:
        """Keep a result unless there is one for the same six; return the one that counts."""
        text = as_json(to_plain(body))
        key = {"model": model, "stage": stage, "start": moment(window.start), "end": moment(window.end)}
        key |= {"revision": revision, "as_of": moment(as_of), "basis": basis}
        query = sa.select(RESULTS.c.body).where(*(RESULTS.c[name] == value for name, value in key.items()))

        def get_or_put() -> str:
            with writing(self.engine) as connection:
                if (stored := connection.scalar(query)) is not None:
                    return str(stored)
                connection.execute(sa.insert(RESULTS).values(body=text, **key))
            return text

        return from_json(type(body), until_it_holds(get_or_put))

    def results(self, model: str, stage: str, kind: type[T], window: Window | None = None) -> list[Result[T]]:
        """List the results of a stage (of one window), ordered by window, as_of and the order of recording.

        `kind` may have some of the fields of the record that was written. `NoneType` reads no body at all. A listing
        of all windows keeps what it read: decoding years of days takes seconds.
        """
        listed = sa.select(*(c for c in RESULTS.c if c is not RESULTS.c.body))
        listed = listed.where(RESULTS.c.model == model, RESULTS.c.stage == stage)
        if window is not None:
            listed = listed.where(RESULTS.c.start == moment(window.start), RESULTS.c.end == moment(window.end))
        with reading(self.engine) as connection:
            rows = connection.execute(listed.order_by(RESULTS.c.start, RESULTS.c.as_of, RESULTS.c.id)).all()
            read: MutableMapping[Any, Any] = self._read if window is None else ChainMap({}, self._read)
            unread = [] if kind is NoneType else [r.id for r in rows if (r.id, kind) not in read]
            for some in (unread[i : i + _AT_ONCE] for i in range(0, len(unread), _AT_ONCE)):
                bodies = sa.select(RESULTS.c.id, RESULTS.c.body).where(RESULTS.c.id.in_(some))
                read.update({(r.id, kind): from_json(kind, r.body) for r in connection.execute(bodies)})
        return [Result(window_of(r), r.revision, r.as_of, cast(T, read.get((r.id, kind))), r.basis) for r in rows]

    def last_result(self, model: str, stage: str, kind: type[T]) -> Result[T] | None:
        """The last of `results`, without reading the others."""
        listed = self.results(model, stage, NoneType)
        return self.results(model, stage, kind, listed[-1].window)[-1] if listed else None


class Computed(Shelf):
    """Frames that can be computed again: features, and predictions on gate rows."""

    def put_features(self, key: str, frame: pd.DataFrame) -> None:
        """Store features under the digest (hexadecimal) of their inputs."""
        parquet.write(parquet.to_table(frame), self._features(key), durable=False)

    def has_features(self, key: str) -> bool:
        """Whether features exist and are complete; a file that a power cut left incomplete is removed.

        A call counts as use: the file's time is that of the last call, see `unused_features`.
        """
        path = self._features(key)
        if path.exists() and not parquet.is_whole(path):
            path.unlink(missing_ok=True)
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def unused_features(self, in_use: Collection[str], before: datetime) -> list[Path]:
        """Files of features that are not in use and were last used before a moment."""
        return [f for f in older((self.home / "features").glob("*/*.parquet"), before) if f.stem not in in_use]

    def evaluations(self, before: datetime) -> list[Path]:
        """Files of `put_evaluation` from before a moment."""
        return older((self.home / "evaluations").glob("*.parquet"), before)

    def read_features(
        self, keys: Sequence[str], window: Window | None = None, row_ids: pd.Index[Any] | None = None
    ) -> pd.DataFrame:
        """Read and concatenate features, of a window's rows if given, and of `row_ids` (unique). Raises WorkError."""
        tables = [_chosen(parquet.read(self._features(key)), window, row_ids) for key in keys]
        return parquet.to_pandas(parquet.concat(tables)) if tables else empty([ROW_ID, EVENT_TIME])

    @staticmethod
    def evaluation_path(name: str) -> str:
        """The path of an evaluation by its name, relative to the home."""
        return f"evaluations/{folder_name(name)}.parquet"

    def put_evaluation(self, name: str, frame: pd.DataFrame) -> str:
        """Store predictions on gate rows, or what was derived from them. Returns the path, relative to the home."""
        path = self.evaluation_path(name)
        parquet.write(parquet.to_table(frame), self.home / path)
        return path

    def drop_evaluation(self, path: str) -> None:
        """Remove the file of `put_evaluation`; no decision may depend on it."""
        (self.home / folder_name(path)).unlink(missing_ok=True)

    def evaluation_digest(self, path: str) -> str | None:
        """SHA-256 of a file of `put_evaluation`; None if it is gone."""
        try:
            with (self.home / path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    def read_evaluation(self, path: str) -> pd.DataFrame:
        """Read a file of `put_evaluation`. Raises WorkError."""
        return parquet.to_pandas(parquet.read(self.home / folder_name(path)))

    def _features(self, key: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{8,128}", key):
            raise ValueError(f"a key of features is hexadecimal: {key!r}")
        return self.home / "features" / key[:2] / f"{key}.parquet"


def _chosen(table: pa.Table, window: Window | None, row_ids: pd.Index[Any] | None) -> pa.Table:
    keep = np.ones(table.num_rows, dtype=bool)
    if window is not None:
        times = table[EVENT_TIME].to_numpy()
        keep &= (times >= np.datetime64(window.start, "us")) & (times < np.datetime64(window.end, "us"))
    if row_ids is not None:
        keep &= row_ids.get_indexer(table[ROW_ID].to_numpy()) >= 0  # its look-up table is built once
    return table if keep.all() else table.filter(pa.array(keep))
