"""Make text files readable for DuckDB: whole, in UTF-8, and unpacked unless by gzip, which it reads itself.

DuckDB reads zstd too, but takes the beginning of a torn archive for all of it.
"""

from __future__ import annotations

import codecs
import lzma
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
from charset_normalizer import from_bytes
from fsspec.compression import compr
from fsspec.utils import infer_compression

from trueup.adapters.sources.scratch import copy_of
from trueup.adapters.sources.workbook import WORKBOOKS, is_workbook, write_sheet
from trueup.errors import SourceError, SourceUnavailable

PACKED: Final = ("", ".gz", ".bz2", ".xz", ".zst", ".zip")
IN_FOLDERS: Final = (*(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in PACKED), *WORKBOOKS)
CSV: Final = (*IN_FOLDERS, *(f".txt{packed}" for packed in PACKED))  # a folder may contain a readme.txt beside its data
_ENCODINGS: Final = ("cp1252", "cp1250", "cp1251", "cp1253", "cp932", "gb18030")  # encodings to guess, likeliest first
_PART = 1 << 20  # bytes
_QUIET = 2.0  # seconds without a change after which an incomplete last line counts
_PATIENCE = 20.0  # seconds to wait for it


def plain(file: Path, encoding: str, source: str, sheet: str | None = None) -> Path:
    """A file that DuckDB reads: this one, or a copy in UTF-8 (of a workbook: a sheet as CSV), made once for each state.

    Raises SourceError for a broken archive, for one with several files, and for text in another encoding.
    """
    stat = file.stat()
    if is_workbook(file):
        state = (stat.st_size, stat.st_mtime_ns, sheet)
        return copy_of((file, "sheet"), state, f"{file.name}.csv", lambda copy: write_sheet(file, sheet, copy, source))
    packed = _packed(file)
    utf8 = codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"}
    if utf8 and packed in {"", ".gz"}:
        return file
    name = file.stem if packed else file.name

    def make(copy: Path) -> None:
        with opened(file, source) as stream, copy.open("w", encoding="utf-8", newline="") as written:
            written.writelines(decoded(stream, encoding, file, source))

    return copy_of((file, encoding), (stat.st_size, stat.st_mtime_ns), name, make)


def decoded(stream: IO[bytes], encoding: str, file: Path, source: str) -> Iterator[str]:
    """Decode text part by part. Raises SourceError with the line of what is not in the encoding."""
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 0
    while True:
        part = stream.read(_PART)
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            lines += error.object[: error.start].count(b"\n")
            raise wrong_encoding(f"{source}: {file.name}, line {lines + 1}", encoding, error) from None
        lines += text.count("\n")
        yield text
        if not part:
            return


def likely_encoding(text: bytes) -> str | None:
    """Guess the encoding of text that is not UTF-8; None for UTF-8, and if unknown.

    >>> likely_encoding("имя;город;Иван;Москва".encode("cp1251"))
    'cp1251'
    """
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    whole = text[: text.rfind(b"\n") + 1] or text  # the rest may end within a character
    try:
        whole.decode()
    except UnicodeDecodeError:
        matches = list(from_bytes(whole, cp_isolation=list(_ENCODINGS)))
        least = min((match.chaos for match in matches), default=0.0)
        # Several fit German and Spanish alike; charset-normalizer's own choice among them is cp775 and cp1250.
        best = [encoding for match in matches if match.chaos == least for encoding in match.could_be_from_charset]
        return next((encoding for encoding in _ENCODINGS if encoding in best), None)
    return None


def wrong_encoding(place: str, encoding: str, error: UnicodeDecodeError) -> SourceError:
    """The error that names the byte that is not in the encoding, and the key of the config that mends it."""
    byte = error.object[error.start : error.start + 1].hex()
    other = "cp1252" if encoding.lower().replace("_", "-") in {"utf-8", "utf8", "ascii"} else "utf-8"
    return SourceError(
        f"{place} is not {encoding.upper()} (byte 0x{byte}: {error.reason}); set its encoding, such as "
        f"`ingest.source.encoding: {other}`, or convert it, as with iconv -t utf-8"
    )


@contextmanager
def opened(file: Path, source: str) -> Iterator[IO[bytes]]:
    """Open a file, unpacked by its name. Raises SourceError for anything but a whole archive of one file."""
    packed = _packed(file)
    # fsspec takes the first of several files in a zip, and the beginning of a torn zst, for all of it.
    unpack = {".zip": _unzip, ".zst": _unpack_zstd}.get(packed, _unpack)
    try:
        with unpack(file) as stream:
            yield stream
    except _TORN as error:
        raise _broken(file, source, error) from None
    except OSError as error:
        if error.errno is not None or not packed:
            raise  # the disk's, not the archive's
        raise _broken(file, source, error) from None


def wait_until_whole(file: Path, source: str) -> None:
    """Wait while a plain file is being written to and ends within a line: such a line is no row yet.

    Many whole files end without a line feed, so the line counts once the file has not changed for two seconds.
    Raises SourceUnavailable, with the line, when that takes too long.
    """
    began = time.monotonic()
    while (
        not _packed(file)
        and not is_workbook(file)
        and 0 <= (age := time.time() - file.stat().st_mtime) < _QUIET
        and not _ends(file)
    ):
        if time.monotonic() - began > _PATIENCE:
            with file.open("rb") as stream:
                line = sum(part.count(b"\n") for part in iter(lambda: stream.read(_PART), b"")) + 1
            raise SourceUnavailable(
                f"{source}: {file.name}, line {line} has no end and the file is still being written; run again when it "
                "is whole, or let its writer write whole lines, as to another name that is changed at the end"
            )
        time.sleep(min(_QUIET - age, 0.1))


def _ends(file: Path) -> bool:
    """Whether a file ends with the end of a line, in any encoding."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - 4, 0))
        tail = stream.read().rstrip(b"\0")
    return not tail or tail[-1:] in {b"\n", b"\r"}


def _broken(file: Path, source: str, error: BaseException) -> SourceError:
    return SourceError(
        f"{source}: {file.name} cannot be read: {str(error) or type(error).__name__}; create the archive again, with one "
        "file in it"
    )


def _packed(file: Path) -> str:
    suffix = file.suffix.lower()
    return suffix if suffix in PACKED else ""


@contextmanager
def _unpack(file: Path) -> Iterator[IO[bytes]]:
    with file.open("rb") as packed, compr[infer_compression(file.name)](packed, mode="rb") as stream:
        yield stream


@contextmanager
def _unzip(file: Path) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(file) as archive:
        names = [i.filename for i in archive.infolist() if not i.is_dir() and not _of_a_system(i.filename)]
        if len(names) != 1:
            named = f" ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""
            raise zipfile.BadZipFile(f"it holds {len(names)} files{named}")
        with archive.open(names[0]) as stream:
            yield stream


def _of_a_system(name: str) -> bool:
    """Whether macOS put a file into an archive beside the user's."""
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")


@contextmanager
def _unpack_zstd(file: Path) -> Iterator[IO[bytes]]:
    with pa.OSFile(str(file)) as packed, pa.CompressedInputStream(packed, "zstd") as stream:
        yield stream


# RuntimeError: a zip file with a password. NotImplementedError, a subclass: one that Python cannot unpack.
_TORN: Final = (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, pa.ArrowException, RuntimeError)
