"""A small home whose model is served, made once for all tests of serving; who changes it takes a branch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.export.homes import CUSTOM, EVERY_KIND, grown
from tests.story import Story

ONLINE = """
def together_of_one(row):
    return {"total": None if row["x"] is None or row["z"] is None else row["x"] + row["z"]}
"""
SERVED = f"{EVERY_KIND}serve: {{features: 'shop:together_of_one'}}\n"


@cache
def served_home(base: Path) -> Story:
    """The home in a folder of the session's `base`."""
    (base / "served").mkdir()
    return grown(base / "served", SERVED, code=CUSTOM + ONLINE)
