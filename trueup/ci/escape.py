"""Text of configs, data and branches in Markdown: it is shown as it is written, and can make nothing else of a comment.

A comment may be written with rights that the author of a text does not have. So a text must not become HTML, a link or a
picture, mention anybody, or refer to an issue, and must not end the table or the line that it stands in.
"""

from __future__ import annotations

import re
import unicodedata

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,;%?'(/=–…≤≥²—")
_APART = "&#8203;"  # of no width: hosts look for names and references in the text after the Markdown was read
_REFERS = frozenset("@#!~$&^*%:.[")  # begin a mention or a reference, or are within an address, on GitHub or GitLab
_LONGEST = 300
# Marks that mean nothing in these places: a decimal point, the end of a sentence, a hyphen, a name with underscores.
_HARMLESS = re.compile(r"(?<=[0-9])\.(?=[0-9])|(?<=[a-z])[.:](?= |$)|(?<=[A-Za-z0-9])[-_](?=[A-Za-z0-9])")


def text(value: object, longest: int = _LONGEST) -> str:
    """A value as Markdown of one line that shows it.

    >>> text("a|b"), text("<b>")
    ('a&#124;b', '&#60;b&#62;')
    """
    line = plain(value)
    short = line if len(line) <= longest else f"{line[: longest - 1]}…"
    harmless = {found.start() for found in _HARMLESS.finditer(short)}
    harmless |= {place for place, c in enumerate(short) if c == ")" and "(" in short[:place]}  # else `1)` begins a list
    return "".join(
        c if place in harmless else _character(c, following)
        for place, (c, following) in enumerate(zip(short, f"{short[1:]} ", strict=False))
    )


def plain(value: object) -> str:
    """A value as one line of visible characters: a line that begins anew could be a command to the log of a CI server."""
    return " ".join(_visible(str(value)).split())


def code(value: object, longest: int = 120) -> str:
    """A value as Markdown of one line, in the font of code; in a table, too.

    >>> code("late_orders")
    '<code>late_orders</code>'
    """
    return f"<code>{text(value, longest)}</code>"


def block(value: str, longest: int = 4_000) -> str:
    """Several lines as a block of code; of a longer text, its end."""
    kept = "\n".join(_visible(line) for line in value.splitlines())
    kept = kept if len(kept) <= longest else f"…{kept[1 - longest :]}"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", kept)), default=0))
    return f"{fence}text\n{kept}\n{fence}"


def _visible(value: str) -> str:
    """Without control characters, and those that change the direction or the place of other text."""
    return "".join(
        " " if c in "\r\n\t\v\f\x85\u2028\u2029" else c
        for c in value
        if unicodedata.category(c) not in _HIDDEN or c in "\r\n\t"
    )


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn"}


def _character(character: str, following: str) -> str:
    shown = (
        character
        if character in _PLAIN or (character.isalpha() and not character.isascii())
        else f"&#{ord(character)};"
    )
    return shown + _APART if character in _REFERS and not following.isspace() else shown
