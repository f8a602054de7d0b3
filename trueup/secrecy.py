"""Passwords and tokens in addresses: found, and masked for messages."""

from __future__ import annotations

import re
from typing import Final

SURE: Final = "pass|pwd|secret|token"
PERHAPS: Final = f"{SURE}|sig|credential|key"
_VARIABLES = re.compile(r"(?:\$\{\w+\})*")


def holds_secret(address: str, words: str = SURE) -> bool:
    """Whether an address has a password, or a query value named by one of the words, that is not written as `${NAME}`.

    >>> holds_secret("postgresql://me:word@db/x"), holds_secret("postgresql://me:${WORD}@db/x")
    (True, False)
    """
    secrets = re.finditer(rf"://[^:/@?#]*:(.*)@|[?&][^=&]*(?:{words})[^=&]*=([^&]*)", address, re.IGNORECASE)
    return any(not _VARIABLES.fullmatch(secret[1] or secret[2] or "") for secret in secrets)


def masked(address: str) -> str:
    """An address without its secrets.

    >>> masked("postgresql://me:word@db/x?sslpassword=y")
    'postgresql://me:***@db/x?sslpassword=***'
    """
    without = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", address)
    return re.sub(rf"([?&][^=&]*(?:{PERHAPS})[^=&]*)=[^&]*", r"\1=***", without, flags=re.IGNORECASE)
