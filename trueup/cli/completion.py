"""What a shell is told when Tab is pressed: answered within the time of an import, so nothing heavy is looked at."""

from __future__ import annotations

import os

from trueup.config.load import model_names
from trueup.config.settings import Settings
from trueup.errors import TrueupError

_ASKING = "_TRUEUP_COMPLETE"  # the variable by which a shell asks; typer makes the name from the program's


def asked() -> bool:
    """Whether a shell asks, and not a person: then nothing is to be prepared or written."""
    return _ASKING in os.environ


def models(incomplete: str) -> list[str]:
    """The models that have a config and whose names begin so. A wrong environment has none: nobody wants to read of it now."""
    try:
        return [name for name in model_names(Settings().configs) if name.startswith(incomplete)]
    except (TrueupError, OSError):
        return []
