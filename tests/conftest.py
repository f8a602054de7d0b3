"""What must be so before Prefect, MLflow or Great Expectations are imported: no telemetry, no chatter, no home of the user's."""

import os
import shutil
import sys
import tempfile
from itertools import count

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres
from tests.fixtures import answering, command_line, prefect_server, trueup  # noqa: F401  (fixtures)

# Prefect reads these once, at its import; a server that a test needs has its own home (tests/fixtures.py).
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
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
)
for name in [name for name in os.environ if name.startswith("TRUEUP_")]:
    del os.environ[name]


# Machines are shared: how long an example takes depends on what else runs. `make thorough` draws many random examples.
settings.register_profile("many", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
settings.register_profile("few", settings.get_profile("many"), max_examples=15, derandomize=True)
settings.load_profile("few")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the property tests, and what is thorough as slow. What starts servers comes first: it waits while others compute."""
    items.sort(key=lambda item: "/orchestration/" not in str(item.path))
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("property")
        if item.get_closest_marker("thorough"):
            item.add_marker("slow")


_numbers = count()


@pytest.fixture(scope="session", autouse=True)
def mlflow_tables(tmp_path_factory):
    """Copies MLflow's empty tables instead of making them for each home: 66 migrations take more than a second."""
    if (runs := sys.modules.get("trueup.adapters.mlflow.runs")) is None:
        yield  # unit tests need no MLflow
        return
    made, build = tmp_path_factory.mktemp("mlflow") / "mlflow.db", runs.build_database

    def copied(file):
        if not made.exists():
            build(made)
        shutil.copyfile(made, fresh := file.with_name(f"{file.name}.new"))
        fresh.replace(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "build_database", copied)
        yield


@pytest.fixture(autouse=True)
def stories():
    """Closes the homes that a test's stories opened; those of a module's fixtures stay open."""
    opened = story.OPENED if (story := sys.modules.get("tests.story")) else []
    before = len(opened)
    yield
    while len(opened) > before:
        opened.pop().close()


@pytest.fixture(scope="session")
def postgres_server():
    """The URL of the first database of a PostgreSQL that serves all tests."""
    with postgres.running() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server):
    """The URL of an empty schema of that PostgreSQL, with its password."""
    name = f"test_{next(_numbers)}"
    postgres.execute(postgres_server, f"CREATE SCHEMA {name}")
    return postgres_server.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)


@pytest.fixture
def new_database(postgres_server):
    """Makes empty databases in that PostgreSQL, and gives their URLs with the password."""

    def made() -> str:
        name = f"test_{next(_numbers)}"
        postgres.execute(postgres_server, f"CREATE DATABASE {name}")
        return postgres_server.set(database=name).render_as_string(hide_password=False)

    return made
