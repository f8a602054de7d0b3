"""What a connection to PostgreSQL needs: UTC, signs of life, patience while the server restarts, and its own session."""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
import tenacity

from trueup.errors import UsageError

log = logging.getLogger(__name__)

PATIENCE = 120.0  # seconds that a process waits for a server that answered before: a restart, or a failover
_STARTING = ("starting up", "shutting down", "not yet accepting connections", "recovery")
# Both ends notice within about a minute that the other is gone. Without this a server keeps the locks of a machine that
# was cut off for two hours.
_SIGNS_OF_LIFE = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
}
_OF_THE_SERVER = "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
_DIRECT: WeakSet[sa.Engine] = WeakSet()  # engines whose connections keep their session
_IMPATIENT: WeakSet[sa.Engine] = WeakSet()  # engines that wait for no server


def make_engine(url: sa.URL, **options: Any) -> sa.Engine:
    """An engine whose connections are tested before use; a URL's own parameters win.

    Raises UsageError for another database than PostgreSQL.
    """
    if url.get_backend_name() != "postgresql":
        shown = url.render_as_string(hide_password=True)
        raise UsageError(f"{shown}: Trueup's own database is SQLite or PostgreSQL; name one of these")
    signs = {name: value for name, value in _SIGNS_OF_LIFE.items() if name not in url.query}
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args=signs, **options)
    sa.event.listen(engine, "connect", _set_up)
    _wait_for_restarts(engine)
    return engine


def fail_at_once(engine: sa.Engine) -> None:
    """Let an engine fail while its server is away, for one who asks again by himself and has an answer to give meanwhile."""
    _IMPATIENT.add(engine)


def require_own_session(engine: sa.Engine) -> None:
    """Refuse a pooler that gives a connection another session of PostgreSQL in each transaction.

    Locks of the session would stay behind in a session of somebody else's. Raises UsageError.
    """
    if engine in _DIRECT:
        return
    with engine.connect() as first:
        driver: Any = first.connection.driver_connection
        announced, there = driver.info.backend_pid, _backend(first)
        first.rollback()  # a pooler may give the session away now
        if announced != there:  # a pooler made this number up: find out how long a session is ours
            with engine.connect() as second:
                other = _backend(second)
                if other == there or _backend(first) != there:
                    raise UsageError(
                        f"{engine.url.render_as_string(hide_password=True)} is a pooler in transaction mode: it gives "
                        "each transaction another session, so locks would not hold; name PostgreSQL's own address, or "
                        "set the pooler to session mode (PgBouncer: pool_mode = session)"
                    )
    _DIRECT.add(engine)


def _backend(connection: sa.Connection) -> int:
    return int(connection.scalar(sa.select(sa.func.pg_backend_pid())) or 0)


def _set_up(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")  # for times that the database itself writes, as on SQLite
        cursor.execute(_OF_THE_SERVER)
    connection.commit()


def _wait_for_restarts(engine: sa.Engine) -> None:
    """Let connecting be tried again for a while if the server answered before, or says that it starts."""
    answered: list[bool] = []

    def may_come(error: BaseException) -> bool:
        failed = isinstance(error, engine.dialect.loaded_dbapi.OperationalError)
        return failed and engine not in _IMPATIENT and (bool(answered) or any(word in str(error) for word in _STARTING))

    def connect(dialect: sa.Dialect, _record: Any, arguments: Any, options: Any) -> Any:
        trying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_come),
            stop=tenacity.stop_after_delay(PATIENCE),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=3),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        connection = trying(dialect.connect, *arguments, **options)
        if not answered:
            answered.append(True)
        return connection

    sa.event.listen(engine, "do_connect", connect)
