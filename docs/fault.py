"""A fault, as `docs.faults` lists it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault, its outcome, and its tests as `file:function`, paths relative to tests/."""

    what: str
    outcome: str
    tests: tuple[str, ...] = ()
