"""A function of the user's own that a config names as `module:name`: in a file beside the configs, or installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from trueup.errors import UsageError


def own_function(dotted: str, configs: Path) -> Callable[..., Any]:
    """Load a function. Raises UsageError, naming it, if its module cannot be imported or does not have it."""
    name, _, attribute = dotted.partition(":")
    file = configs / f"{name}.py"
    sys.path.insert(0, str(configs))  # modules beside the configs may import each other
    try:
        module = _from_file(file) if file.is_file() else importlib.import_module(name)
    except Exception as error:  # of the user's own code
        raise UsageError(
            f"{dotted}: importing it raised {type(error).__name__}: {error}; put {name}.py beside the configs (in {configs}) "
            "or install it, with all that it imports"
        ) from error
    finally:
        sys.path.remove(str(configs))
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UsageError(f"{dotted}: {module.__file__ or name} has no function {attribute}; correct the name")
    return function  # type: ignore[no-any-return]


def _from_file(file: Path) -> ModuleType:
    """The module in a file as it is now: a server goes on when the file changes."""
    spec = importlib.util.spec_from_file_location(f"trueup_own_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
