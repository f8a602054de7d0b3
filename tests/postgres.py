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


class Cluster:
    """A private PostgreSQL cluster on 127.0.0.1, not started yet."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder, self._identity = programs, folder, _unprivileged()
        self._server: subprocess.Popen[bytes] | None = None
        self.port, self._addresses = free_port(), ["127.0.0.1"]
        self.url = sa.URL.create("postgresql", "trueup", PASSWORD, "127.0.0.1", self.port, "postgres")
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password") if self._identity else ():
            os.chown(path, self._identity["user"], self._identity["group"])
        options = ["-U", "trueup", "-A", "scram-sha-256", "--pwfile", folder / "password", "--no-sync"]
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", *options, "-E", "UTF8", "--locale", "C"],
            capture_output=True, text=True, check=False, cwd=folder, **self._identity,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr

    def start(self, wait: bool = True) -> None:
        """Start the server, and wait until it answers."""
        settings = {
            "listen_addresses": ",".join(self._addresses),
            "port": self.port,
            "unix_socket_directories": self._folder,
        }
        with (self._folder / "log").open("a") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data",
                 *(f"--{k}={v}" for k, v in (settings | {"fsync": "off"}).items())],
                stdout=log, stderr=log, cwd=self._folder, **self._identity,
            )  # fmt: skip
        if wait:
            url = self.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
            _wait_for(sa.create_engine(url), self._server, self._folder / "log")

    def also_at(self, address: str) -> sa.URL:
        """Answer at a further address of this machine after the next start; its URL."""
        self._addresses.append(address)
        with (self._folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/24 scram-sha-256\n")
        return self.url.set(host=address)

    def make_replica(self) -> None:
        """Let the next start only read, as a replica does whose primary is away."""
        (self._folder / "data" / "standby.signal").touch()

    def stop(self) -> None:
        """End the server and cut its connections: a fast shutdown."""
        if self._server is not None:
            self._server.send_signal(2)  # SIGINT
            self._server.wait(timeout=60)
            self._server = None


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running cluster that a test may stop and start."""
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL's programs (initdb, postgres) are not installed: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="trueup-postgres-"))  # pytest's own folders are closed to other users
    made = None
    try:
        made = Cluster(programs, folder)
        made.start()
        yield made
    finally:
        if made is not None:
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[sa.URL]:
    """Run a private PostgreSQL cluster; give the URL of its first database, and stop it at the end."""
    with cluster() as made:
        yield made.url


@contextmanager
def pooled(server: sa.URL, mode: str) -> Iterator[sa.URL]:
    """The address of a PgBouncer in front of a server, in the pool mode `session` or `transaction`."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    folder, identity, port = Path(tempfile.mkdtemp(prefix="trueup-pooler-")), _unprivileged(), free_port()
    (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={server.host} port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = plain\nauth_file = {folder / 'users'}\npool_mode = {mode}\nunix_socket_dir =\n"
        f"ignore_startup_parameters = options,extra_float_digits\nlogfile = {folder / 'log'}\n"
    )
    for path in (folder, *folder.iterdir()) if identity else ():
        os.chown(path, identity["user"], identity["group"])
    pooler = subprocess.Popen([program, folder / "ini"], cwd=folder, stderr=subprocess.DEVNULL, **identity)
    try:
        url = server.set(port=port)
        _wait_for(sa.create_engine(url.set(drivername="postgresql+psycopg")), pooler, folder / "log")
        yield url
    finally:
        pooler.kill()
        pooler.wait(30)
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
