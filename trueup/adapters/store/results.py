"""Results of stages, and frames that they computed."""

from __future__ import annotations

import hashlib
import re
from collections import ChainMap
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any, Generic, TypeVar, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from trueup.adapters import parquet
from trueup.adapters.files.port import Entry, Files, older, read_bytes
from trueup.adapters.sql.engines import looks, reading, writing
from trueup.adapters.store.batches import empty
from trueup.adapters.store.feature_rows import FeatureRows, Places
from trueup.adapters.store.tables import (
    FEATURES_USED,
    RESULTS,
    Shelf,
    as_json,
    folder_name,
    moment,
    until_it_holds,
    window_of,
)
from trueup.domain.records import from_json, to_plain
from trueup.domain.types import EVENT_TIME, ROW_ID, Window

T = TypeVar("T")
_AT_ONCE = 500  # bodies that are read together
_USES_NOTED = timedelta(hours=1)
_FEATURES_KEY = re.compile(r"[0-9a-f]{8,128}")


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

    def __init__(self, files: Files, engine: sa.Engine) -> None:
        super().__init__(files, engine)
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

    def newest_results(self, model: str, stage: str, kind: type[T], limit: int | None = None) -> list[Result[T]]:
        """The last `limit` of `results` in their order, without reading the others; nothing of them is kept."""
        query = sa.select(RESULTS).where(RESULTS.c.model == model, RESULTS.c.stage == stage)
        newest = query.order_by(RESULTS.c.start.desc(), RESULTS.c.as_of.desc(), RESULTS.c.id.desc()).limit(limit)
        with reading(self.engine) as connection:
            rows = connection.execute(newest).all()
        return [Result(window_of(r), r.revision, r.as_of, from_json(kind, r.body), r.basis) for r in reversed(rows)]

    def last_recorded(self) -> int:
        """The number of the last recorded result of all models, 0 without any; it grows with each one."""
        with reading(self.engine) as connection:
            return connection.scalar(sa.select(sa.func.max(RESULTS.c.id))) or 0

    def recorded_since(self, number: int) -> dict[int, str]:
        """The numbers of the results after one, see `last_recorded`, each with its model."""
        query = sa.select(RESULTS.c.id, RESULTS.c.model).where(RESULTS.c.id > number)
        with reading(self.engine) as connection:
            return {row.id: row.model for row in connection.execute(query)}

    def last_recorded_at(self, model: str, stage: str) -> datetime | None:
        """When the last result of a stage was recorded (wall clock, UTC, without offset); None without one."""
        query = sa.select(sa.func.max(RESULTS.c.recorded_at)).where(RESULTS.c.model == model, RESULTS.c.stage == stage)
        with reading(self.engine) as connection:
            moment: datetime | None = connection.scalar(query)
        return moment


class Computed(Shelf):
    """Frames that can be computed again: features, and predictions on gate rows."""

    def __init__(self, files: Files, engine: sa.Engine) -> None:
        super().__init__(files, engine)
        self._noted: dict[str, datetime] = {}  # when this process last noted that features are used

    def put_features(self, key: str, frame: pd.DataFrame) -> None:
        """Store features under the digest (hexadecimal) of their inputs."""
        parquet.write(parquet.to_table(frame), self.at(_features(key)), durable=False)
        self._note_use(key)

    def put_feature_chunks(self, key: str, frames: Iterable[pd.DataFrame]) -> None:
        """Store features like `put_features`, in chunks that are written as they come."""
        parquet.write_chunks(frames, self.at(_features(key)), durable=False)
        self._note_use(key)

    def has_features(self, key: str) -> bool:
        """Whether features exist and are complete; a file that a power cut left incomplete is removed.

        A call counts as use, which is noted at most once an hour, see `unused_features`.
        """
        path = _features(key)
        if not self.files.exists(path):
            return False
        if not parquet.is_whole(self.at(path)):
            self.files.delete(path)
            return False
        self._note_use(key)
        return True

    def _note_use(self, key: str) -> None:
        """Note in the database that features are used, unless this or another process did within the hour."""
        now = datetime.now(UTC).replace(tzinfo=None)
        if (noted := self._noted.get(key)) is not None and now - noted < _USES_NOTED:
            return
        one = FEATURES_USED.c.key == key
        with reading(self.engine) as connection:
            used = connection.scalar(sa.select(FEATURES_USED.c.used_at).where(one))
        if (used is None or now - used >= _USES_NOTED) and not looks(self.engine):
            # Another process may be faster: then the use is noted, too.
            with suppress(sa.exc.IntegrityError), writing(self.engine) as connection:
                connection.execute(sa.delete(FEATURES_USED).where(one))
                connection.execute(sa.insert(FEATURES_USED).values(key=key, used_at=sa.func.current_timestamp()))
        self._noted[key] = now

    def unused_features(self, in_use: Collection[str], before: datetime) -> list[Entry]:
        """Files of features that are not in use and were last used before a moment.

        Features of homes from before uses were noted count as used when they were written.
        """
        with reading(self.engine) as connection:
            used = {row.key: row.used_at.replace(tzinfo=UTC) for row in connection.execute(sa.select(FEATURES_USED))}
        listed = (entry for entry in self.files.listed("features") if _key_of(entry) is not None)
        old = older((replace(e, written=used.get(str(_key_of(e)), e.written)) for e in listed), before)
        return [entry for entry in old if _key_of(entry) not in in_use]

    def evaluations(self, before: datetime) -> list[Entry]:
        """Files of `put_evaluation` from before a moment."""
        listed = self.files.listed("evaluations")
        return older((e for e in listed if e.name.endswith(".parquet") and not e.name.startswith(".")), before)

    def read_features(
        self, keys: Sequence[str], window: Window | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Read and concatenate features, of a window's rows and the named columns if given. Raises WorkError."""
        tables = [_chosen(parquet.read(self.at(_features(key)), columns), window) for key in keys]
        return parquet.to_pandas(parquet.concat(tables)) if tables else empty([ROW_ID, EVENT_TIME])

    def feature_rows(self, keys: Sequence[str], places: Sequence[Places]) -> FeatureRows:
        """Features to be read in chunks, and the ascending positions of the chosen rows of each key. Raises WorkError."""
        return FeatureRows.of([self.at(_features(key)) for key in keys], places)

    @staticmethod
    def evaluation_path(name: str) -> str:
        """The path of an evaluation by its name, relative to the home."""
        return f"evaluations/{folder_name(name)}.parquet"

    def put_evaluation(self, name: str, frame: pd.DataFrame) -> str:
        """Store predictions on gate rows, or what was derived from them. Returns the path, relative to the home."""
        path = self.evaluation_path(name)
        parquet.write(parquet.to_table(frame), self.at(path))
        return path

    def adopt_evaluation(self, name: str, content: bytes) -> str:
        """Store a file of `put_evaluation` from another home, as it is. Returns the path, relative to the home."""
        path = self.evaluation_path(name)
        with self.files.writing(path) as stream:
            stream.write(content)
        return path

    def drop_evaluation(self, path: str) -> None:
        """Remove the file of `put_evaluation`; no decision may depend on it."""
        self.files.delete(folder_name(path))

    def evaluation_digest(self, path: str) -> str | None:
        """SHA-256 of a file of `put_evaluation`; None if it is gone."""
        try:
            return hashlib.sha256(read_bytes(self.files, path, fresh=True)).hexdigest()
        except FileNotFoundError:
            return None

    def read_evaluation(self, path: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a file of `put_evaluation`, all columns or the named ones. Raises WorkError."""
        return parquet.to_pandas(parquet.read(self.at(folder_name(path)), columns))


def _features(key: str) -> str:
    if not _FEATURES_KEY.fullmatch(key):
        raise ValueError(f"a key of features is hexadecimal: {key!r}")
    return f"features/{key[:2]}/{key}.parquet"


def _key_of(entry: Entry) -> str | None:
    """The key of a file of features, None for another file."""
    key = entry.name.removesuffix(".parquet")
    return key if entry.name.endswith(".parquet") and _FEATURES_KEY.fullmatch(key) else None


def _chosen(table: pa.Table, window: Window | None) -> pa.Table:
    if window is None:
        return table
    times = table[EVENT_TIME].to_numpy()
    keep = (times >= np.datetime64(window.start, "us")) & (times < np.datetime64(window.end, "us"))
    return table if keep.all() else table.filter(pa.array(keep))
