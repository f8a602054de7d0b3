"""The ledger's tables. Decisions and champions can only be appended to; the database refuses anything else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

METADATA = sa.MetaData()

# Moments are kept as ISO text: what was hashed is what comes back, in every database.
DECISIONS = sa.Table(
    "decisions",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, ... without a gap
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("decision_id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Text, nullable=False),  # wall clock, UTC
    sa.Column("as_of", sa.Text, nullable=False),  # the model's own clock, without offset
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # canonical JSON
    sa.Column("key_id", sa.Text),  # of the key that signed the hash; empty without a signer
    sa.Column("signature", sa.Text),
    sa.Index("decisions_by_model", "model", "seq"),
)

# One row a promotion. The newest epoch of a model is its champion; the key admits one winner an epoch.
CHAMPIONS = sa.Table(
    "champions",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("manifest_digest", sa.Text, nullable=False),
    sa.Column("seq", sa.Integer, sa.ForeignKey(DECISIONS.c.seq), nullable=False, unique=True),
)

_UNTOLD = sa.text("delivered_at IS NULL OR notified_at IS NULL")
OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False, unique=True),
    sa.Column("seq", sa.Integer, sa.ForeignKey(DECISIONS.c.seq)),  # of its decision, if it has one
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),  # canonical JSON
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("delivered_at", sa.Text),  # to the event server
    sa.Column("notified_at", sa.Text),  # to people, or skipped because it concerns nobody
    # Pending events only: an append writes one page of this index, and a delivered event leaves it.
    sa.Index("outbox_untold", "id", sqlite_where=_UNTOLD, postgresql_where=_UNTOLD),
)

# Addresses that have received an event that others still wait for. An address holds secrets, so its digest is kept.
SENT_NOTICES = sa.Table(
    "told",
    METADATA,
    sa.Column("message", sa.Integer, primary_key=True, autoincrement=False),  # its id in the outbox
    sa.Column("address", sa.Text, primary_key=True),
)


_GUARDS = {
    "sqlite": (
        "CREATE TRIGGER {name}_no_update BEFORE UPDATE ON {name} BEGIN SELECT RAISE(ABORT, '{why}'); END",
        "CREATE TRIGGER {name}_no_delete BEFORE DELETE ON {name} BEGIN SELECT RAISE(ABORT, '{why}'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION {name}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '{why}'; END $$",
        "CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION {name}_append_only()",
    ),
}


@sa.event.listens_for(METADATA, "after_create")
def _refuse_changes(
    _metadata: sa.MetaData, connection: sa.Connection, tables: Collection[sa.Table] | None = None, **_: Any
) -> None:
    """Let the database refuse changes to appended rows. This prevents mistakes, not fraud by its owner."""
    for table in {DECISIONS, CHAMPIONS} & set(tables or ()):
        for statement in _GUARDS.get(connection.dialect.name, ()):
            why = f"{table.name} can only be appended to"
            connection.exec_driver_sql(statement.format(name=table.name, why=why))
