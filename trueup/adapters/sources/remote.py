"""Remote files, such as s3://bucket/orders/*.parquet: fetched through fsspec, once while they do not change."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import fsspec
from fsspec.registry import known_implementations

from trueup.adapters.sources.lake import LOGS
from trueup.adapters.sources.scratch import copy_of
from trueup.errors import SourceError, SourceUnavailable

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_GLOB, _GLOB_OF_PAGES = re.compile(r"[*?\[]"), re.compile(r"[*\[]")  # a page's address has a query after its ?
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
_ABOVE = 3  # folders above a file that may be those of a table
_FRESH = 60  # seconds for which a file counts as unchanged if its server returns only its size

Info = dict[str, Any]  # what fsspec knows of a file


@dataclass(frozen=True)
class Fetched:
    """A local copy of a file, and its own path, in which folders may hold values."""

    copy: Path
    there: PurePath


def is_address(path: str) -> bool:
    """Whether a path is an address, with a scheme.

    >>> [is_address(p) for p in ("s3://bucket/a.csv", "data/a.csv", "/a://b.csv")]
    [True, False, False]
    """
    return _ADDRESS.match(path) is not None


def shown(path: str) -> str:
    """A path or address without what may be secret: a password, and what follows a question mark.

    >>> shown("https://me:word@host/a.csv?token=x")
    'https://me@host/a.csv'
    """
    if not is_address(path):
        return path
    without = re.sub(r"(?<=://)([^:/@]*):[^/@]*@", r"\1@", path)
    return without.split("?", 1)[0] if without.startswith("http") else without


def path_of(address: str) -> PurePath:
    """The path in an address, as in `Fetched.there`. Raises what fsspec raises for an unknown scheme."""
    return PurePosixPath(fsspec.core.url_to_fs(address)[1])


def fetch(address: str, endings: Sequence[str], source: str) -> list[Fetched]:
    """Copies of the files of an address, a folder, or a glob, sorted by address, without hidden ones.

    A folder's files are those with one of `endings`, or else those in folders of the form `name=value` below it. Files of
    this machine are not copied. Raises SourceError, also for a table format; SourceUnavailable where trying again may help.
    """
    try:
        system, path = fsspec.core.url_to_fs(address)
        system.invalidate_cache()  # an earlier listing may be outdated
        listed = _listed(system, path, tuple(endings))
        kept = [info for _, info in sorted(listed.items()) if not _name(info).startswith((".", "_"))]
        if not path.startswith("http"):  # where files cannot be listed
            above = [*map(str, PurePosixPath(kept[0]["name"]).parents)][:_ABOVE] if kept else []
            _refuse_table(system, above if _GLOB.search(path) else [path, *above], source)
        return [Fetched(_copy(system, info), PurePosixPath(info["name"])) for info in kept]
    except ImportError as error:
        raise SourceError(f"{source}: {_to_install(address, error)}") from None
    except FileNotFoundError:
        return []
    except SourceError:
        raise
    except Exception as error:
        message = str(error).replace(address, shown(address)) or type(error).__name__
        temporary = isinstance(error, OSError | TimeoutError) and not isinstance(error, PermissionError)
        failure = SourceUnavailable if temporary else SourceError
        raise failure(
            f"{source}: cannot be fetched: {message}; check ingest.source.path, and the credentials in the environment"
        ) from None


def _listed(system: Any, path: str, endings: tuple[str, ...]) -> dict[str, Info]:
    """Files, by name, with what fsspec knows of them."""
    if (_GLOB_OF_PAGES if path.startswith("http") else _GLOB).search(path):
        listed = system.glob(path, detail=True).values()
    elif _path(path).lower().endswith(endings) or not system.isdir(path):
        listed = [system.info(path)]
    else:
        listed = [info for info in system.ls(path, detail=True) if _name(info).lower().endswith(endings)]
        listed = listed or [*_nested(system, path, endings)]
    return {info["name"]: info for info in listed if info["type"] == "file"}


def _nested(system: Any, path: str, endings: tuple[str, ...]) -> Iterator[Info]:
    """The files in folders of the form `name=value` below a folder."""
    for info in system.ls(path, detail=True):
        if info["type"] == "directory" and "=" in _name(info) and not _name(info).startswith((".", "_")):
            yield from (i for i in system.ls(info["name"], detail=True) if _name(i).lower().endswith(endings))
            yield from _nested(system, info["name"], endings)


def _refuse_table(system: Any, folders: Sequence[str], source: str) -> None:
    """Refuse files of a table format, because a log decides which of them count."""
    for folder in dict.fromkeys(f.rstrip("/") for f in folders):
        for log, kind in LOGS.items():
            there = f"{folder}/{log}"
            if system.glob(f"{there}/*.metadata.json") if kind == "Iceberg" else system.isdir(there):
                raise SourceError(
                    f"{source}: {folder} is a {kind} table, which Trueup reads in a folder of this machine only; copy it "
                    "there or mount it, export it to Parquet, or read it in a function (ingest.source.kind: callable)"
                )


def _copy(system: Any, info: Info) -> Path:
    """The copy of a file. fsspec's `filecache` takes a page behind https:// for unchanging, and would read old rows."""
    path = info["name"]
    if "file" in ([system.protocol] if isinstance(system.protocol, str) else system.protocol):
        return Path(path)
    states = tuple(str(info[key]) for key in _STATES if info.get(key))
    state = (info.get("size"), states or time.monotonic() // _FRESH)
    return copy_of((str(system.protocol), path), state, _name(info), lambda copy: system.get_file(path, str(copy)))


def _name(info: Info) -> str:
    return PurePosixPath(_path(info["name"])).name


def _path(name: str) -> str:
    """A name without what follows its question mark; in a bucket that may be part of the name."""
    return urlsplit(name).path if name.startswith("http") else name


def _to_install(address: str, error: ImportError) -> str:
    """The message with the package to install for such addresses."""
    scheme = address.split("://")[0].lower()
    implementation = known_implementations.get(scheme, {})
    package = implementation.get("class", "").split(".")[0]
    if not package or package == "fsspec":
        return f"{scheme}:// addresses need a package that is not installed: {implementation.get('err') or error}"
    return f"{scheme}:// addresses are read by the package {package}; install it, as with pip install {package}"
