"""One text for each value of a key, the same as in landed data: 5, 5.0 and "5" are one key."""

from __future__ import annotations

import math
from datetime import datetime, time
from decimal import Decimal
from typing import Final

_TRUTHS: Final = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
_NUL, _NUL_SIGN = "\0", "\u2400"


def text_of(value: object) -> str | None:
    """Convert a value of a row to text like `domain.data.values.as_text`; None for a missing one (None, NaN).

    Takes what JSON has, and datetimes (local to the model).

    >>> [text_of(value) for value in (5, 5.0, "5", 1e-7, True, "TRUE", float("nan"), datetime(2024, 1, 1))]
    ['5', '5', '5', '0.0000001', 'true', 'true', None, '2024-01-01']
    """
    if isinstance(value, str):
        return _TRUTHS.get(value, value) if _NUL not in value else value.replace(_NUL, _NUL_SIGN)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, datetime):
        return str(value.date() if value.tzinfo is None and value.time() == time() else value)
    return None if value is None else str(value)


def _float_text(value: float) -> str | None:
    if not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if value == int(value):
        return str(int(value))
    text = str(value)
    return format(Decimal(text), "f") if "e" in text else text
