"""Names for rows that no column names: what a row holds, with a counter for rows that hold the same."""

from __future__ import annotations

import pandas as pd

_NOTHING = "\ufdd0"  # no character, so no text of a source: a missing value is content, too
_COUNTER = "\ufdd0 counter"


def numbered(content: pd.DataFrame) -> pd.DataFrame:
    r"""The columns that together identify each row: its content, ordered by name, and the number of equal rows before.

    `content` has text, or None, and times. A position in the batch would identify another row once a late row arrives.
    Equal rows may change places, because they are indistinguishable.

    >>> numbered(pd.DataFrame({"b": ["x", "x", None], "a": ["1", "1", "1"]})).to_numpy().tolist()
    [['1', 'x', 0], ['1', 'x', 1], ['1', '\ufdd0', 0]]
    """
    ordered = {name: content[name] for name in sorted(content.columns)}
    columns = {name: column.astype(str).where(column.notna(), _NOTHING) for name, column in ordered.items()}
    named = pd.DataFrame(columns, index=content.index)
    counter = named.groupby([*named.columns], sort=False).cumcount() if len(named) else 0
    return named.assign(**{_COUNTER: counter})
