"""Files behind an address, such as s3://bucket/orders/*.parquet: fetched through fsspec, once while they do not change."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import fsspec
from fsspec.registry import known_implementations

from trueup.adapters.sources.scratch import copy_of
from trueup.errors import SourceError, SourceUnavailable

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_STATES: Final = (
    "ETag",
    "etag",
    "mtime",
    "modified",
    "LastModified",
    "last_modified",
    "updated",
    "created",
    "Content-MD5",
)
_FRESH = 60  # seconds for which a file is taken to be the same when its server tells no more than its size


def is_address(path: str) -> bool:
    """Say whether a path is an address, with a scheme.

    >>> [is_address(p) for p in ("s3://bucket/a.csv", "data/a.csv", "/a://b.csv")]
    [True, False, False]
    """
    return _ADDRESS.match(path) is not None


def shown(path: str) -> str:
    """Give a path or address without what may be secret: a password, and what follows a question mark.

    >>> shown("https://me:word@host/a.csv?token=x")
    'https://me@host/a.csv'
    """
    if not is_address(path):
        return path
    without = re.sub(r"(?<=://)([^:/@]*):[^/@]*@", r"\1@", path)
    return without.split("?", 1)[0] if without.startswith("http") else without


def fetch(address: str, endings: Sequence[str], source: str) -> list[Path]:
    """Give copies of the files of an address, a folder, or a glob, sorted by address; hidden ones are left out.

    Of a folder those are taken whose names end with one of `endings`. Files of this machine are given as they are.
    Raises SourceError; SourceUnavailable where trying again may help.
    """
    try:
        system, path = fsspec.core.url_to_fs(address)
        system.invalidate_cache()  # what it listed before may have changed
        found = _found(system, path, tuple(endings))
        return [_copy(system, info) for _, info in sorted(found.items()) if not _name(info).startswith((".", "_"))]
    except ImportError as error:
        raise SourceError(f"{source}: {_to_install(address, error)}") from None
    except FileNotFoundError:
        return []
    except SourceError:
        raise
    except Exception as error:
        said = str(error).replace(address, shown(address)) or type(error).__name__
        known = isinstance(error, OSError | TimeoutError) and not isinstance(error, PermissionError)
        failure = SourceUnavailable if known else SourceError
        raise failure(
            f"{source}: cannot be fetched: {said}; check ingest.source.path, and the credentials in the environment"
        ) from None


def _found(system: Any, path: str, endings: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """List files with what is known of them."""
    if re.search(r"[*\[]" if path.startswith("http") else r"[*?\[]", path):
        listed = system.glob(path, detail=True).values()
    elif _path(path).lower().endswith(endings) or not system.isdir(path):
        listed = [system.info(path)]
    else:
        listed = [info for info in system.ls(path, detail=True) if _name(info).lower().endswith(endings)]
    return {info["name"]: info for info in listed if info["type"] == "file"}


def _copy(system: Any, info: dict[str, Any]) -> Path:
    path = info["name"]
    if "file" in ([system.protocol] if isinstance(system.protocol, str) else system.protocol):
        return Path(path)
    told = tuple(str(info[key]) for key in _STATES if info.get(key))
    state = (info.get("size"), told or time.monotonic() // _FRESH)
    return copy_of((str(system.protocol), path), state, _name(info), lambda copy: system.get_file(path, str(copy)))


def _name(info: dict[str, Any]) -> str:
    return PurePosixPath(_path(info["name"])).name


def _path(name: str) -> str:
    """Give a name without what follows its question mark; in a bucket that may be part of it."""
    return urlsplit(name).path if name.startswith("http") else name


def _to_install(address: str, error: ImportError) -> str:
    """Name the package that reads such addresses."""
    scheme = address.split("://")[0].lower()
    known = known_implementations.get(scheme, {})
    package = known.get("class", "").split(".")[0]
    if not package or package == "fsspec":
        return f"{scheme}:// addresses need a package that is not installed: {known.get('err') or error}"
    return f"{scheme}:// addresses are read by the package {package}; install it, as with pip install {package}"
