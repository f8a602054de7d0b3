"""Defaults of the environment that must be set before Prefect is imported; what the user has set stays."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trueup.adapters.home import make_home
from trueup.config.settings import Settings
from trueup.errors import UsageError
from trueup.orchestration import proxies

_SERVER_SECONDS = 20.0  # a busy machine's server takes some
_FILES = (".env", "prefect.toml", "pyproject.toml")  # of the current folder, besides its profiles
_ADDRESS = re.compile(r"PREFECT_API_URL|\bapi\b")
MISTAKE = "trueup_mistake"  # the mark of a log record that tells of an error meant for people


def prepare(settings: Settings | None = None) -> None:
    """Keep Prefect's database in the home, its telemetry off and its chatter low; report to the home's stack if it runs.

    Nothing is written. Proxies of the environment are not for this machine's own programs.
    """
    settings = settings or Settings()
    home = settings.root
    proxies.spare(settings.host)
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
    if auth := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):  # what a server asks for is what its clients say
        defaults["PREFECT_API_AUTH_STRING"] = auth
    defaults |= addresses_of_stack(home)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def addresses_of_stack(home: Path) -> dict[str, str]:
    """What `trueup up` tells its flow runs, see `trueup.orchestration.stack.services`; nothing when its Prefect server does not listen."""
    try:
        record = json.loads((home / "stack" / "stack.json").read_text(encoding="utf-8"))
        ports = record["ports"]
        return dict(record["addresses"]) if listens(ports.get("host", "127.0.0.1"), ports["prefect_port"]) else {}
    except (OSError, ValueError, LookupError):
        return {}


def project_of_stack(home: Path) -> Path | None:
    """The folder from which the stack of a home was started; None where that is not known."""
    try:
        return Path(json.loads((home / "stack" / "stack.json").read_text(encoding="utf-8"))["project"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def server_address() -> str | None:
    """The Prefect server that flows report to, or None where none is configured.

    The environment answers first, after `prepare` with the stack of the home. Prefect's own files are looked at next, and
    Prefect is imported only where one of them names an address: its import takes seconds. Where it is loaded already, it knows.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    files = [Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml"), *map(Path, _FILES)]
    if "prefect" not in sys.modules and not any(_may_name_a_server(file) for file in files):
        return None
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def _may_name_a_server(file: Path) -> bool:
    """Whether a file of Prefect's settings may name an address; Prefect itself is asked which one."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    ours = file.name != "pyproject.toml" or "tool.prefect" in text
    return ours and _ADDRESS.search(text) is not None


@contextmanager
def flows_called_here() -> Iterator[None]:
    """Call flows in the block for a person who waits for them: errors are logged once, and no heartbeat is sent.

    Each flow waits up to a second for its own heartbeat's sleep to end, twelve months of `run` six seconds, and a person
    who waits sees that the process died. Flows that a worker starts do not come through here.
    """
    # Prefect's own server restarts again and again, without a message, where it cannot make its database.
    make_home(Settings().root)
    Path(os.environ.get("PREFECT_HOME", Settings().root / "prefect")).mkdir(parents=True, exist_ok=True)
    from prefect.context import SettingsContext, get_settings_context
    from prefect.logging.configuration import setup_logging

    context = get_settings_context()
    settings = context.settings
    proxies.require_usable()
    _require_server(settings.api.url)
    silent = settings.flows.model_copy(update={"heartbeat_frequency": None})  # a variable cannot say "none"
    setup_logging()  # else the first flow run would, and its console would come too late
    consoles = logging.getLogger().handlers
    for console in consoles:
        console.addFilter(_not_told)
    try:
        with SettingsContext(profile=context.profile, settings=settings.model_copy(update={"flows": silent})):
            yield
    finally:
        for console in consoles:
            console.removeFilter(_not_told)


def _require_server(url: str | None) -> None:
    """Find out at once that the server that flows are to report to does not answer. Raises UsageError."""
    if url is None:
        return
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=_SERVER_SECONDS)  # whatever it says, it is there
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"the Prefect server {url} does not answer: {error or type(error).__name__}; start it, or unset "
            "PREFECT_API_URL (it may also stand in a profile of Prefect's) to do without"
        ) from None


def _not_told(record: logging.LogRecord) -> bool:
    """The caller tells an error himself, and how a task ended with it; a run's page on the server still has both."""
    ended = record.name == "prefect.task_runs" and str(record.msg).startswith("Finished in state")
    traced = bool(record.exc_info) and record.name.startswith("prefect")
    return not ended and not traced and not getattr(record, MISTAKE, False)
