"""The page on which a person fills in a row and sees the answer: one file without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Final

from trueup.serving.http.found import Found

_FILE: Final = Path(__file__).with_name("page.html")


@cache
def page() -> Found:
    """The page, with headers that let the browser run nothing but its own script and ask nobody but this server."""
    content = _FILE.read_bytes()
    script, style = (_hash(content, name) for name in (b"script", b"style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Found(
        content,
        (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
        ),
    )


def _hash(content: bytes, element: bytes) -> str:
    """The digest of an element's text, as a content security policy names it."""
    found = re.search(b"<" + element + b">(.*?)</" + element + b">", content, re.DOTALL)
    assert found is not None, "page.html has one script and one style"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"
