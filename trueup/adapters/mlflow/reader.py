"""Reads MLflow's own database without MLflow, so that nothing is created, locked or migrated, within milliseconds.

MLflow's client creates folders, tables and a lock when it opens a database, and cannot read a home without write
access. A test compares the results with the client's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from trueup.adapters.sql.engines import connect_to_look, first_line
from trueup.errors import RegistryUnavailable

_ALIASES = sa.table("registered_model_aliases", sa.column("name"), sa.column("alias"), sa.column("version"))
_EXPERIMENTS = sa.table("experiments", sa.column("experiment_id"), sa.column("name"))
_RUNS = sa.table("runs", sa.column("run_uuid"), sa.column("artifact_uri"))
_TAGS = sa.table("experiment_tags", sa.column("experiment_id"), sa.column("key"), sa.column("value"))


class MlflowLook:
    """A read-only view of the database at an SQLAlchemy URL; a missing one is empty. Methods raise RegistryUnavailable."""

    def __init__(self, url: str) -> None:
        self._engine = connect_to_look(url)

    def aliases(self, name: str) -> dict[str, int]:
        """All aliases of a registered model and their versions."""
        with self._reading(_ALIASES.name) as connection:
            if connection is None:
                return {}
            rows = connection.execute(sa.select(_ALIASES.c.alias, _ALIASES.c.version).where(_ALIASES.c.name == name))
            return {str(alias): int(version) for alias, version in rows}

    def noted(self, experiment: str, key: str) -> str | None:
        with self._reading(_TAGS.name) as connection:
            if connection is None:
                return None
            joined = _TAGS.join(_EXPERIMENTS, _TAGS.c.experiment_id == _EXPERIMENTS.c.experiment_id)
            wanted = sa.select(_TAGS.c.value).select_from(joined)
            value = connection.scalar(wanted.where(_EXPERIMENTS.c.name == experiment, _TAGS.c.key == key))
            return None if value is None else str(value)

    def artifacts_of(self, run_id: str) -> str | None:
        """Where the files of a run are; None for an unknown run."""
        with self._reading(_RUNS.name) as connection:
            if connection is None:
                return None
            place = connection.scalar(sa.select(_RUNS.c.artifact_uri).where(_RUNS.c.run_uuid == run_id))
            return None if place is None else str(place)

    @contextmanager
    def _reading(self, table: str) -> Iterator[sa.Connection | None]:
        """A connection; None if MLflow has not created its tables yet."""
        try:
            with self._engine.connect() as connection:
                yield connection if sa.inspect(connection).has_table(table) else None
        except sa.exc.SQLAlchemyError as error:
            shown = self._engine.url.render_as_string(hide_password=True)
            raise RegistryUnavailable(
                f"MLflow's database {shown} cannot be read: {first_line(error)}; check its address, and that it runs"
            ) from None
        finally:
            self._engine.dispose()
