"""Freed memory goes back to the operating system."""

import ctypes
import os
import subprocess
import sys

import pytest

# The blocks come from the heap, as those of a few MiB do in a process that has freed larger ones; the last one keeps the
# heap from shrinking by itself.
PROGRAM = """
from pathlib import Path
import numpy as np
from trueup.memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

blocks = [np.ones(1 << 17) for _ in range(200)]
del blocks[:-1]
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_freed_is_given_back():
    heap = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=heap, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150
