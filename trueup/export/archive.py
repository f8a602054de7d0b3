"""The files of a bundle: in a folder, or in an archive that is the same to the byte for the same files."""

from __future__ import annotations

import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trueup import files
from trueup.errors import UsageError, WorkError

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
GRAPH: Final = "model.onnx"
PARITY: Final = "parity.jsonl"
NAMES: Final = (MANIFEST, SIGNATURE, GRAPH, PARITY)  # in the order of an archive: a reader needs the manifest first


@dataclass(frozen=True)
class Layout:
    """The files of a kind of bundles, in the order of an archive, and the command that writes them."""

    names: tuple[str, ...]
    command: str
    optional: frozenset[str] = frozenset()


EDGE: Final = Layout(NAMES, "trueup export")
_LARGEST: Final = 2**30  # bytes of a file
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time of a file in an archive
_UNIX: Final = 3
_BROKEN: Final = (  # RuntimeError: encrypted, say; ValueError: a name that is no UTF-8
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError,
)  # fmt: skip
_MODE: Final = (stat.S_IFREG | 0o644) << 16


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files of a bundle into a folder, each of them whole. Raises WorkError.

    A reader that comes between two of them finds a digest or a signature that does not match, and comes again.
    """
    for name in reversed(NAMES):
        with files.whole(folder / name) as file:
            file.write(contents[name])


def packed(contents: Mapping[str, bytes], layout: Layout = EDGE) -> bytes:
    """The archive of a bundle.

    Nothing is compressed, because compressors of different versions write different bytes for the same content.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in (name for name in layout.names if name in contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            archive.writestr(entry, contents[name])
    return stream.getvalue()


def read_bundle(place: Path, layout: Layout = EDGE) -> dict[str, bytes]:
    """The files of a bundle in a folder or an archive, by name.

    Raises UsageError without a bundle there, and WorkError for files that are missing, do not belong to a bundle or are
    larger than 1 GiB.
    """
    if not place.exists():
        raise UsageError(f"{place}: nothing is there; name the folder or the archive of a bundle")
    try:
        contents = _read_folder(place, layout) if place.is_dir() else _read_archive(place, layout)
    except _BROKEN as error:
        raise WorkError(f"{place}: cannot be read as an archive ({error}); copy it again") from None
    except OSError as error:
        raise WorkError(f"{place}: cannot be read ({error.strerror or error}); allow reading it") from None
    if missing := [name for name in layout.names if name not in contents and name not in layout.optional]:
        raise WorkError(
            f"{place}: lacks {', '.join(missing)}, so it is no whole bundle; write it with `{layout.command}`"
        )
    return contents


def _read_folder(folder: Path, layout: Layout) -> dict[str, bytes]:
    contents = {}
    for path in sorted(folder.iterdir()):
        facts = path.lstat()
        _require(folder, layout, path.name, stat.S_ISREG(facts.st_mode), facts.st_size)
        contents[path.name] = path.read_bytes()
    return contents


def _read_archive(file: Path, layout: Layout) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            plain = kind in {0, stat.S_IFREG} and entry.filename not in contents
            _require(file, layout, entry.filename, plain, entry.file_size)
            with archive.open(entry) as stream:
                contents[entry.filename] = stream.read(entry.file_size + 1)
    return contents


def _require(place: Path, layout: Layout, name: str, plain: bool, size: int) -> None:
    """Raise WorkError for a file that no bundle has."""
    if name not in layout.names or not plain:
        raise WorkError(f"{place}: {name!r} does not belong to a bundle; write it anew with `{layout.command}`")
    if size > _LARGEST:
        raise WorkError(f"{place}: {name} has {size:,} bytes, more than the {_LARGEST:,} that are read")
