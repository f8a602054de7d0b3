"""What an address has to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]


class Found(NamedTuple):
    """The content of an answer, its headers but the length, and what is done after it was sent."""

    content: bytes
    headers: Headers
    then: Callable[[], None] | None = None
