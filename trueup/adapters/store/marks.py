"""Two looks before a file is removed: the first marks it, and a later one removes it if it is still unneeded.

Machines share a home on PostgreSQL, and a run on another one may have begun to use a file just before it was found to be
unneeded. Marks are rows with the time of the database's clock, so it does not matter what the machines' clocks show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import sqlalchemy as sa

from trueup.adapters.files.port import Entry
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.tables import MARKED, Shelf

_AT_ONCE = 500  # rows in one statement


class Marks(Shelf):
    """Remembers since when files are unneeded."""

    def ripe(self, kind: str, unneeded: Iterable[Entry], wait: timedelta, dry_run: bool = False) -> list[Entry]:
        """The files that were found unneeded `wait` ago, too.

        `unneeded` are all unneeded files of a kind: new ones are marked, and marks of others are forgotten, because they
        are in use again. Without a wait all files are ripe. With `dry_run` all count, and nothing is marked.
        """
        if dry_run or not wait:
            return list(unneeded)
        with writing(self.engine, MARKED) as connection:
            return self._ripe(connection, kind, unneeded, wait)

    def _ripe(self, connection: sa.Connection, kind: str, unneeded: Iterable[Entry], wait: timedelta) -> list[Entry]:
        entries = {entry.key: entry for entry in unneeded}
        clock = sa.type_coerce(sa.func.current_timestamp(), sa.DateTime)
        now = connection.execute(sa.select(clock)).scalar_one().replace(tzinfo=None)
        rows = connection.execute(sa.select(MARKED.c.key, MARKED.c.marked_at).where(MARKED.c.kind == kind)).all()
        since = {row.key: row.marked_at for row in rows}
        ripe = [key for key in entries if key in since and since[key] <= now - wait]
        for part in _parts([*(since.keys() - entries.keys()), *ripe]):
            connection.execute(sa.delete(MARKED).where(MARKED.c.kind == kind, MARKED.c.key.in_(part)))
        if new := [{"kind": kind, "key": key} for key in sorted(entries.keys() - since.keys())]:
            connection.execute(sa.insert(MARKED), new)
        return [entries[key] for key in ripe]

    def marked(self, kinds: str) -> int:
        """How many files are marked of the kinds that begin so."""
        query = sa.select(sa.func.count()).where(MARKED.c.kind.startswith(kinds, autoescape=True))
        with reading(self.engine) as connection:
            return connection.scalar(query) or 0


def _parts(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
