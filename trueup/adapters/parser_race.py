"""Reads that end in Python's parser, which threads can disturb: the headers of NumPy's files are parsed as Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")
_ATTEMPTS = 20


def read_again(read: Callable[[], _Result]) -> _Result:
    """Return `read()`, and repeat it when Python's parser reports a depth that another thread has changed.

    Until 3.13 the parser counts its depth for all threads at once. It raises SystemError ("AST constructor recursion
    depth mismatch") when another thread parses in between, whatever is parsed: python/cpython#106905.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except SystemError:
            continue
    return read()
