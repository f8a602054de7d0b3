"""Homes for all fault tests of one process."""

import pytest

from tests.faults.homes import grow


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    return grow(tmp_path_factory.mktemp("homes"))
