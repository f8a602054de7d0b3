"""What must be so before Prefect, MLflow or Great Expectations are imported: no telemetry, no chatter, no home of the user's."""

import os
import shutil
import sys
import tempfile
from functools import cache
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests import postgres
from tests.fixtures import answering, command_line, no_server, prefect_server, trueup  # noqa: F401  (fixtures)
from trueup.adapters.mlflow import database

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
# Children of tests that need real processes are forked from one that has imported these already.
get_context("forkserver").set_forkserver_preload(
    ["trueup.adapters.store", "trueup.adapters.sinks", "trueup.ledger.ledger", "psycopg", "hypothesis", "pytest"]
)
for name in [name for name in os.environ if name.startswith("TRUEUP_")]:
    del os.environ[name]


# Machines are shared: how long an example takes depends on what else runs. `make thorough` draws many random examples.
settings.register_profile("many", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
settings.register_profile("few", settings.get_profile("many"), max_examples=15, derandomize=True)
settings.load_profile("few")


def pytest_addoption(parser):
    parser.addoption(
        "--homes",
        choices=["folder", "shared"],
        default="folder",
        help="where stories have their homes: each in a folder, or in a bucket of a local S3 server, on PostgreSQL",
    )


def _turn(item):
    """What starts servers comes first, because it waits while others compute, and what takes moments fills up the end."""
    path = str(item.path)
    return "/orchestration/" not in path, "/unit/" in path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Marks the property tests, and what is thorough as slow; with shared homes, keeps those of stories that can have one."""
    items.sort(key=_turn)
    if config.getoption("homes") == "shared":
        items[:] = [item for item in items if not item.get_closest_marker("in_a_folder") and _tells_a_story(item.path)]
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("property")
        if item.get_closest_marker("thorough"):
            item.add_marker("slow")


class Files(LoadFileScheduling):
    """A file at a time for each process; all files that need Prefect's server go to one, which starts a single server."""

    def _split_scope(self, nodeid):
        return _share_of(super()._split_scope(nodeid))


@cache
def _tells_a_story(file):
    return "Story(" in file.read_text(encoding="utf-8")


@cache
def _share_of(name):
    file = Path(__file__).parents[1] / name
    return "Prefect's server" if file.is_file() and "prefect_server" in file.read_text(encoding="utf-8") else name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Files(config, log) if config.getvalue("dist") == "loadfile" else None


_numbers = count()


@pytest.fixture(scope="session", autouse=True)
def mlflow_tables(tmp_path_factory):
    """Copies MLflow's empty tables instead of making them for each home: 66 migrations take more than a second."""
    made, build = tmp_path_factory.mktemp("mlflow") / "mlflow.db", database.build_database

    def copied(file):
        if not made.exists():
            build(made)
        shutil.copyfile(made, fresh := file.with_name(f"{file.name}.new"))
        fresh.replace(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "build_database", copied)
        if (runs := sys.modules.get("trueup.adapters.mlflow.runs")) is not None:  # else it will import the patched one
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


@pytest.fixture(scope="session", autouse=True)
def _homes_of_stories(request):
    """With `--homes shared`: the homes of stories are in a bucket, on PostgreSQL."""
    if request.config.getoption("homes") == "folder":
        yield
        return
    from tests import shared, story

    with shared.running(request.getfixturevalue("postgres_server")) as homes:
        story.SHARED.append(homes)
        yield
        story.SHARED.clear()


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
