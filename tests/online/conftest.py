"""The home that the tests of this folder share; who changes it takes a branch."""

import pytest

from tests.online.homes import served_home
from tests.online.rollouts import Servers, begun, branch


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    return served_home(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def in_rollout(tmp_path_factory):
    """A home with a challenger in shadow; who changes it takes a branch."""
    return begun(tmp_path_factory.mktemp("rollout"))


@pytest.fixture
def tried(in_rollout, tmp_path):
    """A copy of it to go on with."""
    return branch(in_rollout, tmp_path)


@pytest.fixture
def servers(tried):
    """Servers that count requests for it."""
    return Servers(tried.model)
