"""Whether files have been written since they were last looked at, without reading them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

_SETTLED = 3.0  # seconds: some disks keep times in steps of two


def state_of(files: Sequence[Path]) -> str | None:
    """Digest of the names, sizes and times of files; None if one was written just now.

    A write changes the time of the inode, which nobody can set back, unless it follows another within one step of the
    disk's clock: so the state of a file that was just written, or by a clock that is ahead, is not known.
    """
    facts, newest = [], 0.0
    for file in files:
        stat = file.stat()
        facts.append([str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
        newest = max(newest, stat.st_mtime, stat.st_ctime)
    if newest > time.time() - _SETTLED:
        return None
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
