"""Checks a home after processes were killed; each problem is one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from tests.stack import Stack
from trueup.adapters.sql.engines import reading
from trueup.domain.types import EVENT_TIME, ROW_ID, Window
from trueup.home import HOME_TAG, Home
from trueup.ledger.tables import OUTBOX
from trueup.model import Model

UNFINISHED = ("RUNNING", "PENDING", "CANCELLING", "PAUSED")
_PAGE = 200


def problems(model: Model, stack: Stack, released: pd.DataFrame, windows: Sequence[Window]) -> list[str]:
    """Check everything. `released` is what the source released, by `windows`; no process may be running any more."""
    looks = (
        _landed(model, released, windows),
        _scored(model),
        _watched(model, windows),
        _decided(model),
        _delivered(model.home, stack),
        _ended(stack),
    )
    return [problem for look in looks for problem in look]


def _landed(model: Model, released: pd.DataFrame, windows: Sequence[Window]) -> Iterator[str]:
    """Every batch has landed once, with every row once."""
    for dataset in (model.config.rows_dataset, model.config.labels_dataset):
        refs = model.home.store.batches(dataset)
        if [r.window for r in refs] != list(windows):
            yield f"{dataset}: {len(refs)} batches were landed of {len(windows)}"
        if again := [r.name for r in refs if r.revision != 1]:
            yield f"{dataset}: landed more than once: {', '.join(again)}"
    rows = model.home.store.read(
        model.home.store.batches(model.config.rows_dataset), model.config.ingest.key, verify=True
    )
    key = model.config.ingest.key
    if sorted(map(tuple, rows[key].to_numpy())) != sorted(map(tuple, released[key].astype(str).to_numpy())):
        yield f"{len(rows)} rows were landed of {len(released)}, or others"


def _scored(model: Model) -> Iterator[str]:
    """Every row of a batch that a champion could score has one prediction."""
    first = model.first_champion()
    if first is None:
        yield "there never was a champion"
        return
    for ref in model.home.store.batches(model.config.rows_dataset):
        served = model.home.store.read_predictions(model.config.model, ref.window, columns=[ROW_ID])[ROW_ID]
        rows = model.home.store.effective(ref, [ROW_ID, EVENT_TIME])
        wanted = rows.loc[rows[EVENT_TIME] >= first.trained_until, ROW_ID]
        before = ref.window.end <= first.promoted_as_of
        if not served.is_unique or not served.isin(rows[ROW_ID]).all():
            yield f"{ref.name}: {len(served)} predictions, {served.nunique()} rows with one, of {len(rows)}"
        elif not before and not wanted.isin(served).all():
            yield f"{ref.name}: {len(wanted) - len(served)} rows without a prediction"


def _watched(model: Model, windows: Sequence[Window]) -> Iterator[str]:
    """Every batch was handled once, and validated and monitored before."""
    handled = Counter(r.window for r in model.home.store.results(model.config.model, "run", dict))
    if missing := [w for w in windows if w not in handled]:
        yield f"{len(missing)} batches were never handled, the first {missing[0]}"
    if again := [str(w) for w, n in handled.items() if n > 1]:
        yield f"handled more than once: {', '.join(again)}"
    judged = Counter(r.window for r in model.home.store.results(model.config.model, "validate", dict))
    if wrong := [str(w) for w in windows if judged[w] != 1]:
        yield f"not validated once: {', '.join(wrong)}"
    first, monitored, others = model.first_champion(), looks(model), served_by_others(model)
    after = [w for w in windows if first is not None and w.end > first.promoted_as_of]
    if wrong := [str(w) for w in after if monitored[w] != 1 and not (monitored[w] == 0 and w in others)]:
        yield f"not monitored once: {', '.join(wrong)}"


def looks(model: Model) -> Counter[Window]:
    """How often each batch was monitored with enough labels."""
    return Counter(
        r.window
        for r in model.home.store.results(model.config.model, "monitor", dict)
        if r.body["diagnosis"] != "unknown"
    )


def served_by_others(model: Model) -> set[Window]:
    """Batches that an earlier champion had served when the current one was monitored, which say nothing about it."""
    return {r.window for r in model.home.store.results(model.config.model, "monitor", dict) if r.body.get("of_others")}


def _decided(model: Model) -> Iterator[str]:
    """The ledger verifies; MLflow names its champion with the promoted files; no run is open."""
    yield from (f"ledger: {problem}" for problem in model.home.ledger.verify())
    current = model.champion()
    if current is None:
        return
    if (alias := model.home.registry.champion_alias(model.config.registered_name)) != current.version:
        yield f"the alias names version {alias}, the ledger {current.version}"
    current.load(model.home)
    if open_runs := model.home.tracking.open_runs(model.config.model, {HOME_TAG: model.home.identity}):
        yield f"{len(open_runs)} runs were left open in MLflow"


def _delivered(home: Home, stack: Stack) -> Iterator[str]:
    """No event waits, and the server has each event once."""
    if waiting := home.ledger.pending_outbox():
        yield f"{len(waiting)} events wait in the outbox"
    with reading(home.engine) as connection:
        ours = list(connection.scalars(sa.select(OUTBOX.c.event_id)))
    have = Counter(e["id"] for e in events(stack))
    if lost := [i for i in ours if not have[i]]:
        yield f"{len(lost)} of {len(ours)} events are not on the server"
    if twice := [i for i in ours if have[i] > 1]:
        yield f"{len(twice)} events are on the server more than once"


def events(stack: Stack) -> list[dict[str, Any]]:
    """All events of ours that the server has."""
    body = {"filter": {"resource": {"id_prefix": ["trueup.model."]}, "order": "ASC"}, "limit": 50}
    page = stack.ask("/events/filter", body)
    collected = page["events"]
    while page["next_page"]:
        page = stack.ask(page["next_page"].split("/api", 1)[1])
        collected += page["events"]
    return list(collected)


def _ended(stack: Stack) -> Iterator[str]:
    """No flow or task run seems to be running."""
    for what in ("flow_runs", "task_runs"):
        if left := all_runs(stack, {what: {"state": {"type": {"any_": list(UNFINISHED)}}}}, what):
            names = Counter(f"{r['name']} {r['state']['name']}" for r in left)
            yield f"{what} left: " + ", ".join(f"{n} {name}" for name, n in names.items())


def all_runs(stack: Stack, body: dict[str, Any], what: str = "flow_runs") -> list[dict[str, Any]]:
    """All matching flow or task runs, in the order of their start times."""
    runs: list[dict[str, Any]] = []
    order = {"sort": "EXPECTED_START_TIME_ASC"}
    while True:
        page = stack.ask(f"/{what}/filter", {**body, **order, "limit": _PAGE, "offset": len(runs)})
        runs += page
        if len(page) < _PAGE:
            return runs
