"""The home that the tests of this folder share; who changes it takes a branch."""

import pytest

from tests.online.homes import served_home


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    return served_home(tmp_path_factory.getbasetemp())
