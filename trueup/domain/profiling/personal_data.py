"""Finds columns of personal data: names of people, and attributes that the law protects."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trueup.domain.profiling.columns import Column

_NAMES = {
    "names a person": r"e_?mail|phone|mobile|telephone|first_?name|last_?name|sur_?name|full_?name|customer_?name|passport|ssn|social_?security|national_?id|tax_?id|iban|card_?number|street|address|ip_?addr\w*|licen[cs]e_?plate",
    "is protected or reveals much about a person": r"age|birth\w*|dob|gender|sex|race|ethnic\w*|religion|nationality|marital\w*|disab\w*|pregnan\w*|zip|zip_?code|post_?code|postal_?code",
}
_WORD = {what: re.compile(rf"(?:^|_)(?:{pattern})(?:_|$)", re.IGNORECASE) for what, pattern in _NAMES.items()}
_VALUES = {
    "e-mail addresses": r"[^@\s]+@[^@\s]+\.[a-z]{2,}",
    # At most 15 digits (E.164) and a mark that no plain number has, so a long id does not match.
    "phone numbers": r"(?=(?:\D*\d){9,15}\D*$)(?=[+0]|.*[ ()/-])\+?\d[\d ()/-]{7,}\d",
    "bank accounts": r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}",
    "network addresses": r"(?:\d{1,3}\.){3}\d{1,3}",
}
NAMING = "names a person"


def personal(columns: dict[str, Column]) -> Iterator[tuple[str, str, bool]]:
    """Columns that look like personal data, each with the reason and whether it identifies a person."""
    for column in columns.values():
        what = personal_name(column.name)
        content = _kind_of_data(column)
        if content is not None:
            yield column.name, f"holds {content}", True
        elif what is not None:
            yield column.name, f"by its name it {what}", what == NAMING


def personal_name(column: str) -> str | None:
    """What the name of a column says about persons: the rest of a sentence; None if nothing.

    >>> personal_name("customerEmail"), personal_name("distance")
    ('names a person', None)
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)
    return next((what for what, pattern in _WORD.items() if pattern.search(name)), None)


def _kind_of_data(column: Column) -> str | None:
    """The kind of personal data of nearly all values."""
    if column.kind not in {"category", "text", "identifier"}:
        return None
    some = column.values.dropna().astype(str).drop_duplicates().head(200)
    return next((what for what, p in _VALUES.items() if len(some) and some.str.fullmatch(p).mean() > 0.9), None)
