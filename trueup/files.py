"""Files that are whole whenever they can be seen: written beside their place, and moved there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from trueup.crash import reach
from trueup.errors import WorkError


@contextmanager
def whole(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A stream to a file that appears complete at the end of the block, with the mode of the file that it replaces.

    With `durable` it also survives a power cut. Raises WorkError when writing fails; no part of it is left then.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        reach("file.beside")
        beside.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise WorkError(
            f"{path} cannot be written: {error.strerror or error}; make room or allow writing there, then run again. "
            "Nothing was half written"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text that a power cut may take back. Raises WorkError as `whole` does."""
    with whole(path, durable=False) as file:
        file.write(text.encode())


def link(old: Path, new: Path) -> None:
    """Put a file that never changes in a second place, as a link if the disk allows it. Raises WorkError."""
    new.parent.mkdir(parents=True, exist_ok=True)
    if new.exists():
        return
    try:
        os.link(old, new)
    except OSError:
        copied(old, new)


def copied(old: Path, new: Path) -> None:
    """Copy a file that a power cut may take back. Raises WorkError as `whole` does."""
    with whole(new, durable=False) as copy, old.open("rb") as content:
        shutil.copyfileobj(content, copy)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_folder(place: Path, beside: Path) -> Iterator[Path]:
    """A new folder `beside`, which becomes `place` at the end of the block, instead of what is there; or not at all.

    What an interrupted block left beside is removed. Both are on one file system. Raises OSError.
    """
    shutil.rmtree(beside, ignore_errors=True)
    try:
        yield beside
        if place.exists():
            shutil.rmtree(place)
        beside.replace(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
