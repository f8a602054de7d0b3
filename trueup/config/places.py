"""Where a home is: a folder, or an address in an object store with a part on this machine. Loads no vendor."""

from __future__ import annotations

import hashlib
import os
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

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
    name = hashlib.sha256(f"{home.rstrip('/')} {database_url}".encode()).hexdigest()[:16]
    return caches(cache) / name


def caches(cache: str | os.PathLike[str] | None) -> Path:
    """The folder for the parts on this machine of homes in object stores: TRUEUP_CACHE, or the user's cache folder."""
    there = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "trueup"
    return there.expanduser().resolve()


def require_shared(home: str, database: str, variable: str) -> str:
    """The URL of a database. Raises UsageError for one of this machine only with a home that other machines share."""
    if is_address(home) and database.startswith("sqlite"):
        raise UsageError(
            f"the home {home} is in an object store, which cannot have an SQLite database; set {variable} to a "
            "PostgreSQL database, such as postgresql://user@host/trueup"
        )
    return database


def require_encrypted(scheduler: str) -> str:
    """The address of a Dask scheduler. Raises ValueError for one of another machine without TLS.

    What is sent to a scheduler is code as well as rows, so whoever reads or answers in its place has both.
    """
    scheme, _, rest = scheduler.rpartition("://")
    host = urlsplit(f"//{rest}").hostname
    if not host or scheme not in {"", "tcp", "tls"}:
        raise ValueError(f"{scheduler} is no address of a scheduler; write one such as tcp://127.0.0.1:8786")
    if scheme != "tls" and not is_this_machine(host):
        raise ValueError(
            f"{scheduler} would send rows and code to another machine without TLS; start the scheduler and its workers with "
            f"certificates, write tls://{rest}, and set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY; see docs/how-to/dask.md"
        )
    return scheduler


def is_this_machine(host: str) -> bool:
    """Whether a host is a loopback address.

    >>> [is_this_machine(host) for host in ("127.0.0.1", "::1", "localhost", "10.0.0.7", "scheduler")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
