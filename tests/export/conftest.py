"""The home that the tests of this folder share; who changes it takes a branch."""

import pytest

from tests.export.homes import grown


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    return grown(tmp_path_factory.mktemp("shop"))
