"""A home's files in an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure.

A file is written by one request, or by one that completes its parts, so that it appears whole. Requests that the store
refuses for its load, or does not answer, are repeated for a while. What was read is kept on this machine, see `Cache`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from trueup.adapters.files.cache import Cache
from trueup.adapters.files.conditional import put_if_absent
from trueup.adapters.files.port import Entry, Files
from trueup.errors import FilesUnavailable, WorkError

T = TypeVar("T")

# Folders in which a name always has the same content, so that a copy counts without asking the store.
_LASTING: Final = ("batches/", "quarantine/", "predictions/", "features/", "recorded/")
# No copies are kept of what can be erased at once (`trueup forget`), because other machines would go on having them.
_ERASED: Final = ("served/",)
_TRIES: Final = 8  # of each request
_LONGEST_PAUSE: Final = 10.0  # seconds
_BUSY: Final = re.compile(
    r"SLOW_?DOWN|SERVICE_UNAVAILABLE|ServiceUnavailable|THROTTL|REQUEST_TIMEOUT|RequestTimeout|INTERNAL_FAILURE|InternalError"
    r"|NETWORK_CONNECTION|curlCode|[Tt]imed? ?out|HTTP status (?:429|5\d\d)|Connection (?:reset|refused)"
)


class BucketFiles:
    """The files below an address such as s3://bucket/prefix, see `Files`."""

    def __init__(self, address: str, cache: Cache, system: pafs.FileSystem, root: str) -> None:
        self.address = address.rstrip("/")
        self.cache = cache
        self._system = system
        self._root = root.rstrip("/")  # the path within the file system

    @contextmanager
    def writing(self, key: str, durable: bool = True) -> Iterator[BinaryIO]:  # noqa: ARG002 - always durable
        with self.cache.scratch() as content:
            with content.open("wb") as stream:
                yield stream
            self._upload(content, key)
            if key.startswith(_LASTING):
                self.cache.keep(key, content)
            else:
                self.cache.forget(key)

    @contextmanager
    def opened(self, key: str, fresh: bool = False) -> Iterator[pa.NativeFile]:
        if fresh:
            self.cache.forget(key)
        with self.local(key) as path, pa.OSFile(str(path)) as file:
            yield file

    def exists(self, key: str) -> bool:
        return bool(self._info(key).type == pafs.FileType.File)

    def listed(self, folder: str) -> Iterator[Entry]:
        selector = pafs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        for info in self._answered(folder, lambda: self._system.get_file_info(selector)):
            if info.type == pafs.FileType.File:
                written = info.mtime or datetime.now(UTC)
                yield Entry(info.path.removeprefix(self._root).lstrip("/"), info.size, written.astimezone(UTC))

    def delete(self, key: str) -> None:
        self.cache.forget(key)
        try:
            self._answered(key, lambda: self._system.delete_file(self._path(key)))
        except FileNotFoundError:
            return

    def put_new(self, key: str, content: bytes) -> bool:
        self.cache.forget(key)
        return self._answered(key, lambda: put_if_absent(self._system, self._path(key), content))

    def adopt(self, other: Files, key: str) -> None:
        if self.exists(key):
            return
        with other.local(key) as path:
            self._upload(path, key)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        if not key.startswith(_ERASED):
            with self.cache.held(self._copy(key)) as path:
                yield path
            return
        with self.cache.scratch() as content:
            self._answered(key, lambda: self._fetch(key, content))
            yield content

    def where(self, key: str) -> str:
        return f"{self.address}/{key}"

    def _copy(self, key: str) -> Path:
        """The local copy of a file, fetched if there is none of its state. Raises FileNotFoundError."""
        state = "" if key.startswith(_LASTING) else self._state(key)
        if (copy := self.cache.get(key, state)) is not None:
            return copy
        with self.cache.scratch() as content:
            self._answered(key, lambda: self._fetch(key, content))
            self.cache.keep(key, content, state)
        if (copy := self.cache.get(key, state)) is None:
            raise WorkError(
                f"{self.where(key)} cannot be copied to this machine: there is no room, or it may not be written; make room "
                "where TRUEUP_CACHE is, or set it to another folder, then run again"
            )
        return copy

    def _state(self, key: str) -> str:
        """The size and time of a file that may be written again. Raises FileNotFoundError."""
        info = self._info(key)
        if info.type != pafs.FileType.File:
            raise FileNotFoundError(f"there is no {self.where(key)}")
        return f"{info.size}-{info.mtime_ns}"

    def _fetch(self, key: str, content: Path) -> None:
        with self._system.open_input_stream(self._path(key)) as there, content.open("wb") as here:
            while block := there.read(8 << 20):
                here.write(block)

    def _upload(self, content: Path, key: str) -> None:
        def put() -> None:
            # Not `copy_files`: it leaves the end of the writing to a destructor, which ignores a refusal.
            with pa.OSFile(str(content)) as here, self._system.open_output_stream(self._path(key)) as there:
                there.write(here.read_buffer())

        self._answered(key, put)

    def _info(self, key: str) -> pafs.FileInfo:
        return self._answered(key, lambda: self._system.get_file_info(self._path(key)))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}".rstrip("/")

    def _answered(self, key: str, request: Callable[[], T]) -> T:
        """The answer to a request, which is repeated while the store is busy. Raises FileNotFoundError, WorkError."""
        tries = Retrying(
            retry=retry_if_exception(_is_busy),
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE),
            reraise=True,
        )
        try:
            return tries(request)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            if _is_busy(error):
                raise FilesUnavailable(
                    f"{self.where(key)}: the object store does not answer: {error}; nothing was half written, so run again later"
                ) from error
            raise WorkError(
                f"{self.where(key)}: the object store refuses: {error}; check the bucket's name and the credentials in the "
                "environment, then run again"
            ) from error


def _is_busy(error: BaseException) -> bool:
    """Whether a request that failed so may be answered later."""
    missing = isinstance(error, FileNotFoundError | PermissionError)
    return isinstance(error, TimeoutError) or (
        isinstance(error, OSError) and not missing and bool(_BUSY.search(str(error)))
    )
