"""What an audit found, and what it could not check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at, with the next step."""

    check: str
    what: str
    step: str
    model: str | None = None


@dataclass(frozen=True)
class Unchecked:
    """Something that could not be checked, and why. It is never said to be right."""

    check: str
    why: str
    model: str | None = None
