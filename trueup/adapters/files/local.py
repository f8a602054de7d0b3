"""A home's files in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pyarrow as pa

from trueup.adapters.files.port import Entry, Files
from trueup.files import copied, link, whole


@dataclass(frozen=True)
class LocalFiles:
    """The files below a folder, see `Files`."""

    root: Path

    def writing(self, key: str, durable: bool = True) -> AbstractContextManager[BinaryIO]:
        return whole(self.root / key, durable)

    def opened(self, key: str, fresh: bool = False) -> AbstractContextManager[pa.NativeFile]:  # noqa: ARG002
        file: AbstractContextManager[pa.NativeFile] = pa.OSFile(str(self.root / key))
        return file

    def exists(self, key: str) -> bool:
        return (self.root / key).is_file()

    def listed(self, folder: str) -> Iterator[Entry]:
        for inside, _, names in os.walk(self.root / folder):
            for name in names:
                path = Path(inside, name)
                with suppress(FileNotFoundError):  # moved or removed since it was listed
                    found = path.stat()
                    written = datetime.fromtimestamp(found.st_mtime, UTC)
                    yield Entry(path.relative_to(self.root).as_posix(), found.st_size, written)

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    def put_new(self, key: str, content: bytes) -> bool:
        path = self.root / key
        beside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
        with whole(beside) as stream:
            stream.write(content)
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            return False
        finally:
            beside.unlink()
        return True

    def adopt(self, other: Files, key: str) -> None:
        if isinstance(other, LocalFiles):
            link(other.root / key, self.root / key)
        elif not self.exists(key):
            with other.local(key) as path:
                copied(path, self.root / key)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        yield self.root / key

    def where(self, key: str) -> str:
        return str(self.root / key)
