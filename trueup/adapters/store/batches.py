"""Landed batches and their revisions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from trueup.adapters import parquet
from trueup.adapters.files.port import Files
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.landed_rows import AT_ONCE, LandedRows
from trueup.adapters.store.tables import BATCHES, Shelf, as_json, folder_name, moment, stem, window_of
from trueup.crash import reach
from trueup.domain.types import EVENT_TIME, KNOWN_AT, ROW_ID, BatchRef, Facts, Window
from trueup.errors import FilesUnavailable, WorkError

_OWN_TYPES = {ROW_ID: "int64", EVENT_TIME: "datetime64[us]", KNOWN_AT: "datetime64[us]"}


class Batches(Shelf):
    """Landed batches.

    `known_until` hides what was landed after a moment (UTC, without offset), for a replay.

    A batch is a Parquet file named by the digest of its content, and one row of the database, written after it: the row
    makes it visible. A crash between the two leaves an invisible file that the next landing of the same content adopts.
    """

    known_until: Callable[[], datetime] | None = None

    def __init__(self, files: Files, engine: sa.Engine) -> None:
        super().__init__(files, engine)
        # Landings are only ever added, and files never change: what was read of them once stays so.
        self._refs: dict[str, tuple[tuple[Any, ...], list[BatchRef]]] = {}
        self._columns: dict[str, list[str]] = {}

    def land(self, dataset: str, window: Window, frame: pd.DataFrame, facts: Facts | None = None) -> BatchRef:
        """Land the content of a window. The same content again changes nothing; other content is a new revision.

        Sequences count all landings without a gap, in the order in which they became visible. Raises WorkError if the
        window overlaps another of the dataset (its period was changed), or the disk is full.
        """
        table = parquet.to_table(frame)
        digest = parquet.digest(table)
        path = f"batches/{folder_name(dataset)}/{stem(window)}/{digest[:32]}.parquet"
        newest = self.newest(dataset, window)
        if not self.files.exists(path):
            parquet.write(table, self.at(path))
        if newest is not None and newest.sha256 == digest:
            return newest
        reach("ingest.file")
        return self._show(dataset, window, path, digest, table, facts or {})

    def _show(self, dataset: str, window: Window, path: str, digest: str, table: pa.Table, facts: Facts) -> BatchRef:
        """Write the row that makes a file visible, unless another process was faster with the same content."""
        with writing(self.engine, BATCHES) as connection:
            others = connection.execute(
                sa.select(BATCHES)
                .where(BATCHES.c.dataset == dataset, BATCHES.c.start < window.end, BATCHES.c.end > window.start)
                .order_by(BATCHES.c.revision.desc())
            ).all()
            if other := next((window_of(row) for row in others if window_of(row) != window), None):
                raise WorkError(
                    f"{dataset}: the window {window} overlaps {other}, landed before; a dataset keeps its period: "
                    "set ingest.period back, or begin with an empty home"
                )
            if others and others[0].sha256 == digest:
                return as_ref(others[0])
            revision = others[0].revision + 1 if others else 1
            last = connection.scalar(sa.select(sa.func.max(BATCHES.c.sequence))) or 0
            ref = BatchRef(dataset, window, revision, last + 1, path, digest, table.num_rows, facts)
            connection.execute(sa.insert(BATCHES).values(_row(ref)))
            if not self.files.exists(path):  # an old file of the same content, removed meanwhile
                parquet.write(table, self.at(path))
        return ref

    def batches(self, dataset: str, until: datetime | None = None, sequence: int | None = None) -> list[BatchRef]:
        """List the newest revision of each window in order; `until` and `sequence` leave out later ones."""
        visible = BATCHES.c.dataset == dataset
        if self.known_until is not None:
            visible &= BATCHES.c.recorded_at <= self.known_until()
        newest = sa.select(sa.func.count(), sa.func.max(BATCHES.c.sequence)).where(visible)
        with reading(self.engine) as connection:
            state, refs = tuple(connection.execute(newest).one()), self._refs.get(dataset, ((), []))
            if refs[0] != state:
                query = sa.select(BATCHES).where(visible).order_by(BATCHES.c.start, BATCHES.c.revision)
                refs = self._refs[dataset] = state, [as_ref(row) for row in connection.execute(query)]
        chosen = (
            ref
            for ref in refs[1]
            if (until is None or ref.window.end <= until) and (sequence is None or ref.sequence <= sequence)
        )
        return list({ref.window: ref for ref in chosen}.values())

    def landings(self, dataset: str) -> list[tuple[Window, datetime]]:
        """List every landing with a kept file: its window, and when it became visible (UTC, without offset)."""
        query = sa.select(BATCHES).where(BATCHES.c.dataset == dataset, BATCHES.c.removed_at.is_(None))
        with reading(self.engine) as connection:
            return [(window_of(row), row.recorded_at) for row in connection.execute(query.order_by(BATCHES.c.sequence))]

    def adopt(self, other: Batches, datasets: Sequence[str]) -> None:
        """Copy every landing of datasets from another home, with its time of landing.

        Files are linked if the disk supports it. Removed ones are left out. A repeated call adds new landings.
        """
        query = sa.select(BATCHES).where(BATCHES.c.dataset.in_(datasets), BATCHES.c.removed_at.is_(None))
        with reading(other.engine) as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            self.files.adopt(other.files, row["path"])
        with writing(self.engine, BATCHES) as connection:
            present = set(connection.scalars(sa.select(BATCHES.c.sequence)))
            if new := [row for row in rows if row["sequence"] not in present]:
                connection.execute(sa.insert(BATCHES), new)

    def newest(self, dataset: str, window: Window) -> BatchRef | None:
        """The newest revision of a window, None if it was never landed."""
        query = sa.select(BATCHES).where(
            BATCHES.c.dataset == dataset, BATCHES.c.start == moment(window.start), BATCHES.c.end == moment(window.end)
        )
        with reading(self.engine) as connection:
            row = connection.execute(query.order_by(BATCHES.c.revision.desc()).limit(1)).first()
        return None if row is None else as_ref(row)

    def last(self, dataset: str) -> BatchRef | None:
        """The last landing of a dataset, in any window; None without one."""
        query = sa.select(BATCHES).where(BATCHES.c.dataset == dataset)
        if self.known_until is not None:
            query = query.where(BATCHES.c.recorded_at <= self.known_until())
        with reading(self.engine) as connection:
            row = connection.execute(query.order_by(BATCHES.c.sequence.desc()).limit(1)).first()
        return None if row is None else as_ref(row)

    def state(self, dataset: str, window: Window, revision: int, sha256: str) -> Literal["right", "changed", "gone"]:
        """Whether a once landed revision still exists with the content of that digest."""
        span = (BATCHES.c.start == moment(window.start)) & (BATCHES.c.end == moment(window.end))
        query = sa.select(BATCHES).where(BATCHES.c.dataset == dataset, span, BATCHES.c.revision == revision)
        with reading(self.engine) as connection:
            row = connection.execute(query).first()
        if row is None or row.removed_at is not None or not self.files.exists(row.path):
            return "gone"
        try:
            return "right" if parquet.digest_of_file(self.at(row.path)) == sha256 else "changed"
        except FilesUnavailable:
            raise
        except WorkError:
            return "changed"

    def batch(self, sequence: int) -> BatchRef:
        """The landing with a sequence number. Raises WorkError if it does not exist, or its retention is over."""
        return self._one(f"landing {sequence}", BATCHES.c.sequence == sequence)

    def revision(self, dataset: str, window: Window, revision: int) -> BatchRef:
        """A revision of a window. Raises WorkError if it does not exist, or its retention is over."""
        of = (
            BATCHES.c.dataset == dataset,
            BATCHES.c.start == moment(window.start),
            BATCHES.c.end == moment(window.end),
        )
        return self._one(f"revision {revision} of {dataset} {window}", *of, BATCHES.c.revision == revision)

    def _one(self, name: str, *chosen: sa.ColumnElement[bool]) -> BatchRef:
        with reading(self.engine) as connection:
            row = connection.execute(sa.select(BATCHES).where(*chosen)).first()
        if row is None:
            raise WorkError(f"there is no {name} in this home; check that TRUEUP_HOME is the right one")
        if row.removed_at is not None:
            raise WorkError(
                f"{name} ({row.dataset} {window_of(row)} r{row.revision}) was removed on "
                f"{row.removed_at:%Y-%m-%d}, when its `retention.snapshots` was over; a backup of before may have it"
            )
        return as_ref(row)

    def read(
        self, refs: BatchRef | Sequence[BatchRef], columns: Sequence[str] | None = None, verify: bool = False
    ) -> pd.DataFrame:
        """Read and concatenate batches, all columns or the named ones; a column that some lack is missing there.

        `verify` checks each file against its digest. Raises WorkError if a file is missing or was changed, or if no
        batch has a column.
        """
        chosen = [refs] if isinstance(refs, BatchRef) else list(refs)
        return read_tables(self._tables(chosen, columns, verify), columns)

    def landed_rows(self, ref: BatchRef) -> pd.DataFrame | LandedRows:
        """All rows of a batch: a frame, or for a large batch its file, of which parts are read. Raises WorkError."""
        return self.read(ref) if ref.rows <= AT_ONCE else LandedRows(self.at(ref.path), ref.rows)

    def columns(self, ref: BatchRef) -> list[str]:
        """Names of a batch's columns, without reading them. Raises WorkError."""
        if ref.path not in self._columns:
            self._columns[ref.path] = parquet.columns(self.at(ref.path))
        return self._columns[ref.path]

    def types(self, ref: BatchRef) -> dict[str, str]:
        """Types of a batch's columns as Parquet has them, such as `int64`. Raises WorkError."""
        kinds = {field.name: field.type for field in parquet.without_rows(self.at(ref.path)).schema}
        return {n: str(k.value_type if pa.types.is_dictionary(k) else k) for n, k in kinds.items()}

    def statistics(self, ref: BatchRef) -> dict[str, dict[str, float]]:
        """Missing values, minimum and maximum of a batch's columns, as its file has them. Raises WorkError."""
        return parquet.statistics(self.at(ref.path))

    def _tables(self, refs: Sequence[BatchRef], columns: Sequence[str] | None, verify: bool = False) -> list[pa.Table]:
        tables = [self._table(ref, columns, verify) for ref in refs]
        texts = {field.name for table in tables for field in table.schema if parquet.is_text(field.type)}
        return [parquet.with_booleans(t, booleans(ref) & texts) for t, ref in zip(tables, refs, strict=True)]

    def _table(self, ref: BatchRef, columns: Sequence[str] | None, verify: bool = False) -> pa.Table:
        table = parquet.read(self.at(ref.path), None if verify else columns, fresh=verify)
        if verify and parquet.digest(table) != ref.sha256:
            raise WorkError(
                f"{self.at(ref.path)} is not what was landed: its digest differs from the recorded one; restore it "
                "from a backup, or remove it and ingest its window again"
            )
        return table if columns is None else table.select([c for c in columns if c in table.column_names])


def read_tables(
    tables: Sequence[pa.Table], columns: Sequence[str] | None, without: Sequence[npt.NDArray[np.int64]] | None = None
) -> pd.DataFrame:
    """Concatenate tables to a frame, without the given row ids of each table."""
    if not tables:
        return empty(columns or [])
    if without is not None:
        tables = [without_rows(table, ids) for table, ids in zip(tables, without, strict=True)]
    table = parquet.concat(tables)
    if absent := [c for c in columns or [] if c not in table.column_names]:
        raise WorkError(
            f"no column {', '.join(absent)} was landed in any of these batches; add it to the source and to the config, "
            "and ingest again"
        )
    return parquet.to_pandas(table if columns is None else table.select(list(columns)))


def without_rows(table: pa.Table, ids: npt.NDArray[np.int64]) -> pa.Table:
    """A table without the rows of these ids."""
    return table.filter(pc.invert(pc.is_in(table[ROW_ID], pa.array(ids)))) if len(ids) else table


def booleans(ref: BatchRef) -> set[str]:
    """Columns of a batch that hold booleans, which are stored as 1 and 0."""
    return {name for name, kind in ref.facts.get("kinds", {}).items() if kind == "boolean"}


def empty(columns: Sequence[str]) -> pd.DataFrame:
    """A frame without rows but with typed standard columns, so that it can be joined with others."""
    return pd.DataFrame({name: pd.Series(dtype=_OWN_TYPES.get(name, "object")) for name in columns})


def as_ref(row: sa.Row[Any]) -> BatchRef:
    """The reference for a row of `batches`."""
    facts = json.loads(row.facts)
    return BatchRef(row.dataset, window_of(row), row.revision, row.sequence, row.path, row.sha256, row.rows, facts)


def _row(ref: BatchRef) -> Mapping[str, object]:
    return {
        "sequence": ref.sequence,
        "dataset": ref.dataset,
        "start": moment(ref.window.start),
        "end": moment(ref.window.end),
        "revision": ref.revision,
        "path": ref.path,
        "sha256": ref.sha256,
        "rows": ref.rows,
        "facts": as_json(ref.facts),
    }
