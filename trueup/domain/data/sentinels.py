"""Values that mean "missing" in a column, such as -200 or '?', as the config declares them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.sections.ingest import IngestConfig
from trueup.domain.data.patterns import NO_NUMBER
from trueup.domain.data.values import as_text

ALL_COLUMNS: Final = "*"  # in `ingest.missing`


def sentinels_of(column: str, config: IngestConfig) -> list[str | int | float]:
    """The values that mean "missing" in a column: its own, and those of '*' unless the column is part of the key."""
    general = [] if column in config.key else config.missing.get(ALL_COLUMNS, [])
    return [*config.missing.get(column, []), *general]


def are_sentinels(
    column: pd.Series[Any], values: Sequence[str | int | float], decimal: str = "."
) -> npt.NDArray[np.bool_]:
    """Mark the values that equal one of some; numbers, also written as text, are compared as numbers.

    >>> are_sentinels(pd.Series(["-200", "-200.0", "?", " ? ", "5", None]), [-200, "?"]).tolist()
    [True, True, True, True, False, False]
    """
    if dtypes.is_bool_dtype(column) or dtypes.is_datetime64_any_dtype(column):
        return np.zeros(len(column), dtype=bool)
    numbers = [n for n in (_number(str(value), ".") for value in values) if n is not None]
    if dtypes.is_numeric_dtype(column):
        return column.isin(numbers).to_numpy(dtype=bool)
    texts = {str(value).strip() for value in values}
    codes, distinct = pd.factorize(as_text(column))
    trimmed = [str(text).strip() for text in distinct]
    matches = [text in texts or _number(text, decimal) in numbers for text in trimmed]
    return np.array([*matches, False], dtype=bool)[codes]  # missing values have the code -1


def _number(text: str, decimal: str) -> float | None:
    """Parse text as a finite number; None for other text, and for codes such as 007."""
    try:
        number = float(text.replace(decimal, "."))
    except ValueError:
        return None
    return number if math.isfinite(number) and not re.search(NO_NUMBER, text) else None
