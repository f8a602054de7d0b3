"""Moves the databases of a restored home to the places in the settings.

All their rows are loaded into the databases of the settings in one transaction, and unused files are removed. Prefect's
history is not moved, because no proof depends on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from trueup.adapters.sql.copy import loaded_into
from trueup.adapters.sql.engines import connect, database_file, initialise
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
    if (fresh / FILES[MLFLOW]).exists():
        _set_right(fresh, settings, artifacts, LEDGER in away)
    with ExitStack() as until_all_is_loaded:
        if LEDGER in away:
            until_all_is_loaded.enter_context(_ledger_in(away[LEDGER], fresh))
        if MLFLOW in away:
            until_all_is_loaded.enter_context(_mlflow_in(away[MLFLOW], fresh))
    for what in away:
        for file in (fresh / FILES[what]).parent.glob(f"{Path(FILES[what]).name}*"):
            file.unlink()
    left = [f"{PREFECT}'s history; `trueup up` deploys again into {masked(away[PREFECT])}"] if PREFECT in away else []
    return Brought(tuple(f"{what}: {masked(url)}" for what, url in away.items() if what != PREFECT), tuple(left))


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


def _set_right(fresh: Path, settings: Settings, artifacts: str, ledger_moves: bool) -> None:
    """Update the paths of files and home in MLflow's rows."""
    from trueup.adapters.mlflow.database import move_artifacts, rename_tags

    with _opened(f"sqlite:///{fresh / FILES[MLFLOW]}") as database:
        if artifacts != settings.artifact_root:
            move_artifacts(database, artifacts, settings.artifact_root)
        if ledger_moves:
            before = identity_of(sa.make_url(f"sqlite:///{fresh / FILES[LEDGER]}"), fresh)
            after = identity_of(sa.make_url(settings.database), fresh)
            rename_tags(database, (HOME_TAG, before, after), (tag_of(before), tag_of(after)))


@contextmanager
def _ledger_in(place: str, fresh: Path) -> Iterator[None]:
    with _opened(f"sqlite:///{fresh / FILES[LEDGER]}") as source, _opened(place) as target:
        for tables in (METADATA, metadata):
            for database in (source, target):  # the source may lack a newer table or column
                initialise(database, tables)
        with loaded_into(target, source, [*METADATA.sorted_tables, *metadata.sorted_tables]):
            yield


@contextmanager
def _mlflow_in(place: str, fresh: Path) -> Iterator[None]:
    from trueup.adapters.mlflow.database import mlflow_loaded_into

    file = f"sqlite:///{fresh / FILES[MLFLOW]}"
    with _opened(file) as source, _opened(place) as target, mlflow_loaded_into(target, source):
        yield


@contextmanager
def _opened(url: str) -> Iterator[sa.Engine]:
    engine = connect(url)
    try:
        yield engine
    finally:
        engine.dispose()
