"""Reads a raw config, which may be wrong in any place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Location = tuple[int | str, ...]  # keys and positions, from the top


def written(content: Any, *path: str) -> Any:
    """The value at a place; None without one."""
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def keys(content: Any, *path: str) -> list[Any]:
    """The keys of a mapping; empty without a mapping."""
    mapping = written(content, *path)
    return list(mapping) if isinstance(mapping, Mapping) else []


def items(content: Any, *path: str) -> Iterator[tuple[Location, Any]]:
    """The items of a list, with their places; empty without a list."""
    listed = written(content, *path)
    for position, item in enumerate(listed if isinstance(listed, list) else ()):
        yield (*path, position), item
