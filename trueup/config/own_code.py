"""Code of the user's own that a config names as `module:name`: a function or a class, beside the config or installed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from trueup.errors import SourceError


def load_function(dotted: str, root: Path) -> Callable[..., Any]:
    """Find `module:name` in a file beside the configs (`root`), else wherever Python finds it.

    A file beside the configs is loaded under a unique name, so that two config folders may each have a `sources.py`,
    and again after a change. `sys.path` does not change. Raises SourceError.
    """
    name, attribute = dotted.split(":")
    file = root / f"{name}.py"
    try:
        with importable(root):
            module = _load_file(file) if file.is_file() else importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{dotted}: no module {error.name}; put {name}.py beside the config (in {root}) or install it"
        ) from error
    except Exception as error:
        raise SourceError(
            f"{dotted}: importing it raised {type(error).__name__}: {error}; fix the module, then run again"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise SourceError(f"{dotted}: {module.__file__ or name} has no {attribute}; correct the name")
    return function  # type: ignore[no-any-return]


def source_digest(dotted: str, root: Path) -> str:
    """Digest of the module that `dotted` is found in, so that a change of it is noticed. Raises SourceError."""
    text = source_text(dotted, root)
    return hashlib.sha256(text).hexdigest() if text else ""


def source_text(dotted: str, root: Path) -> bytes:
    """The module that `dotted` is found in; empty for one without a file. Raises SourceError."""
    file = sys.modules[load_function(dotted, root).__module__].__file__
    return Path(file).read_bytes() if file else b""


def _load_file(file: Path) -> ModuleType:
    identity = f"{file.resolve()}:{file.stat().st_mtime_ns}"
    name = f"{file.stem}@{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def importable(root: Path) -> Iterator[None]:
    """Let modules beside the configs import each other."""
    entry = str(root)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
