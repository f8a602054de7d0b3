"""Defaults of the environment that must be set before Prefect is imported; existing values stay."""

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

_SERVER_SECONDS = 20.0  # a busy machine's server needs some
_FILES = (".env", "prefect.toml", "pyproject.toml")  # in the current folder, besides its profiles
_ADDRESS = re.compile(r"PREFECT_API_URL|\bapi\b")
MISTAKE = "trueup_mistake"  # marks the log record of an error for people


def prepare(settings: Settings | None = None) -> None:
    """Keep Prefect's database in the home, turn its telemetry off and its log low, and report to a running stack.

    Nothing is written. Proxies of the environment are not used for programs of this machine.
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
    if auth := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):  # a server's password is its clients' password
        defaults["PREFECT_API_AUTH_STRING"] = auth
    defaults |= addresses_of_stack(home)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def addresses_of_stack(home: Path) -> dict[str, str]:
    """The environment of `trueup up` for flow runs, see `stack.services`; empty if its Prefect server does not listen."""
    try:
        record = json.loads((home / "stack" / "stack.json").read_text(encoding="utf-8"))
        ports = record["ports"]
        return dict(record["addresses"]) if listens(ports.get("host", "127.0.0.1"), ports["prefect_port"]) else {}
    except (OSError, ValueError, LookupError):
        return {}


def project_of_stack(home: Path) -> Path | None:
    """The folder from which the stack of a home was started, None if unknown."""
    try:
        return Path(json.loads((home / "stack" / "stack.json").read_text(encoding="utf-8"))["project"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def listens(host: str, port: int) -> bool:
    """Whether a server accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def server_address() -> str | None:
    """The configured Prefect server, or None.

    The environment comes first, after `prepare` with the stack of the home, then Prefect's own files. Prefect is
    imported only if one of them may name an address, because its import takes seconds, or if it is loaded already.
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
    """Whether a file of Prefect's settings may name an address."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    ours = file.name != "pyproject.toml" or "tool.prefect" in text
    return ours and _ADDRESS.search(text) is not None


@contextmanager
def flows_called_here() -> Iterator[None]:
    """Call flows in the block for a waiting person: errors are logged once, and no heartbeat is sent.

    Each flow would wait up to a second for its heartbeat to end, which is six seconds for twelve months of `run`, and
    the person notices a dead process anyway. Flows that a worker starts do not use this.
    """
    # Prefect's own server restarts silently again and again if it cannot create its database.
    make_home(Settings().root)
    Path(os.environ.get("PREFECT_HOME", Settings().root / "prefect")).mkdir(parents=True, exist_ok=True)
    from prefect.context import SettingsContext, get_settings_context
    from prefect.logging.configuration import setup_logging

    context = get_settings_context()
    settings = context.settings
    proxies.require_usable()
    _require_server(settings.api.url)
    silent = settings.flows.model_copy(update={"heartbeat_frequency": None})  # a variable cannot be None
    setup_logging()  # otherwise the first flow run would, too late for the console
    consoles = logging.getLogger().handlers
    for console in consoles:
        console.addFilter(_unreported)
    try:
        with SettingsContext(profile=context.profile, settings=settings.model_copy(update={"flows": silent})):
            yield
    finally:
        for console in consoles:
            console.removeFilter(_unreported)


def _require_server(url: str | None) -> None:
    """Raise UsageError at once if the configured server does not answer."""
    if url is None:
        return
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=_SERVER_SECONDS)  # any answer shows that it runs
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"the Prefect server {url} does not answer: {error or type(error).__name__}; start it, or unset "
            "PREFECT_API_URL (it may also be in a profile of Prefect) to run without a server"
        ) from None


def _unreported(record: logging.LogRecord) -> bool:
    """Filter errors that the caller reports itself; a run's page on the server still has them."""
    ended = record.name == "prefect.task_runs" and str(record.msg).startswith("Finished in state")
    traced = bool(record.exc_info) and record.name.startswith("prefect")
    return not ended and not traced and not getattr(record, MISTAKE, False)
