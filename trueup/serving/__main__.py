"""`python -m trueup.serving [MODEL ...]`: the server of `trueup serve`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from trueup.errors import TrueupError
from trueup.serving.settings import ServerSettings, read_settings
from trueup.serving.workers import GRACE, Workers, allow_files, bound_socket, end_with_parent

log = logging.getLogger("trueup.serving")


def main(words: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; returns the exit code."""
    given = sys.argv[1:] if words is None else list(words)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, level=logging.INFO)
    try:
        settings = read_settings(given, os.environ)
        allow_files(settings.connections)
        if settings.workers > 1 and settings.socket is None:
            return Workers(settings, given).run()
        return serve(settings)
    except TrueupError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def serve(settings: ServerSettings) -> int:
    """Answer in this process. Raises UsageError for an address that cannot be listened on."""
    import uvicorn

    from trueup.serving.http.app import App
    from trueup.serving.http.connection import limited
    from trueup.serving.loading.served import Served
    from trueup.serving.loading.watch import Watch
    from trueup.serving.tokens import Tokens

    served = [Served(settings.home, name) for name in settings.models]
    tokens = Tokens(settings.tokens, workers=settings.workers, required=not settings.loopback)
    app = App(served, tokens, database=settings.database)
    listening = bound_socket(settings)
    if settings.socket is not None:
        end_with_parent(settings.parent)
    watch = Watch(served, settings)
    watch.start()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=limited(settings.connections, app.note_refused),
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # nothing here depends on who the client says it is
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    _say_where(settings, listening.getsockname()[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)  # uvicorn raises the signal again when all is answered
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        watch.stop()
        listening.close()
    return 0


def _ended(_signal: int, _frame: FrameType | None) -> None:
    """Leave the end to those who wait for the server."""


def _say_where(settings: ServerSettings, port: int) -> None:
    if settings.number == 0:  # one worker speaks for all
        scheme, host = "https" if settings.tls_cert else "http", settings.host
        named = f"[{host}]" if ":" in host else host
        log.info("%s at %s://%s:%d", ", ".join(settings.models), scheme, named, port)


if __name__ == "__main__":
    sys.exit(main())
