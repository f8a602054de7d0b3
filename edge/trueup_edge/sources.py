"""Where an update comes from: a folder, a `.zip`, an `https://` address or an `s3://` address of either."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from trueup_edge.archive import Archive
from trueup_edge.bundle import check_content
from trueup_edge.errors import NotTrusted, Unavailable, UsageError
from trueup_edge.manifest import FileEntry, Manifest

_CHUNK = 64 * 1024


class Stream(Protocol):
    """Content that is read in parts. `read` raises errors of `trueup_edge.errors` only."""

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; empty at the end."""


class Source(Protocol):
    """The files of one bundle, by name."""

    def open(self, name: str) -> AbstractContextManager[Stream]:
        """Open one file. Raises Unavailable or NotTrusted."""

    def check(self, manifest: Manifest) -> None:
        """Compare what is known before the files are read with the verified manifest. Raises NotTrusted."""


@contextmanager
def open_source(address: str, scratch: Path, max_bytes: int, seconds: float) -> Iterator[Source]:
    """Open the source at an address; an archive that is not a local file is fetched into the folder `scratch` first.

    `max_bytes` limits such an archive, `seconds` the time until everything is fetched. Raises UsageError for an address of
    another kind, Unavailable if nothing answers, NotTrusted for an archive that is damaged.
    """
    deadline = time.monotonic() + seconds
    scheme = address.split("://", 1)[0].lower() if "://" in address else ""
    if scheme not in ("", "http", "https", "s3"):
        raise UsageError(f"{address}: give a folder, a .zip file, or an address that begins with https:// or s3://")
    is_archive = address.split("?", 1)[0].endswith(".zip")
    remote: Source | None = None
    if scheme in ("http", "https"):
        from trueup_edge.web import WebSource

        remote = WebSource(address, deadline)
    elif scheme == "s3":
        from trueup_edge.s3 import S3Source

        remote = S3Source(address, deadline)
    if remote is None:
        path = Path(address)
        if path.is_dir() or not (is_archive or path.is_file()):
            yield FolderSource(path)
            return
    else:
        if not is_archive:
            yield remote
            return
        path = scratch / "archive.zip"
        with remote.open("") as stream:
            _fetch(stream, path, max_bytes, address)
    archive = Archive(path, address)
    try:
        yield archive
    finally:
        archive.close()


class FolderSource:
    """A folder of this device, such as a mounted stick."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise Unavailable(f"{folder}: no such folder or .zip file; check the path, or mount what holds it")
        self._folder = folder

    @contextmanager
    def open(self, name: str) -> Iterator[Stream]:
        """Open a plain file, without following links."""
        path = self._folder / name
        if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
            raise NotTrusted(f"{path} is not a plain file; get the bundle again")
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise Unavailable(f"{path} is missing; check that {self._folder} is a bundle") from None
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror or error}") from None
        with file:
            yield _FileStream(file, path)

    def check(self, manifest: Manifest) -> None:
        """Nothing is known before the files are read; other files of the folder are not copied."""


class _FileStream:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be read: {error.strerror or error}") from None


def read_small(source: Source, name: str, limit: int) -> bytes:
    """Read a file of at most `limit` bytes into memory. Raises NotTrusted for a larger one."""
    data = bytearray()
    with source.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            data += chunk
            if len(data) > limit:
                raise NotTrusted(f"{name} is larger than {limit} bytes; get the bundle again")
    return bytes(data)


def copy_checked(source: Source, name: str, entry: FileEntry, to: Path) -> None:
    """Copy a file and compare it with the manifest's entry. Raises NotTrusted, or Unavailable if it cannot be written."""
    with source.open(name) as stream:
        size, sha256 = _copy(stream, to, entry.bytes)
    check_content(name, size, sha256, entry)


def _fetch(stream: Stream, to: Path, max_bytes: int, address: str) -> None:
    size, _ = _copy(stream, to, max_bytes)
    if size > max_bytes:
        raise NotTrusted(f"{address} is larger than {max_bytes} bytes; raise --max-bytes if that is right")


def _copy(stream: Stream, to: Path, limit: int) -> tuple[int, str]:
    """Write a stream to a file, to at most one part beyond `limit` bytes. Returns size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    try:
        with to.open("wb") as file:
            while size <= limit and (chunk := stream.read(_CHUNK)):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # of the file: a stream raises its own errors
        raise Unavailable(f"{to} cannot be written: {error.strerror or error}; make room, then run again") from None
    return size, digest.hexdigest()
