"""A database of either kind."""

import pytest

from trueup.adapters.files.local import LocalFiles
from trueup.adapters.sql.engines import connect
from trueup.adapters.store import Store


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


@pytest.fixture
def home(tmp_path):
    """Where a store lies."""
    return tmp_path / "home"


@pytest.fixture
def store(home, engine):
    """A store in an empty home, on a database of either kind."""
    return Store(LocalFiles(home), engine)
