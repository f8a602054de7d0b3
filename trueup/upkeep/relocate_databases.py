"""Moves the databases of a home that was restored or is moved to the places in the settings.

All their rows are loaded into the databases of the settings in one transaction each, and unused files are removed.
Prefect's history is not moved, because no proof depends on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from trueup.adapters.sql.copy import loaded_into
from trueup.adapters.sql.engines import create, database_file, opened
from trueup.adapters.store.tables import metadata
from trueup.audit.verify import tag_of
from trueup.config.settings import Settings
from trueup.errors import UsageError
from trueup.home import HOME_TAG, identity_of
from trueup.ledger.tables import METADATA
from trueup.secrecy import masked

LEDGER, MLFLOW, PREFECT = "ledger and store", "MLflow", "Prefect"
FILES: Final = {LEDGER: "trueup.db", MLFLOW: "mlflow.db", PREFECT: "prefect/prefect.db"}  # in a home


@dataclass(frozen=True)
class Brought:
    """Databases that were filled, and parts of the backup that were not moved."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """Addresses of a home's databases, and what its rows in MLflow name."""

    ledger: str
    mlflow: str | None  # None if it stays where it is
    artifacts: str  # MLflow's folder or address of files
    identity: str  # the home's


def bring(fresh: Path, settings: Settings, artifacts: str, elsewhere: Collection[str]) -> Brought:
    """Move the databases in the folder `fresh`, which will become the settings' home, to their places.

    `artifacts` is where MLflow kept files. `elsewhere` lists what was not in the backup's home: files of these in the
    backup are outdated. Raises UsageError for a place that is in use, WorkError if one cannot be filled.
    """
    places = {LEDGER: settings.database, MLFLOW: settings.mlflow_store, PREFECT: settings.prefect_database_url}
    away = {
        what: place
        for what, name in FILES.items()
        if (fresh / name).exists() and not any(place.startswith(f"{what}: ") for place in elsewhere)
        if (place := places[what]) is not None and _is_another(place, settings.root, name)
    }
    mlflow, before = fresh / FILES[MLFLOW], f"sqlite:///{fresh / FILES[LEDGER]}"
    after = away.get(LEDGER, before)
    moves = LEDGER in away
    old_id, new_id = (identity_of(url, fresh) if moves else "" for url in (before, after))
    old = Named(before, f"sqlite:///{mlflow}" if mlflow.exists() else None, artifacts, old_id)
    load(old, Named(after, old.mlflow and away.get(MLFLOW, old.mlflow), settings.artifact_root, new_id))
    for what in away:
        for file in (fresh / FILES[what]).parent.glob(f"{Path(FILES[what]).name}*"):
            file.unlink()
    left = [f"{PREFECT}'s history; `trueup up` deploys again into {masked(away[PREFECT])}"] if PREFECT in away else []
    return Brought(tuple(f"{what}: {masked(url)}" for what, url in away.items() if what != PREFECT), tuple(left))


def load(old: Named, new: Named) -> None:
    """Load the rows of databases into others, and let MLflow's rows name the new places; all or nothing of each.

    A database with the same address before and after is already there. Raises UsageError for one that is in use,
    WorkError if one cannot be filled.
    """
    with ExitStack() as until_all_is_loaded:
        if old.ledger != new.ledger:
            until_all_is_loaded.enter_context(_ledger_in(new.ledger, old.ledger))
        if old.mlflow is not None and new.mlflow is not None:
            rows = until_all_is_loaded.enter_context(_mlflow_in(new.mlflow, old.mlflow))
            _set_right(rows, old, new)


def is_inside(home: Path, place: str) -> bool:
    """Whether an address or a folder is inside the home."""
    if not place.startswith("sqlite"):
        return "://" not in place and Path(place).resolve().is_relative_to(home)
    file = database_file(sa.make_url(place))
    return file is not None and file.resolve().is_relative_to(home)


def _is_another(place: str, home: Path, name: str) -> bool:
    """Whether a place is another database than the home's own of that name."""
    if not place.startswith(("sqlite", "postgres")):
        return False
    if not is_inside(home, place):
        return True
    if Path(sa.make_url(place).database or "").resolve() != home / name:
        raise UsageError(f"{place} is inside the home to restore; use a place outside of {home}")
    return False


def _set_right(rows: sa.Connection, old: Named, new: Named) -> None:
    """Update the paths of files and the home in MLflow's rows."""
    from trueup.adapters.mlflow.database import move_artifacts, rename_tags

    if old.artifacts != new.artifacts:
        move_artifacts(rows, old.artifacts, new.artifacts)
    if old.identity != new.identity:
        rename_tags(rows, (HOME_TAG, old.identity, new.identity), (tag_of(old.identity), tag_of(new.identity)))


@contextmanager
def _ledger_in(place: str, before: str) -> Iterator[None]:
    with opened(before) as source, opened(place) as target:
        # the source may lack a newer table or column, and may be closed for writing
        for tables in (METADATA, metadata):
            for database in (source, target):
                create(database, tables)
        with loaded_into(target, source, [*METADATA.sorted_tables, *metadata.sorted_tables]):
            yield


@contextmanager
def _mlflow_in(place: str, before: str) -> Iterator[sa.Connection]:
    from trueup.adapters.mlflow.database import mlflow_loaded_into

    with ExitStack() as databases:
        target = databases.enter_context(opened(place))
        if place == before:
            yield databases.enter_context(target.begin())
        else:
            yield databases.enter_context(mlflow_loaded_into(target, databases.enter_context(opened(before))))
