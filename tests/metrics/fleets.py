"""Homes with many models, made of copies of one: the records of its turns under other names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from trueup.adapters.store.tables import RESULTS
from trueup.home import Home
from trueup.ledger.tables import CHAMPIONS, DECISIONS, OUTBOX


def copy_model(home: Home, model: str, names: list[str], times: int = 1) -> None:
    """Record all results and decisions of a model again for others; `times` repeats each result for earlier days.

    The chain of hashes is not continued: only what reads the records can be tried with them.
    """
    config = (home.configs / f"{model}.yaml").read_text()
    for name in names:
        (home.configs / f"{name}.yaml").write_text(config.replace(f"model: {model}", f"model: {name}"))
    with home.engine.begin() as connection:
        results = [dict(r) for r in connection.execute(sa.select(RESULTS).where(RESULTS.c.model == model)).mappings()]
        of_model = sa.select(DECISIONS).where(DECISIONS.c.model == model)
        decisions = [dict(r) for r in connection.execute(of_model).mappings()]
        champions = {r["seq"]: dict(r) for r in connection.execute(sa.select(CHAMPIONS)).mappings()}
        events = [dict(r) for r in connection.execute(sa.select(OUTBOX).where(OUTBOX.c.model == model)).mappings()]
        seq = connection.scalar(sa.select(sa.func.max(DECISIONS.c.seq))) or 0
        for name in names:
            for row in results:
                copies = [_copied(row, name, i) for i in range(times)]
                connection.execute(sa.insert(RESULTS), copies)
            for row in decisions:
                seq += 1
                identity = row["decision_id"].replace(model, name, 1)
                connection.execute(
                    sa.insert(DECISIONS).values({**row, "model": name, "seq": seq, "decision_id": identity})
                )
                if (champion := champions.get(row["seq"])) is not None:
                    connection.execute(sa.insert(CHAMPIONS).values({**champion, "model": name, "seq": seq}))
            for row in events:
                left = {k: v for k, v in row.items() if k != "id"}
                event = f"{name}:{row['event_id']}"
                connection.execute(sa.insert(OUTBOX).values({**left, "model": name, "event_id": event, "seq": None}))


def _copied(row: dict[str, Any], name: str, earlier: int) -> dict[str, Any]:
    """A result under another name, some hundreds of days earlier."""
    left = {k: v for k, v in row.items() if k not in {"id", "recorded_at"}}
    span = timedelta(days=100 * earlier)
    return {**left, "model": name, **{moment: row[moment] - span for moment in ("start", "end", "as_of")}}
