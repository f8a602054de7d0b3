"""Tab completion, which must answer as fast as an import, so nothing large is loaded."""

from __future__ import annotations

import os

from trueup.config.load import model_names
from trueup.config.settings import Settings
from trueup.errors import TrueupError

_ASKING = "_TRUEUP_COMPLETE"  # the variable with which a shell asks; typer derives it from the program's name


def completing() -> bool:
    """Whether a shell asks for completions; then the command line must not prepare or write anything."""
    return _ASKING in os.environ


def models(incomplete: str) -> list[str]:
    """The models with a config and a name that begins with the text; empty in a wrong environment."""
    try:
        return [name for name in model_names(Settings().configs) if name.startswith(incomplete)]
    except (TrueupError, OSError):
        return []
