"""Libraries that are patched: a new version asks for a look at docs/decisions/vendor-patches.md."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "vendor-patches.md"
DISTRIBUTIONS = {
    "Prefect": "prefect",
    "MLflow": "mlflow",
    "Great Expectations": "great-expectations",
    "Evidently": "evidently",
    "skops": "skops",
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_patched_library_has_the_version_that_its_patches_were_tested_with(name):
    tested = set(re.findall(rf"\| {name} (\d[\d.]*) \|", PAGE.read_text(encoding="utf-8")))
    assert tested == {version(DISTRIBUTIONS[name])}
