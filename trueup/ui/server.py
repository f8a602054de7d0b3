"""Runs the server of `trueup ui` until it is ended; in the stack as `python -m trueup.ui.server --host H --port P`."""

from __future__ import annotations

import argparse
from ipaddress import ip_address
from types import FrameType

import uvicorn

from trueup.config.settings import Settings
from trueup.errors import UsageError
from trueup.ui.app import application
from trueup.ui.live import Live


def require_guarded(settings: Settings, host: str) -> None:
    """Raise UsageError for an address that others reach, without a token, and for one that is not a single address."""
    if _unspecified(host):
        raise UsageError(
            f"--host {host} is not a single address, so the names in requests could not be checked; use the one at which "
            "others reach this machine"
        )
    if not _loopback(host) and settings.reports_token is None:
        raise UsageError(
            f"--host {host} can be reached from other machines, and the page asks nobody who they are: set TRUEUP_REPORTS_TOKEN, "
            "or leave --host out and use a tunnel (docs/operations.md)"
        )


def run(settings: Settings, host: str, port: int) -> None:
    """Serve at any address: a container's is its own, and the stack has checked its access."""
    served = application(settings, host)
    config = uvicorn.Config(served, host=host, port=port, log_level="warning", access_log=False)
    _Server(config, served.state.live).run()


class _Server(uvicorn.Server):
    """Lets open pages go at its end: it would wait for their connections, which last as long as the pages."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End at a signal."""
        super().handle_exit(sig, frame)
        self._live.end()


def _unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    run(Settings(), arguments.host, arguments.port)


if __name__ == "__main__":
    main()
