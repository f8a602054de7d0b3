"""What must hold at every moment and after every crash."""

from __future__ import annotations

from typing import Any

from tests.story import window
from trueup.domain.types import ROW_ID
from trueup.home import HOME_TAG, Home
from trueup.model import Model


def acknowledged(home: Home, weeks: int) -> dict[str, list[Any]]:
    """All that must never be lost, in the order in which it was recorded."""
    store = home.store
    predictions = [store.read_predictions("toy", window(w), columns=[ROW_ID])[ROW_ID].tolist() for w in range(weeks)]
    decisions = [e.hash for e in home.ledger.entries("toy")]  # which makes the tables of a new home
    with home.engine.connect() as connection:
        told = connection.exec_driver_sql("SELECT event_id FROM outbox ORDER BY id").all()
    return {
        "decisions": decisions,
        "events": [row.event_id for row in told],
        "landed": [r.sha256 for r in store.batches("toy/rows")],
        "predictions": [row for found in predictions for row in found],
        "handled": [r.window for r in store.results("toy", "run", dict)],
    }


def require_nothing_lost(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> None:
    """What was acknowledged is still there, in its order."""
    for what, known in before.items():
        assert after[what][: len(known)] == known, what


def require_sound(model: Model) -> None:
    """The ledger is whole, its one champion loads with the digest that it has, and no row has two predictions."""
    assert model.home.ledger.verify() == []
    with model.home.engine.connect() as connection:
        champions = connection.exec_driver_sql(
            "SELECT version, manifest_digest FROM champions c WHERE model = 'toy' AND epoch = "
            "(SELECT max(epoch) FROM champions WHERE model = c.model)"
        ).all()
    current = model.champion()
    assert champions == ([(current.version, current.manifest_digest)] if current else [])
    if current:
        current.load(model.home)  # checks the files against the ledger's digest
    for ref in model.home.store.batches("toy/rows"):
        served = model.home.store.read_predictions("toy", ref.window, columns=[ROW_ID])[ROW_ID]
        assert served.is_unique
        assert served.isin(model.home.store.effective(ref, [ROW_ID])[ROW_ID]).all()


def require_settled(model: Model) -> None:
    """What is so once somebody has reconciled: MLflow's alias agrees, and no run of a dead process is open."""
    require_sound(model)
    current = model.champion()
    assert model.home.registry.champion_alias(model.config.registered_name) == (current.version if current else None)
    assert model.home.tracking.open_runs("toy", {HOME_TAG: model.home.identity}) == []
