"""Determines the dialect of a CSV: the line of column names, and marks in its numbers."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

_DELIMITERS: Final = ",;\t|^~"
_USUAL: Final = ",;\t|"  # separators that are detected without a config
_TITLE: Final = 60  # lines above the table to examine
_MOST: Final = 0.98  # share of a numeric column that must be parsed
_FEWEST: Final = 3  # different numbers
_MONEY: Final = r"US\$|A\$|C\$|R\$|HK\$|[$€£¥₹₽₩₺₪]|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|BRL|MXN|ZAR|Rs\.?|kr\.?|zł|Fr\."
_UNIT: Final = r"[%‰]|[A-Za-zµμ°²³][A-Za-zµμ°²³/.]{0,5}"
_BLANKS: Final = "[ \u00a0\u202f]"
_THOUSANDS: Final = {",": ",", ".": r"\.", "'": "['’]", " ": _BLANKS}


@dataclass(frozen=True)
class Marks:
    """The marks in a column's numbers; `doubt` describes another possible meaning, or is empty."""

    marks: tuple[str, ...]
    doubt: str = ""


def header_of(text: str, name: str) -> dict[str, int | str | bool] | None:
    """Find the line that names a column in the beginning of a CSV, and return the settings of `ingest.source` for it.

    Returns {} if it is the first line, written as usual; None if no line names the column.
    """
    lines = list(io.StringIO(text, newline=None))
    for number in range(min(len(lines), _TITLE)):
        record = _record(lines[number : number + 20])
        for delimiter in _DELIMITERS:
            fields = next(csv.reader(io.StringIO(record), delimiter=delimiter), [])
            if name in [re.sub(r"\s*[\r\n]+\s*", " ", field).strip() for field in fields]:
                settings: dict[str, int | str | bool] = {"skip_rows": number} if number else {}
                settings |= {} if delimiter in _USUAL else {"separator": delimiter}
                blank = any(field.strip() and field != field.strip() for field in fields)
                return settings | ({"trim": True} if blank else {})
    return None


def _record(lines: list[str]) -> str:
    """The lines of one record, until no quotation mark is open."""
    record = ""
    for line in lines:
        record += line
        if record.count('"') % 2 == 0:
            return record
    return lines[0]


def marks_of(column: pd.Series[Any], decimal: str) -> Marks | None:
    """Find the marks in the numbers of a text column; None for other content, or plain numbers."""
    texts = column.dropna().astype(str).str.strip(" \u00a0\u202f")
    texts = texts[texts.str.contains(r"\d")] if len(texts) else texts
    if len(texts) < max(_FEWEST, _MOST * column.notna().sum() * 0.5):
        return None
    marks, rest = list[str](), texts
    rest, brackets = _taken(rest, r"^[^(]*\(.*\)[^)]*$", r"[()]", "")
    rest, behind = _taken(rest, r"\d\s*-$", r"(\d)\s*-$", r"\1")
    for pattern in (rf"^[+-]?\s*({_MONEY})\s*[+-]?[\d.,]", rf"\d\s*({_MONEY})$", rf"\d\s*({_UNIT})$"):
        words = rest.str.extract(pattern)[0].dropna()
        if len(words) and words.nunique() == 1 and not re.fullmatch(r"[eE]\d*", word := str(words.iloc[0])):
            at_least = 0.5 if re.fullmatch(_MONEY, word) else _MOST  # an amount of money may be only a dash
            if len(words) >= at_least * len(rest):
                marks.append(word)
                rest = rest.str.replace(rf"^([+-]?)\s*{re.escape(word)}\s*", r"\1", regex=True)
                rest = rest.str.replace(rf"\s*{re.escape(word)}$", "", regex=True)
    thousands, doubt = _thousands(rest, decimal)
    if thousands:
        marks.append(thousands)
        rest = rest.str.replace(_THOUSANDS[thousands], "", regex=True)
    point = re.escape(decimal)
    numbers = rest.str.match(rf"^[+-]?(?:\d+(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$")
    marks += (["()"] if brackets else []) + (["-"] if behind else [])
    coded = rest.str.match(r"^0\d").any()
    if not marks or coded or numbers.sum() < _MOST * column.notna().sum() or rest[numbers].nunique() < _FEWEST:
        return None
    units = [w for w in marks if re.fullmatch(_UNIT, w) and not re.fullmatch(_MONEY, w) and w not in "%‰"]
    return Marks(tuple(marks), doubt or (f"`{units[0]}` is taken for a unit" if units else ""))


def _taken(texts: pd.Series[Any], having: str, what: str, by: str) -> tuple[pd.Series[Any], bool]:
    present = bool(texts.str.contains(having).any())
    return (texts.str.replace(what, by, regex=True) if present else texts), present


def _thousands(texts: pd.Series[Any], decimal: str) -> tuple[str, str]:
    """The thousands separator, if there is one, and the reason for doubt."""
    point = re.escape(decimal)
    for mark, pattern in _THOUSANDS.items():
        if mark == decimal:
            continue
        grouped = texts.str.match(rf"^[+-]?\d{{1,3}}(?:{pattern}\d{{2,3}})*{pattern}\d{{3}}(?:{point}\d*)?$")
        plain = texts.str.match(rf"^[+-]?\d+(?:{point}\d*)?$")
        if grouped.any() and (grouped | plain).mean() >= _MOST:
            one = grouped & texts.str.match(rf"^[+-]?\d{{1,3}}{pattern}\d{{3}}$")
            sure = (grouped & ~one).any() or (plain & texts.str.contains(point)).any() or mark in "' "
            zero = texts.str.match(rf"^[+-]?0{pattern}").any()
            if zero:
                return "", ""
            return mark, "" if sure else f"`{mark}` is taken for a mark between thousands, and may be a decimal one"
    return "", ""
