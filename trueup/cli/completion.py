"""Tab completion, which must answer as fast as an import, so nothing large is loaded."""

from __future__ import annotations

import os

from trueup.config.load import model_names
from trueup.config.settings import Settings
from trueup.errors import TrueupError

_ASKING = "_TRUEUP_COMPLETE"  # the variable with which a shell asks; typer derives it from the program's name


def completing() -> bool:
    """Whether a shell asks for completions, so that nothing must be prepared or written."""
    return _ASKING in os.environ


def models(incomplete: str) -> list[str]:
    """The models with a config whose names begin with the text; none in a wrong environment."""
    try:
        return [name for name in model_names(Settings().configs) if name.startswith(incomplete)]
    except (TrueupError, OSError):
        return []
