"""Where a home moves to: its settings there, and whether that place is free or holds an earlier try of the same move."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trueup.adapters.sql import closing
from trueup.adapters.sql.copy import require_unused
from trueup.adapters.sql.engines import create, has_table, opened, opened_to_look
from trueup.adapters.store.tables import metadata
from trueup.config.places import is_address
from trueup.config.settings import Settings
from trueup.domain.data.digest import digest_of
from trueup.errors import UsageError
from trueup.home import Home
from trueup.ledger.tables import DECISIONS, METADATA
from trueup.secrecy import masked
from trueup.upkeep.backup import require_empty
from trueup.upkeep.relocate_databases import FILES, LEDGER, MLFLOW, is_inside

_TABLES = (METADATA, metadata)


@dataclass(frozen=True)
class Target:
    """The settings of the new home, and the database of MLflow that comes along."""

    settings: Settings
    mlflow: str | None  # where MLflow's rows are now; None if it stays there, or there are none
    mark: str  # of this move in the new home's database, so that it can be repeated

    @property
    def shown(self) -> str:
        """The place, for people."""
        return f"{self.settings.home} ({masked(self.settings.database)})"

    @property
    def on_server(self) -> bool:
        """Whether the ledger moves to PostgreSQL."""
        return not self.settings.database.startswith("sqlite")


def target_of(home: Home, to: str, database: str | None, mlflow: str | None) -> Target:
    """Raises UsageError for a place to which the home cannot move, ConfigError for one that is no place."""
    settings = home.settings
    place = to.rstrip("/") if is_address(to) else str(Path(to).expanduser().resolve())
    if Path(place).is_relative_to(home.root) or f"{place}/".startswith(f"{settings.home}/"):
        raise UsageError(f"{place} is inside the home; use a place outside of {settings.home}")
    if f"{settings.home}/".startswith(f"{place}/"):
        raise UsageError(f"the home {settings.home} is inside {place}; use another place")
    if database is None and (mlflow is not None or is_address(to)):
        raise UsageError(
            "name an empty PostgreSQL database for ledger and state with --database (or TRUEUP_MOVE_DATABASE_URL)"
        )
    if is_address(to) and settings.ledger_key is None and settings.ledger_key_file is None:
        raise UsageError(
            f"{place} needs the ledger's key from outside: no key is kept in an object store or a database. Copy "
            f"{home.root / 'ledger.key'} to a safe place, set TRUEUP_LEDGER_KEY_FILE to the copy, and run again"
        )
    before = _mlflow_of(settings)
    changes: dict[str, Any] = {"home": place, "database_url": database}
    if before is not None and mlflow is not None:
        changes |= {"mlflow_uri": mlflow, "mlflow_backend": None}
    elif before is not None and _comes_along(home, before, place, database):
        changes |= {"mlflow_uri": None, "mlflow_backend": None}
    else:
        _require_it_can_stay(home, place, database, before)
        before = None
    new = Settings(**{**settings.model_dump(), **changes})
    mark = digest_of([home.identity, new.home, new.mlflow_store])
    return Target(new, before, mark)


def _mlflow_of(settings: Settings) -> str | None:
    """The database of MLflow's rows; None if there is none yet, or if only a server knows it."""
    store = settings.mlflow_store
    absent = is_inside(settings.root, store) and not (settings.root / FILES[MLFLOW]).exists()
    return None if absent else store


def _comes_along(home: Home, mlflow: str, place: str, database: str | None) -> bool:
    """Whether MLflow's rows go to SQLite in the new home."""
    if is_address(place):
        return False
    return is_inside(home.root, mlflow) or (database is None and home.shared)


def _require_it_can_stay(home: Home, place: str, database: str | None, mlflow: str | None) -> None:
    """MLflow's runs name the ledger's database and the places of files, so it stays only if these do."""
    where = mlflow or home.settings.mlflow_uri
    if where is None or (database is None and not home.shared and not is_address(place)):
        return
    if where.startswith(("http://", "https://")):
        raise UsageError(
            f"MLflow is a server at {masked(where)}, and its runs name the old home; set TRUEUP_MLFLOW_BACKEND to the server's "
            "database, and name an empty one with --mlflow (or TRUEUP_MOVE_MLFLOW_URI)"
        )
    raise UsageError(
        f"MLflow is in {masked(where)}, and its runs name the old home; name an empty PostgreSQL database for it with "
        "--mlflow (or TRUEUP_MOVE_MLFLOW_URI)"
    )


def is_complete(target: Target) -> bool:
    """Whether the new home counts already."""
    file = target.settings.root / FILES[LEDGER]
    if not target.on_server and not file.exists():
        return False
    with opened_to_look(target.settings.database) as engine:
        return closing.arriving_from(engine) is None and has_table(engine, DECISIONS)


def prepare(target: Target) -> None:
    """Make room at the new place: empty, or with what an earlier try of the same move left, which is removed.

    Raises UsageError for a place that is in use.
    """
    again = _arriving(target)
    if not again:
        _require_free(target)
    if not target.on_server:
        return
    with opened(target.settings.database) as engine:
        closing.begin_arrival(engine, target.mark)
        for tables in reversed(_TABLES):
            tables.drop_all(engine)
    if again and target.mlflow is not None and not target.settings.mlflow_store.startswith("sqlite"):
        from trueup.adapters.mlflow.database import drop_tables

        with opened(target.settings.mlflow_store) as engine:
            drop_tables(engine)


def mark_copy(file: Path, target: Target) -> None:
    """Let an SQLite database that is filled for the new home not count yet, nor be as closed as the old one."""
    with opened(f"sqlite:///{file}") as engine:
        closing.reopen(engine)
        closing.begin_arrival(engine, target.mark)


def arrive(target: Target) -> None:
    """Let the new home count."""
    with opened(target.settings.database) as engine:
        for tables in _TABLES:
            create(engine, tables)
        closing.end_arrival(engine)


def _arriving(target: Target) -> bool:
    """Whether an earlier try of the same move is at the new place. Raises UsageError for one of another move."""
    if not target.on_server and not (target.settings.root / FILES[LEDGER]).exists():
        return False
    with opened_to_look(target.settings.database) as engine:
        found = closing.arriving_from(engine)
    if found is not None and found != target.mark:
        raise UsageError(
            f"{target.shown} has a part of another move; complete that one, or name a place and a database that are empty"
        )
    return found is not None


def _require_free(target: Target) -> None:
    settings = target.settings
    if settings.address is None:
        require_empty(settings.root)
    elif (found := next(iter(Home(settings).files.listed("")), None)) is not None:
        raise UsageError(f"{settings.home} is not empty: it has {found.key}; use a prefix without files")
    if not target.on_server:
        return
    with opened_to_look(settings.database) as engine:
        for tables in _TABLES:
            require_unused(engine, tables.sorted_tables)
    if target.mlflow is not None and not settings.mlflow_store.startswith("sqlite"):
        from trueup.adapters.mlflow.database import require_unused_by_mlflow

        with opened_to_look(settings.mlflow_store) as engine:
            require_unused_by_mlflow(engine)
