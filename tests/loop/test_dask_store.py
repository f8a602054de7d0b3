"""A home in an object store with TRUEUP_DASK: the workers share no disk with the process that sends them work."""

from uuid import uuid4

import pytest
from pandas.testing import assert_frame_equal

from tests import buckets, clusters, streams
from tests.loop.test_dask import SEARCH, WEEKS, require_equal
from tests.postgres import execute
from tests.story import PLAIN, Story, stream
from trueup.config.policies import parse_all
from trueup.replay.replay import replay, whole_span

KEY = "11" * 32
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def server():
    with buckets.running() as one:
        yield one


@pytest.fixture(scope="module")
def places(server, postgres_server):
    """Where the home is."""
    names = [f"{name}_{uuid4().hex[:8]}" for name in ("loop", "models")]
    for name in names:
        execute(postgres_server, f"CREATE DATABASE {name}")
    databases = [postgres_server.set(database=name).render_as_string(hide_password=False) for name in names]
    return {
        "home": f"{server.bucket()}/home",
        "database_url": databases[0],
        "mlflow_uri": databases[1],
        "ledger_key": KEY,
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What the workers keep of the home on their machine."""
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def scheduler(server, places, cache):  # noqa: ARG001  (the store's address is in the environment)
    own = {f"TRUEUP_{name.upper()}": places[name] for name in ("database_url", "mlflow_uri")}
    with clusters.running(2, processes=True, env={**own, "TRUEUP_CACHE": str(cache)}) as one:
        yield one.scheduler_address


@pytest.fixture(scope="module")
def rows():
    return stream(8 * 7)


@pytest.fixture
def two(places, scheduler, rows, tmp_path):
    """The same model in a folder, and in the store with a cluster."""

    def of(config: str) -> tuple[Story, Story]:
        there = {**places, "cache": tmp_path / "cache", "dask": scheduler}
        return Story(tmp_path / "local", rows, config), Story(tmp_path / "there", rows, config, **there)

    return of


def test_replays_are_those_of_a_folder(two, cache):
    policies, results = parse_all(["frozen", "every 1 week, no gate"]), []
    local, there = two(PLAIN)
    for story in (local, there):
        span = whole_span(story.model, streams.week(0), streams.week(8))
        results.append(replay(story.model, span, policies))
    for one, other in zip(*results, strict=True):
        assert_frame_equal(one.losses, other.losses, check_exact=True)
        tried = ([(t.as_of, t.outcome, t.reasons, t.figures) for t in run.tried] for run in (one, other))
        assert next(tried) == next(tried)
        assert one.looks == other.looks
    assert results[1][1].champions > 1
    assert [*cache.glob("*/replays/toy/*/homes/*/life.json")], "they were played at the workers"
    assert not [e.key for e in there.home.files.listed("replays")]


def test_decisions_trials_and_predictions_are_those_of_a_folder(two, cache):
    local, there = two(SEARCH)
    for week in WEEKS:
        local.turn(week)
        there.turn(week)
    require_equal(local, there, 8)
    assert [*cache.rglob("copies")], "the workers read the store by themselves"
