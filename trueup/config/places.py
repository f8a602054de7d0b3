"""Where a home is: a folder, or an address in an object store with a part on this machine. Loads no vendor."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from trueup.errors import UsageError


def is_address(home: str) -> bool:
    """Whether a home is in an object store.

    >>> [is_address(home) for home in ("s3://bucket/home", "/srv/home", ".trueup")]
    [True, False, False]
    """
    return "://" in home


def folder_of_home(home: str, cache: str | os.PathLike[str] | None, database_url: str | None) -> Path:
    """The home as an absolute path; for one in an object store, its part on this machine: `cache` has that of each home."""
    if not is_address(home):
        return Path(home).expanduser().resolve()
    caches = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "trueup"
    name = hashlib.sha256(f"{home.rstrip('/')} {database_url}".encode()).hexdigest()[:16]
    return caches.expanduser().resolve() / name


def require_shared(home: str, database: str, variable: str) -> str:
    """The URL of a database. Raises UsageError for one of this machine only with a home that other machines share."""
    if is_address(home) and database.startswith("sqlite"):
        raise UsageError(
            f"the home {home} is in an object store, which cannot have an SQLite database; set {variable} to a "
            "PostgreSQL database, such as postgresql://user@host/trueup"
        )
    return database
