"""Becomes the server process. `trueup serve` of published models gets here without loading the command line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from trueup.config.places import is_address
from trueup.errors import UsageError
from trueup.serving.published import folder_of
from trueup.serving.settings import Places, ServerSettings, places_of, read_settings
from trueup.serving.state import STATE_FILE

_SECTION: Final = re.compile(r"^serve[ \t]*:", re.MULTILINE)  # a line of a config that has it, in YAML's block style
_OF_WORKERS: Final = ("--socket", "--number", "--parent")  # options that only the server's own processes get


def published(places: Places, name: str) -> bool:
    """Whether a model was published and its config still has the section, by a look at the text.

    Reading a config with all that it names takes longer than the start of the server.
    """
    try:
        text = (places.configs / f"{name}.yaml").read_text(encoding="utf-8")
        return _SECTION.search(text) is not None and (folder_of(places.home, name) / STATE_FILE).is_file()
    except (OSError, ValueError):
        return False


def ready(words: Sequence[str], environment: Mapping[str, str]) -> ServerSettings | None:
    """The settings of `trueup serve WORDS` if all named models are published; None if the command line has to look.

    It has to for a request for help, for models that are not named or not published, and for every mistake.
    """
    if any(word.startswith((*_OF_WORKERS, "-h", "--he")) for word in words):
        return None
    try:
        settings = read_settings(words, environment)
    except UsageError:
        return None
    places = places_of(environment)
    named = set(settings.models) & set(words)
    return settings if named == set(settings.models) and all(published(places, one) for one in named) else None


def become(settings: ServerSettings) -> None:
    """Replace this process by the server."""
    words = [
        *settings.models,
        "--host",
        settings.host,
        "--port",
        str(settings.port),
        "--workers",
        str(settings.workers),
        "--connections",
        str(settings.connections),
    ]
    if settings.tls_cert is not None and settings.tls_key is not None:
        words += ["--tls-cert", str(settings.tls_cert), "--tls-key", str(settings.tls_key)]
    given = os.environ.get("TRUEUP_HOME", "")
    home = {
        "TRUEUP_HOME": given if is_address(given) else str(settings.home),
        "TRUEUP_CONFIGS": str(settings.configs),
        "TRUEUP_DATABASE_URL": settings.database,
    }
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "trueup.serving", *words], {**os.environ, **home})
