"""Imports of large libraries."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


@contextmanager
def undisturbed() -> Iterator[None]:
    """Import in the block without garbage collection, which would take a fifth of the time of large imports.

    It would look at all modules again and again, and they stay for good. The garbage of the block is collected at its
    end.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(0)


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Import in the block as if these packages were not installed. A package that is loaded stays."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None, which Python refuses to import
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextmanager
def postponed(name: str) -> Iterator[None]:
    """Imports of a package in the block load it with the first use of one of its names."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = _Later(name)
    try:
        yield
    finally:
        sys.modules.pop(name, None)


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of a look at all modules
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)
