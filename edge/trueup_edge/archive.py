"""A bundle in a `.zip`: only plain files that the manifest names leave it, and none is larger than it says."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from trueup_edge.errors import EdgeError, NotTrusted, Unavailable
from trueup_edge.manifest import MANIFEST, SIGNATURE, Manifest

_ENCRYPTED: Final = 0x1
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_ENTRIES: Final = 100
_MOST_READ: Final = 2**20  # bytes


class ZipEntryStream:
    """The content of one entry. `read` raises NotTrusted if the archive is damaged."""

    def __init__(self, entry: IO[bytes], where: str) -> None:
        self._entry, self._where = entry, where

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; empty at the end."""
        try:
            return self._entry.read(size)
        except OSError as error:
            raise Unavailable(f"{self._where} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # zipfile has errors of many kinds for damaged archives
            raise NotTrusted(f"{self._where} is damaged: {error}; get it again") from None


class _ArchiveFile(io.FileIO):
    """A file that limits the size of a single read, so that a forged archive cannot fill the memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MOST_READ:  # zipfile reads the whole directory of an archive at once
            raise zipfile.BadZipFile(f"its directory has {size} bytes, that of a bundle has a few thousand")
        return super().read(size) or b""


class Archive:
    """An opened archive that has plain names only. Close it after use.

    Raises NotTrusted for a damaged archive, a name with a folder or a drive, a link, a duplicate, an encrypted entry, and
    Unavailable if the file cannot be read.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self._name = name or str(path)
        try:
            self._file = _ArchiveFile(path)
        except OSError as error:
            raise Unavailable(f"{self._name} cannot be read: {error.strerror or error}") from None
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._entries = self._checked()
        except EdgeError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise Unavailable(f"{self._name} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # zipfile has errors of many kinds for damaged archives
            self.close()
            raise NotTrusted(f"{self._name} is not a whole zip archive: {error}; get it again") from None

    def check(self, manifest: Manifest) -> None:
        """Compare names and declared sizes with the manifest. Raises NotTrusted."""
        for name, entry in self._entries.items():
            if name in (MANIFEST, SIGNATURE):
                continue
            if (signed := manifest.files.get(name)) is None:
                raise NotTrusted(f"{self._name} has {name!r}, which is not in its manifest; get it again")
            if entry.file_size != signed.bytes:
                raise NotTrusted(f"{self._name}: {name} has {entry.file_size} of {signed.bytes} bytes; get it again")

    @contextmanager
    def open(self, name: str) -> Iterator[ZipEntryStream]:
        """Open one entry. Raises NotTrusted if it is missing or damaged."""
        where = f"{name} in {self._name}"
        if (entry := self._entries.get(name)) is None:
            raise NotTrusted(f"{where} is missing; get it again")
        try:
            content = self._zip.open(entry)
        except Exception as error:  # zipfile has errors of many kinds for damaged archives
            raise NotTrusted(f"{where} is damaged: {error}; get it again") from None
        with content:
            yield ZipEntryStream(content, where)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        infos = self._zip.infolist()
        if len(infos) > _MOST_ENTRIES:
            raise NotTrusted(f"{self._name} has {len(infos)} entries, a bundle has a few; get it again")
        for entry in infos:
            if problem := _problem(entry, entries):
                raise NotTrusted(
                    f"{self._name}: {entry.orig_filename!r} {problem}; a bundle holds plain files, get it again"
                )
            entries[entry.filename] = entry
        return entries


def _problem(entry: zipfile.ZipInfo, earlier: dict[str, zipfile.ZipInfo]) -> str | None:
    name, mode = entry.orig_filename, entry.external_attr >> 16
    if entry.is_dir() or any(part in name for part in ("/", "\\", ":", "\0")) or name in ("", ".", ".."):
        return "is not the name of a plain file"
    if name != entry.filename:  # an extra field can have another name, which some programs take
        return "has two names"
    if name in earlier:
        return "occurs twice"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is a link or a special file"
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        return "is encrypted or compressed in an unusual way"
    return None
