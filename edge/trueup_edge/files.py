"""Files: read without following links and within a limit, and written so that they are whole whenever they can be seen."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from trueup_edge.errors import NotTrusted, Unavailable, UsageError


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes. Raises NotTrusted for anything else, Unavailable if reading fails."""
    try:
        # A named pipe would block without O_NONBLOCK.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise NotTrusted(f"{path} is missing; get the bundle again") from None
    except OSError as error:
        if path.is_symlink():
            raise NotTrusted(f"{path} is a link; give a plain file") from None
        raise Unavailable(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotTrusted(f"{path} is not a plain file; get the bundle again")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror or error}") from None
    finally:
        os.close(handle)
    if len(data) > limit:
        raise NotTrusted(f"{path} is larger than {limit} bytes; get the bundle again")
    return data


def lock_alone(handle: int) -> bool:
    """Lock an open file for this process, until it is closed. Returns False if another process has it.

    Raises UsageError on a system without such locks.
    """
    try:
        import fcntl
    except ImportError:
        raise UsageError("updates and spools need a POSIX system, such as Linux; run them there") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    if os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes, scratch: Path | None = None) -> None:
    """Write a file that appears complete, and survives a power cut. Raises Unavailable; the old file is left then.

    It is written in the folder `scratch` of the same disk (default: that of the file), and moved.
    """
    beside = (scratch or path.parent) / f".{path.name}.new"
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise Unavailable(f"{path} cannot be written: {error.strerror or error}; make room, then run again") from None
