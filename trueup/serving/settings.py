"""The settings of a server process, from its command line and the environment of the home."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from trueup.config.places import folder_of_home, require_shared
from trueup.errors import UsageError
from trueup.ledger.signing import Keys, Signer, open_signer
from trueup.serving.state import FOLDER, STATE_FILE

TOKENS_FILE: Final = "tokens.json"
PORT: Final = 8200
CONNECTIONS: Final = 750  # with the other files of a process fewer than 1024, the usual limit
MOST_CONNECTIONS: Final = 100_000

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")  # of a model, as in its config


@dataclass(frozen=True)
class ServerSettings:
    """Where a server listens, what it serves, and the home that it reads."""

    home: Path
    configs: Path
    database: str
    models: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = PORT
    workers: int = 1
    connections: int = CONNECTIONS  # of each worker at once
    tls_cert: Path | None = None
    tls_key: Path | None = None
    socket: int | None = None  # the descriptor of a bound socket, for a worker
    number: int = 0  # of the worker
    parent: int = 0  # the process that started the worker

    @property
    def tokens(self) -> Path:
        """The file with the tokens of this home."""
        return tokens_file(self.home)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host == "localhost" or _is_loopback(self.host)

    def signer(self) -> Signer:
        """The home's key, to verify what was published; public keys suffice. Raises LedgerError as `open_signer` does."""
        given = os.environ
        keys = Keys(
            given.get("TRUEUP_LEDGER_KEY"),
            Path(file).expanduser() if (file := given.get("TRUEUP_LEDGER_KEY_FILE")) else None,
            given.get("TRUEUP_LEDGER_EARLIER_KEYS"),
            given.get("TRUEUP_LEDGER_PUBLIC_KEYS"),
        )
        return open_signer(self.home, keys, keep=False)


@dataclass(frozen=True)
class Places:
    """Where a server finds what it serves. It does without the settings of all commands, which take longer to load."""

    home: Path
    configs: Path
    database: str


def places_of(environment: Mapping[str, str]) -> Places:
    """The places that the environment names, as `trueup.config.settings` has them. Raises UsageError."""
    given, database = environment.get("TRUEUP_HOME", ".trueup"), environment.get("TRUEUP_DATABASE_URL")
    home = folder_of_home(given, environment.get("TRUEUP_CACHE"), database)
    configs = Path(environment.get("TRUEUP_CONFIGS", "configs")).expanduser().resolve()
    database = require_shared(given, database or f"sqlite:///{home / 'trueup.db'}", "TRUEUP_DATABASE_URL")
    return Places(home, configs, database)


def read_settings(words: Sequence[str] | None, environment: Mapping[str, str]) -> ServerSettings:
    """Read the command line of `python -m trueup.serving`. Raises UsageError."""
    asked = _parser().parse_args(words)
    places = places_of(environment)
    return require_sound(
        ServerSettings(
            home=places.home,
            configs=places.configs,
            database=places.database,
            models=tuple(dict.fromkeys(asked.models)) or published_models(places.home),
            host=asked.host,
            port=asked.port,
            workers=asked.workers,
            connections=asked.connections,
            tls_cert=asked.tls_cert,
            tls_key=asked.tls_key,
            socket=asked.socket,
            number=asked.number,
            parent=asked.parent,
        )
    )


def tokens_file(home: Path) -> Path:
    """The file with the tokens: TRUEUP_TOKENS_FILE, as a secret store mounts it, or that of the home."""
    given = os.environ.get("TRUEUP_TOKENS_FILE")
    # Not resolved: Kubernetes changes a mounted Secret by pointing a link to another folder.
    return Path(given).expanduser().absolute() if given else home / FOLDER / TOKENS_FILE


def published_models(home: Path) -> tuple[str, ...]:
    """The models that a home has published."""
    return tuple(sorted(file.parent.name for file in (home / FOLDER).glob(f"*/{STATE_FILE}")))


def require_sound(settings: ServerSettings) -> ServerSettings:
    """The settings. Raises UsageError for what cannot be served, or not safely."""
    if not settings.models:
        raise UsageError(
            f"{settings.home} has published no model; add `serve: {{}}` to a model's config, run `trueup run MODEL`, or "
            "name the models that will be published"
        )
    if strange := [name for name in settings.models if not _NAME.fullmatch(name)]:
        raise UsageError(f"{strange[0]!a} can be no model's name: small letters, digits and _, at most 63")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("TLS needs both files: name the certificate with --tls-cert and its key with --tls-key")
    if settings.tls_cert is not None and settings.tls_key is not None:
        _require_certificate(settings.tls_cert, settings.tls_key)
    if not settings.loopback and not settings.tokens.is_file():
        raise UsageError(
            f"--host {settings.host} can be reached from other machines, and {settings.tokens} is missing, so anyone could "
            "ask; make a token first: trueup token add NAME --scope predict"
        )
    return settings


def _require_certificate(certificate: Path, key: Path) -> None:
    import ssl  # takes time to import, and most servers have no certificate

    for file in (certificate, key):
        if not file.is_file():
            raise UsageError(f"{file}: no such file; name the file of the certificate or the key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_password)
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        raise UsageError(
            f"{certificate} and {key} cannot be used for TLS: {error}; give a certificate and its key in PEM, without a "
            "password"
        ) from None


def _no_password() -> str:
    """Refuse an encrypted key: nobody is there to type its password when the server starts."""
    raise ValueError("the key is encrypted")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see python -m trueup.serving --help")


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Read a whole number within bounds."""

    def number(text: str) -> int:
        if not least <= (value := int(text)) <= most:
            raise ValueError
        return value

    number.__name__ = f"number from {least} to {most}"  # argparse names it in its message
    return number


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m trueup.serving", description=__doc__, allow_abbrev=False)
    parser.add_argument("models", nargs="*", help="models; default: all that the home has published")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_whole(0, 65535), default=PORT)
    parser.add_argument("--workers", type=_whole(1, 64), default=1)
    parser.add_argument("--connections", type=_whole(1, MOST_CONNECTIONS), default=CONNECTIONS)
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)
    return parser
