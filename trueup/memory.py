"""Gives memory that was freed back to the operating system.

After a batch of millions of rows, glibc and Arrow keep hundreds of MiB that nothing uses, and the next stage, which asks
for blocks of other sizes, gets more beside them.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back() -> None:
    """Return unused memory of Arrow, and of the C library where that is glibc."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)
