"""Quarantine: rows that failed validation stay landed, are recorded with their reasons, and are not used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from trueup.adapters import parquet
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.batches import Batches, booleans, read_tables, without_rows
from trueup.adapters.store.tables import QUARANTINE, RELEASES, folder_name, until_it_holds
from trueup.domain.data.digest import digest_of
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Batch, BatchRef

EXPECTATION = "expectation"


class Quarantine(Batches):
    """Quarantined rows of batches. The newest judgement counts, and a release holds for its revision only."""

    def quarantine(self, ref: BatchRef, failures: pd.DataFrame) -> None:
        """Record a row of `failures` per `row_id` and `expectation`; an empty frame clears the batch. Idempotent."""
        chosen = failures[[ROW_ID, EXPECTATION]].astype({ROW_ID: np.int64, EXPECTATION: str})
        table = parquet.to_table(chosen.drop_duplicates().sort_values([ROW_ID, EXPECTATION]))
        digest = parquet.digest(table)
        path = f"quarantine/{folder_name(ref.dataset)}/{ref.sequence}-{digest[:32]}.parquet"

        def judge() -> None:
            newest = self._judgement(ref)
            if (newest is None and not table.num_rows) or (newest is not None and newest.sha256 == digest):
                return
            parquet.write(table, self.at(path))
            row = {"path": path, "sha256": digest, "rows": table.num_rows, "sequence": ref.sequence}
            with writing(self.engine) as connection:
                number = 1 if newest is None else newest.judgement + 1
                connection.execute(sa.insert(QUARANTINE).values(judgement=number, **row))
                if not self.files.exists(path):  # an old file of the same content, removed meanwhile
                    parquet.write(table, self.at(path))

        until_it_holds(judge)

    def quarantined(self, ref: BatchRef, released: bool = False) -> pd.DataFrame:
        """A batch's failures in quarantine, a row per `row_id` and `expectation`, or with `released` the released ones."""
        newest = self._judgement(ref)
        if newest is None:
            return pd.DataFrame({ROW_ID: pd.Series(dtype=np.int64), EXPECTATION: pd.Series(dtype=object)})
        failures = parquet.to_pandas(parquet.read(self.at(newest.path))).astype({ROW_ID: np.int64, EXPECTATION: object})
        return failures[failures[ROW_ID].isin(self._released(ref)) == released].reset_index(drop=True)

    def release(self, ref: BatchRef, row_ids: Iterable[int] | None, by: str, why: str) -> int:
        """Release rows of a batch (None: all in quarantine). Returns the number of newly released rows."""
        wanted = None if row_ids is None else np.array(list(row_ids), dtype=np.int64)

        def save() -> int:
            quarantined = self.quarantined_ids(ref)
            chosen = quarantined if wanted is None else np.intersect1d(quarantined, wanted)
            rows = [{"sequence": ref.sequence, "row_id": i, "by": by, "why": why} for i in chosen.tolist()]
            if rows:
                with writing(self.engine) as connection:
                    connection.execute(sa.insert(RELEASES), rows)
            return len(rows)

        return until_it_holds(save)

    def with_releases(self, refs: Sequence[BatchRef]) -> set[int]:
        """The sequence numbers of those batches with any release."""
        with reading(self.engine) as connection:
            sequences = connection.scalars(sa.select(RELEASES.c.sequence).distinct()).all()
        return set(sequences) & {ref.sequence for ref in refs}

    def effective(self, refs: BatchRef | Sequence[BatchRef], columns: Sequence[str] | None = None) -> pd.DataFrame:
        chosen = [refs] if isinstance(refs, BatchRef) else list(refs)
        named = None if columns is None else list(dict.fromkeys([ROW_ID, *columns]))
        rows = read_tables(self._tables(chosen, named), named, self.quarantined_ids_each(chosen))
        return rows if columns is None else rows[list(columns)]

    def effective_chunks(self, ref: BatchRef, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """Yield what `effective` returns in frames of at most so many rows, in the same order.

        A column of whole numbers with missing ones has floats only in the chunks that lack one.
        """
        ids = [self.quarantined_ids(ref)]
        for table in parquet.chunks(self.at(ref.path), list(dict.fromkeys([ROW_ID, *columns])), rows):
            yield read_tables([table], columns, ids)

    def labelled(
        self, batches: Sequence[Batch], columns: Sequence[str], between: tuple[datetime, datetime] | None = None
    ) -> pd.DataFrame:
        """The rows of `effective` that have a label: `columns`, `event_time`, `label` and `known_at`, batch after batch.

        `between` two moments leaves out the labels that became known later, or before with their row.
        """
        refs = [batch.rows for batch in batches]
        texts = {
            field.name
            for ref in refs
            for field in parquet.without_rows(self.at(ref.path)).schema
            if parquet.is_text(field.type)
        }
        parts = []
        for batch, ids in zip(
            batches, self.quarantined_ids_each(refs), strict=True
        ):  # one by one: a join holds both sides
            labels = parquet.read(self.at(batch.labels.path), [ROW_ID, EVENT_TIME, LABEL, KNOWN_AT])
            labels = labels if between is None else labels.filter(pa.array(_known_between(labels, *between)))
            rows = without_rows(self._table(batch.rows, [ROW_ID, *columns]), ids)
            places = pc.index_in(labels[ROW_ID], value_set=rows[ROW_ID])
            rows = parquet.with_booleans(rows, booleans(batch.rows) & texts).take(places.drop_null())
            labels = labels.filter(pc.is_valid(places)).select([EVENT_TIME, LABEL, KNOWN_AT])
            parts.append(pa.table({**_columns(rows.drop([ROW_ID])), **_columns(labels)}))
        return read_tables(parts, [*columns, EVENT_TIME, LABEL, KNOWN_AT])

    def quarantined_ids(self, ref: BatchRef) -> npt.NDArray[np.int64]:
        """Return the ids of a batch's rows that are in quarantine and were not released."""
        return self.quarantined_ids_each([ref])[0]

    def quarantined_ids_each(self, refs: Sequence[BatchRef]) -> list[npt.NDArray[np.int64]]:
        """Return for each batch the ids of its rows that are in quarantine and were not released."""
        judged = self._judged(refs)
        none = np.array([], dtype=np.int64)
        return [
            np.setdiff1d(self._failed(str(judged[r.sequence].path)), self._released(r))
            if r.sequence in judged
            else none
            for r in refs
        ]

    def recorded_quarantine(self, ref: BatchRef, digest: str) -> npt.NDArray[np.int64] | None:
        """The ids that `quarantined_ids` returned when their digest was this, whatever was judged or released since.

        Returns None if there is no such moment; releases of the same second count as one.
        """
        with reading(self.engine) as connection:
            judged = connection.scalars(sa.select(QUARANTINE.c.path).where(QUARANTINE.c.sequence == ref.sequence)).all()
            let_go = connection.execute(sa.select(RELEASES).where(RELEASES.c.sequence == ref.sequence)).all()
        moments = [None, *sorted({row.recorded_at for row in let_go})]
        for path in [None, *judged]:
            failed = self._failed(path) if path else np.array([], dtype=np.int64)
            for moment in moments:
                gone = [row.row_id for row in let_go if moment is not None and row.recorded_at <= moment]
                ids = np.setdiff1d(failed, np.array(gone, dtype=np.int64))
                if digest_of(ids.tolist()) == digest:
                    return ids
        return None

    def judgement(self, ref: BatchRef) -> str:
        """Return the digest of the judgement that counts; empty when no row of the batch was ever in quarantine."""
        return self.judgements([ref])[0]

    def judgements(self, refs: Sequence[BatchRef]) -> list[str]:
        """Return `judgement` of each batch."""
        judged = self._judged(refs)
        return [str(judged[r.sequence].sha256) if r.sequence in judged else "" for r in refs]

    def _failed(self, path: str) -> npt.NDArray[np.int64]:
        return np.unique(parquet.read(self.at(path), [ROW_ID])[ROW_ID].to_numpy().astype(np.int64))

    def _judgement(self, ref: BatchRef) -> sa.Row[Any] | None:
        return self._judged([ref]).get(ref.sequence)

    def _judged(self, refs: Sequence[BatchRef]) -> dict[int, sa.Row[Any]]:
        """Return the newest judgement of each batch that has one, by the batch's sequence number."""
        numbers = [ref.sequence for ref in refs]
        if not numbers:
            return {}
        query = sa.select(QUARANTINE).where(QUARANTINE.c.sequence.between(min(numbers), max(numbers)))
        with reading(self.engine) as connection:
            return {row.sequence: row for row in connection.execute(query.order_by(QUARANTINE.c.judgement))}

    def _released(self, ref: BatchRef) -> npt.NDArray[np.int64]:
        with reading(self.engine) as connection:
            row_ids = connection.scalars(sa.select(RELEASES.c.row_id).where(RELEASES.c.sequence == ref.sequence)).all()
        return np.array(row_ids, dtype=np.int64)


def _known_between(labels: pa.Table, since: datetime, until: datetime) -> npt.NDArray[np.bool_]:
    known, happened = (labels[name].to_numpy() for name in (KNOWN_AT, EVENT_TIME))
    first, last = np.datetime64(since, "us"), np.datetime64(until, "us")
    seen: npt.NDArray[np.bool_] = (known < last) & ((known >= first) | (happened >= first))
    return seen


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))
