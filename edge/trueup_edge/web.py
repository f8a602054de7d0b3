"""Bundles behind `https://` addresses. `http://` is taken for 127.0.0.1 only."""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from trueup_edge.errors import NotTrusted, Unavailable, UsageError
from trueup_edge.manifest import Manifest

_SILENCE: Final = 30  # seconds without a byte


class WebSource:
    """The files below an address; the address itself by the empty name. `deadline` is of `time.monotonic`."""

    def __init__(self, address: str, deadline: float) -> None:
        if not is_allowed(address):
            raise UsageError(
                f"{_shown(address)}: only https:// is safe (http:// is taken for 127.0.0.1 only), and without a password; "
                "give such an address"
            )
        self._address, self._deadline = address, deadline
        # Without encryption nothing leaves this device, so not to a proxy, either.
        proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies), _Http(deadline), _Https(deadline), _OnlySafeRedirects
        )

    @contextmanager
    def open(self, name: str) -> Iterator[WebStream]:
        """Request one file. Raises Unavailable if the server does not answer or refuses."""
        address = _below(self._address, name) if name else self._address
        request = urllib.request.Request(address, headers={"User-Agent": "trueup-edge", "Cache-Control": "no-cache"})
        try:
            answer = self._opener.open(request, timeout=min(_SILENCE, max(1.0, self._deadline - time.monotonic())))
        except urllib.error.HTTPError as error:
            error.close()
            raise Unavailable(
                f"{_shown(address)} answers {error.code} {error.reason}; check the address, or try again later"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise Unavailable(
                f"{_shown(address)} does not answer: {reason}; check the network, then run again"
            ) from None
        with answer:
            yield WebStream(answer, _shown(address), self._deadline)

    def check(self, manifest: Manifest) -> None:
        """Nothing is known before the files are fetched."""


class WebStream:
    """The body of one answer."""

    def __init__(self, answer: Any, where: str, deadline: float) -> None:
        self._answer, self._where, self._deadline = answer, where, deadline
        length = answer.headers.get("Content-Length", "")
        self._missing = (
            int(length) if re.fullmatch("[0-9]{1,18}", length) else None
        )  # unknown: http.client notices a cut itself

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes. Raises NotTrusted if the answer was cut off, Unavailable if it takes too long."""
        if time.monotonic() > self._deadline:
            raise Unavailable(f"{self._where} takes too long; run again, or with a longer --timeout")
        if self._missing == 0:
            return b""
        try:
            chunk: bytes = self._answer.read1(size)
        except (http.client.IncompleteRead, ConnectionError) as error:
            raise self._torn(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self._where} stopped answering: {error}; run again") from None
        if self._missing is not None:
            self._missing -= len(chunk)
            if not chunk:
                raise self._torn(f"{self._missing} bytes are missing")
        return chunk

    def _torn(self, reason: object) -> NotTrusted:
        return NotTrusted(f"{self._where} was cut off ({reason}); run again")


class _EndingRaw(io.RawIOBase):
    """The bytes of a socket until a deadline, however slowly they come."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket, self._deadline = connected, deadline
        self._raw = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Unavailable("the server takes too long; run again, or with a longer --timeout")
        self._socket.settimeout(min(_SILENCE, left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _EndingResponse(http.client.HTTPResponse):
    def __init__(self, connected: socket.socket, *arguments: Any, deadline: float, **options: Any) -> None:
        super().__init__(connected, *arguments, **options)
        unlimited, self.fp = self.fp, io.BufferedReader(_EndingRaw(connected, deadline))
        unlimited.close()


class _Ending(urllib.request.AbstractHTTPHandler):
    """Ends answers at a deadline: a socket's timeout alone would let a server send its headers byte by byte for hours."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        return super().do_open(partial(self._connection, http_class), req, **options)

    def _connection(self, http_class: Any, *arguments: Any, **options: Any) -> Any:
        connection = http_class(*arguments, **options)
        connection.response_class = partial(_EndingResponse, deadline=self._deadline)
        return connection


class _Http(_Ending, urllib.request.HTTPHandler):
    pass


class _Https(_Ending, urllib.request.HTTPSHandler):
    pass


class _OnlySafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        downgraded = urllib.parse.urlsplit(req.full_url).scheme == "https" and not newurl.lower().startswith("https://")
        if downgraded or not is_allowed(newurl):
            raise Unavailable(
                f"{_shown(req.full_url)} redirects to {_shown(newurl)}, which is not safe; give a https:// address"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_allowed(address: str) -> bool:
    """Whether an address is `https://`, or `http://` of this device, and has no password."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:
        return False
    if parts.username is not None or parts.password is not None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "127.0.0.1")


def _below(address: str, name: str) -> str:
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def _shown(address: str) -> str:
    """The address without what may be secret: password, query."""
    try:
        parts = urllib.parse.urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
