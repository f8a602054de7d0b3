"""Patterns that all values of a text column match: whole numbers, codes, booleans and ISO 8601 times."""

from __future__ import annotations

from typing import Final

WHOLE: Final = r"^[+-]?(0|[1-9]\d{0,17})$"
NO_NUMBER: Final = r"^[+-]?0\d|^[+-]?\d{19,}$"  # codes such as 00123, and ids that a float cannot hold
TRUTH: Final = r"^(?i:true|false)$"
TIME: Final = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$"
