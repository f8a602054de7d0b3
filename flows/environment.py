"""Defaults of the environment that must be set before Prefect is imported; what the user has set stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trueup.config.settings import Settings


def prepare(settings: Settings | None = None) -> None:
    """Keep Prefect's database in the home, its telemetry off and its chatter low."""
    home = (settings or Settings()).root
    defaults = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a busy machine needs more than the 20 s
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Prefect's server starts again and again, without a word, where it cannot make its database.
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


@contextmanager
def unwatched() -> Iterator[None]:
    """Turn heartbeats off for flows called in the block: for a caller who sees by himself that the process died.

    Each flow waits up to a second for its own heartbeat's sleep to end, twelve months of `run` six seconds. Flows that
    a worker starts do not come through here and keep theirs.
    """
    from prefect.context import SettingsContext, get_settings_context

    context = get_settings_context()
    settings = context.settings
    silent = settings.flows.model_copy(update={"heartbeat_frequency": None})  # a variable cannot say "none"
    with SettingsContext(profile=context.profile, settings=settings.model_copy(update={"flows": silent})):
        yield
