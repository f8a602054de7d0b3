"""A temporary home, and a real PostgreSQL of our own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa

from trueup.adapters.database import connect

PASSWORD = "s3cret@/:%pass"
_schemas = count()

# Children of tests that need real processes are forked from one that has imported these already.
get_context("forkserver").set_forkserver_preload(
    ["trueup.adapters.store", "trueup.adapters.sinks", "psycopg", "hypothesis", "pytest"]
)


def _programs() -> Path | None:
    """Find the folder of PostgreSQL's programs: on the path, or where Debian puts them."""
    on_path = shutil.which("initdb")
    if on_path and shutil.which("postgres"):
        return Path(on_path).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def _unprivileged() -> dict[str, object]:
    """PostgreSQL refuses to run as root; say as whom it runs instead."""
    if os.getuid() != 0:
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in known else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres_server():
    """A private PostgreSQL cluster on 127.0.0.1; gives the URL of its first database, and stops it at the end."""
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL's programs (initdb, postgres) are not installed: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="trueup-postgres-"))  # pytest's own folders are closed to other users
    identity = _unprivileged()
    (folder / "password").write_text(PASSWORD)
    if identity:
        for path in (folder, folder / "password"):
            os.chown(path, identity["user"], identity["group"])
    server, port = None, _free_port()
    try:
        options = ["-U", "trueup", "-A", "scram-sha-256", "--pwfile", folder / "password", "--no-sync"]
        options += ["-E", "UTF8", "--locale", "C"]
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", *options],
            capture_output=True, text=True, check=False, cwd=folder, **identity,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *(f"--{k}={v}" for k, v in settings.items())],
                stdout=log, stderr=log, cwd=folder, **identity,
            )  # fmt: skip
        url = sa.URL.create("postgresql", "trueup", PASSWORD, "127.0.0.1", port, "postgres")
        _wait_for(connect(url.render_as_string(hide_password=False)), server, folder / "log")
        yield url
    finally:
        if server is not None:
            server.send_signal(2)  # SIGINT: a fast shutdown
            server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(engine, server, log):
    for _ in range(300):
        try:
            engine.connect().close()
            return engine.dispose()
        except sa.exc.OperationalError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(f"PostgreSQL did not answer within 30 s: {log.read_text()}")


@pytest.fixture
def postgres_url(postgres_server):
    """The URL of an empty schema of that PostgreSQL, with its password."""
    name = f"test_{next(_schemas)}"
    engine = connect(postgres_server.render_as_string(hide_password=False))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    return postgres_server.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database: each test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'trueup.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def engine(database_url):
    """An engine for Trueup's own database."""
    engine = connect(database_url)
    yield engine
    engine.dispose()
