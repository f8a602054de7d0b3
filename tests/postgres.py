"""A real PostgreSQL of the tests' own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.free import free_port
from trueup.adapters.sql.engines import connect

PASSWORD = "s3cret@/:%pass"


@contextmanager
def running() -> Iterator[sa.URL]:
    """Run a private PostgreSQL cluster on 127.0.0.1; give the URL of its first database, and stop it at the end."""
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
    server, port = None, free_port()
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


def execute(server: sa.URL, statement: str) -> None:
    """Run a statement in the server's first database, outside of a transaction."""
    engine = connect(server.render_as_string(hide_password=False))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


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


def _wait_for(engine, server, log):
    for _ in range(300):
        try:
            engine.connect().close()
            return engine.dispose()
        except sa.exc.OperationalError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(f"PostgreSQL did not answer within 30 s: {log.read_text()}")
