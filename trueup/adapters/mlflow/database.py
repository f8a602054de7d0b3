"""MLflow's own database without a server: created, updated after a move, and loaded into another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from trueup.adapters.sql.copy import loaded_into, require_unused
from trueup.adapters.sql.engines import database_file, first_line
from trueup.errors import UsageError, WorkError

_ENVIRONMENT = {
    "AWS_MAX_ATTEMPTS": "6",  # of artifacts in S3: by default a busy store is given up after three  # read when MLflow is imported; existing values stay
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default, 7, hangs for minutes on a stopped server
}
_PLACES = {  # columns of MLflow's database with paths of artifacts
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
_VERSION: Final = "alembic_version"
_FILLED_WHEN_MADE: Final = ("workspaces",)  # tables with a row in every database of MLflow


def set_environment() -> None:
    """Make MLflow quiet and quick to give up; call this before it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@cache
def be_patient(seconds: int) -> None:
    """Let MLflow wait as long as Trueup for an SQLite database that another process has locked.

    MLflow hard-codes `busy_timeout` to 20 s per session, with no setting. A backup of a large database can take longer.
    """

    def say(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, _many: bool) -> tuple[str, Any]:
        if statement.startswith("PRAGMA busy_timeout"):
            statement = f"PRAGMA busy_timeout = {1000 * seconds}"
        return statement, parameters

    sa.event.listen(sa.Engine, "before_cursor_execute", say, retval=True)


def build_database(file: Path) -> None:
    """Create MLflow's database under a temporary name and rename it, so that a killed migration leaves no partial one."""
    from mlflow.store.db.utils import _initialize_tables

    fresh = file.with_name(f"{file.name}.new")
    for left_over in file.parent.glob(f"{fresh.name}*"):
        left_over.unlink()
    engine = sa.create_engine(f"sqlite:///{fresh}")

    def set_up(connection: Any, _record: Any) -> None:
        connection.execute(
            "PRAGMA journal_mode = WAL"
        )  # stored in the file: readers and a writer do not block each other
        connection.execute("PRAGMA synchronous = OFF")  # hundreds of commits to a new file

    sa.event.listen(engine, "connect", set_up)
    _initialize_tables(engine)
    engine.dispose()
    with fresh.open("rb") as written:
        os.fsync(written.fileno())
    fresh.replace(file)


def move_artifacts(connection: sa.Connection, before: str, after: str) -> None:
    """Replace the folder or address `before` by `after` in an unused database."""
    for name, columns in _PLACES.items():
        table = sa.table(name, *(sa.column(column, sa.Text) for column in columns))
        for column in table.c:
            rest = sa.func.substr(column, len(before) + 1)
            moved = sa.update(table).where(column.startswith(f"{before}/", autoescape=True))
            connection.execute(moved.values({column: sa.literal(after) + rest}))


def rename_tags(connection: sa.Connection, of_runs: tuple[str, str, str], of_experiments: tuple[str, str]) -> None:
    """Change the value of a tag of runs (name, value before, value after), and the name of a tag of experiments."""
    runs, experiments = (
        sa.table(name, sa.column("key", sa.Text), sa.column("value", sa.Text)) for name in ("tags", "experiment_tags")
    )
    name, was, becomes = of_runs
    old, new = of_experiments
    connection.execute(sa.update(runs).where(runs.c.key == name, runs.c.value == was).values(value=becomes))
    connection.execute(sa.update(experiments).where(experiments.c.key == old).values(key=new))


@contextmanager
def mlflow_loaded_into(target: sa.Engine, source: sa.Engine) -> Iterator[sa.Connection]:
    """Create MLflow's tables in the target and load the source's rows; committed when the block ends without an error.

    Yields the transaction in the target. Raises UsageError if the two have different versions of MLflow or the target is in use, WorkError.
    """
    shown = target.url.render_as_string(hide_password=True)
    try:
        _make_tables(target)
        before, now = _version(source), _version(target)
        if before != now:
            raise UsageError(
                f"MLflow's tables are at version {before} in {source.url.render_as_string(hide_password=True)} and at version {now} in {shown}; "
                "bring the older one on with `mlflow db upgrade ADDRESS`, and run again"
            )
        tables = _tables(target)
    except sa.exc.SQLAlchemyError as error:
        raise WorkError(
            f"MLflow's tables cannot be made in {shown}: {first_line(error)}; check its address, and that it runs"
        ) from None
    with loaded_into(target, source, tables, filled_when_made=_FILLED_WHEN_MADE) as connection:
        yield connection


def require_unused_by_mlflow(database: sa.Engine) -> None:
    """Raise UsageError if a database has rows of MLflow, WorkError if it does not answer."""
    if sa.inspect(database).has_table(_VERSION):
        require_unused(database, [table for table in _tables(database) if table.name not in _FILLED_WHEN_MADE])


def drop_tables(database: sa.Engine) -> None:
    """Remove MLflow's tables with all rows."""
    tables = _tables(database) if sa.inspect(database).has_table(_VERSION) else []
    with database.begin() as connection:
        for table in reversed(tables):
            table.drop(connection)
        sa.Table(_VERSION, sa.MetaData()).drop(connection, checkfirst=True)


def _make_tables(database: sa.Engine) -> None:
    """Create the tables as MLflow does; existing ones are left as they are."""
    set_environment()
    from mlflow.store.db.utils import _safe_initialize_tables

    file = database_file(database.url) if database.dialect.name == "sqlite" else None
    if file is not None and not file.exists():
        build_database(file)
    elif not sa.inspect(database).has_table(_VERSION):
        _safe_initialize_tables(database)


def _version(database: sa.Engine) -> str | None:
    with database.connect() as connection:
        version: str | None = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(_VERSION)))
    return version


def _tables(engine: sa.Engine) -> list[sa.Table]:
    """MLflow's tables as in the database, referenced tables first."""
    set_environment()
    from mlflow.store.db.base_sql_model import Base

    metadata = sa.MetaData()
    metadata.reflect(engine, only=list(Base.metadata.tables))
    for column in (column for table in metadata.tables.values() for column in table.c):
        column.type = column.type.as_generic(allow_nulltype=True)  # another database has other types of its own
        if isinstance(column.type, sa.JSON):
            column.type.none_as_null = True  # otherwise a missing value would become JSON's null
    return metadata.sorted_tables
