"""Who may ask a server: tokens with a name and a scope, of which the file keeps a digest only.

A token is `trueup_<id>_<secret>`. The file is read again soon after it changes, so a token is added, replaced and
revoked without a restart. Without a file everybody on this machine may predict, and nobody makes predictions of record. A
file that is lost while the server runs opens nothing: the tokens that were read last stay valid.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from trueup import files
from trueup.errors import UsageError, WorkError
from trueup.hints import did_you_mean

FILE: Final = "tokens.json"  # in HOME/serving
FORMAT: Final = "trueup-tokens/1"
SCOPES: Final = ("predict", "record", "admin")  # each may do what those before it may

Scope = Literal["predict", "record", "admin"]

_PREFIX: Final = "trueup"
_CHECK_S: Final = 1.0  # seconds between two looks at the file's time
_NOBODY: Final = "0" * 64  # the digest of no token
_log: Final = logging.getLogger(__name__)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as the file has it."""

    name: str
    scope: Scope
    sha256: str
    created: str  # UTC
    rate: float | None = None  # requests a second; None is unlimited
    expires: str | None = None  # UTC


class _File(msgspec.Struct, frozen=True):
    format: Literal["trueup-tokens/1"]
    tokens: dict[str, Token] = {}  # by id


class Grant(msgspec.Struct, frozen=True):
    """What the sender of a request may do."""

    id: str
    name: str
    scope: Scope

    @property
    def records(self) -> bool:
        """Whether its predictions are of record."""
        return self.scope != "predict"

    def allows(self, scope: Scope) -> bool:
        """Whether it includes a scope."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


EVERYBODY: Final = Grant("", "everybody on this machine", "predict")


class Denied(UsageError):
    """A request without a valid token, or one that asks too often: then `wait` has the seconds until it may again."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Tokens:
    """The tokens of a file, as it is now. For one thread.

    `workers` share a rate evenly. With `required` a missing file lets nobody in, for servers that other machines reach.
    Raises WorkError if the file cannot be read at the start; later the tokens that were read last stay valid.
    """

    def __init__(
        self, file: Path, *, workers: int = 1, required: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file, self._workers, self._required, self._clock = file, workers, required, clock
        self._looked, self._seen = clock(), _stamp(file)
        self._tokens: Mapping[str, Token] | None = _read(file)
        self._buckets: dict[str, _Bucket] = {}

    @property
    def open(self) -> bool:
        """Whether no token is needed."""
        self._look()
        return self._tokens is None and not self._required

    def grant(self, authorization: bytes | None) -> Grant:
        """What the header `Authorization` allows. Raises Denied."""
        self._look()
        if self._tokens is None:
            if self._required:
                raise Denied(f"this server has no tokens; next: trueup token add NAME ({self._file} is missing)")
            return EVERYBODY
        key, secret = _split(authorization)
        token = self._tokens.get(key)
        digest = hashlib.sha256(secret).hexdigest()
        same = hmac.compare_digest(digest, token.sha256 if token else _NOBODY)
        if token is None or not same:
            raise Denied(
                "send `Authorization: Bearer TOKEN` with a token of this server"
                if authorization is None
                else "the token is not one of this server; it may have been revoked"
            )
        if token.expires is not None and _now() >= token.expires:
            raise Denied(f"the token {token.name} expired at {token.expires}; ask for a new one")
        if token.rate is not None:
            self._take(key, token)
        return Grant(key, token.name, token.scope)

    def _take(self, key: str, token: Token) -> None:
        assert token.rate is not None
        rate = token.rate / self._workers
        bucket = self._buckets.get(key)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[key] = _Bucket(rate, self._clock())
        wait = bucket.take(self._clock())
        if wait > 0:
            raise Denied(f"the token {token.name} may ask {token.rate:g} times a second; wait {wait:.1f} s", wait)

    def _look(self) -> None:
        """Read the file again if it has changed."""
        now = self._clock()
        if now - self._looked < _CHECK_S:
            return
        self._looked = now
        stamp = _stamp(self._file)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            tokens = _read(self._file)
            if tokens is None and self._tokens is not None:  # lost, or about to be replaced
                raise WorkError(f"{self._file} is gone; restore it, or start the server again to serve without tokens")
            self._tokens = tokens
        except WorkError as error:
            _log.error("%s; the tokens that were read last stay valid", error)


class _Bucket:
    """Lets `rate` requests through a second, and one second's worth at once (at least one)."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate, self._room = rate, max(1.0, rate)
        self._held, self._at = self._room, now

    def take(self, now: float) -> float:
        """Seconds to wait; 0 for a request that may pass."""
        self._held = min(self._room, self._held + (now - self._at) * self.rate)
        self._at = now
        if self._held >= 1:
            self._held -= 1
            return 0.0
        return (1 - self._held) / self.rate


def add(file: Path, name: str, scope: Scope, *, rate: float | None = None, expires: datetime | None = None) -> str:
    """Add a token, and return it: it cannot be read again. `expires` has an offset.

    Raises UsageError for a name that another token has, and for a rate that is not positive; WorkError if the file
    cannot be read or written.
    """
    if not name or not name.isprintable() or len(name) > 100:
        raise UsageError(f"{name!r} is no name for a token; use up to 100 printable characters")
    if rate is not None and not 0 < rate < 1e9:
        raise UsageError(f"the rate {rate:g} is not possible; give requests a second, such as 50")
    key, secret = secrets.token_hex(5), secrets.token_urlsafe(32)
    with _alone(file):
        tokens = dict(_read(file) or {})
        if any(token.name == name for token in tokens.values()):
            raise UsageError(f"there is a token {name} already; revoke it first: trueup token revoke {name}")
        tokens[key] = Token(
            name=name,
            scope=scope,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            created=_now(),
            rate=rate,
            expires=None if expires is None else _utc(expires),
        )
        _write(file, tokens)
    return f"{_PREFIX}_{key}_{secret}"


def revoke(file: Path, name: str) -> Token:
    """Remove a token; servers refuse it within a second. Raises UsageError if there is none of this name."""
    with _alone(file):
        tokens = dict(_read(file) or {})
        key = next((key for key, token in tokens.items() if token.name == name), None)
        if key is None:
            known = [token.name for token in tokens.values()]
            raise UsageError(f"there is no token {name}; {did_you_mean(name, known, 'trueup token list shows them')}")
        gone = tokens.pop(key)
        _write(file, tokens)
    return gone


def listed(file: Path) -> list[Token]:
    """All tokens by name. Raises WorkError if the file cannot be read."""
    return sorted((_read(file) or {}).values(), key=lambda token: token.name)


def _read(file: Path) -> dict[str, Token] | None:
    """The tokens by id; None without a file."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=_File).tokens
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorkError(f"{file} cannot be read: {error.strerror or error}; allow this account to read it") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WorkError(
            f"{file} is no file of tokens ({error}); restore it, or remove it and add tokens anew"
        ) from None


def _write(file: Path, tokens: dict[str, Token]) -> None:
    with files.whole(file) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(msgspec.json.format(msgspec.json.encode(_File(FORMAT, tokens))) + b"\n")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time changes the file. Raises WorkError if that cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise WorkError(f"{file} cannot be written: {error.strerror or error}; allow writing there") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _split(authorization: bytes | None) -> tuple[str, bytes]:
    """The id and the secret of a header; empty ones for anything else."""
    scheme, _, value = (authorization or b"").partition(b" ")
    parts = value.strip().split(b"_", 2)
    if scheme.lower() != b"bearer" or len(parts) != 3 or parts[0] != _PREFIX.encode():
        return "", b""
    return parts[1].decode("ascii", "replace"), parts[2]


def _now() -> str:
    return _utc(datetime.now(UTC))


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
