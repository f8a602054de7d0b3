"""What must be so before Prefect, MLflow or Great Expectations are imported: no telemetry, no chatter, no home of the user's."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# Prefect reads these once, at its import; a server that a test needs has its own home (tests/flows/conftest.py).
os.environ.update(
    {
        "PREFECT_HOME": tempfile.mkdtemp(prefix="trueup-prefect-"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
)
for name in [name for name in os.environ if name.startswith("TRUEUP_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def postgres():
    """The URL of a PostgreSQL server of our own, listening on nothing but a socket in a temporary folder."""
    programs = [shutil.which(p) for p in ("initdb", "pg_ctl")]
    if None in programs:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    folder = Path(tempfile.mkdtemp(prefix="trueup-pg-", dir="/tmp"))  # short: a socket's path has a limit
    prefix = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        if subprocess.run(["runuser", "-u", "postgres", "true"], capture_output=True, check=False).returncode:
            pytest.skip("running as root, and there is no user postgres to start PostgreSQL as")
        shutil.chown(folder, "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]

    def run(*command: str) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run([*prefix, *command], check=True, stdin=quiet, stdout=quiet, stderr=quiet, timeout=120)

    initdb, pg_ctl = programs
    data = str(folder / "data")
    run(initdb, "-D", data, "-U", "trueup", "-A", "trust", "--no-sync")
    run(pg_ctl, "-D", data, "-w", "-o", f"-c listen_addresses='' -c fsync=off -k {folder}", "start")
    try:
        yield f"postgresql+psycopg://trueup@/postgres?host={folder}"
    finally:
        run(pg_ctl, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
