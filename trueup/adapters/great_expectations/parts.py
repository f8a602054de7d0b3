"""Runs checks on a batch of any size, with the results that Great Expectations (GX) has on the whole batch.

GX gets a frame of bounded size at a time. Expectations that judge each row by itself (`BY_ROW`) run on parts of the rows,
and their counts are added up. All others, such as a mean or whether values are unique, run on all rows, one after the
other on the columns that each names. So no verdict rests on a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from trueup.adapters.great_expectations import engine
from trueup.adapters.great_expectations.checks import Check, LargeBatch, Result, Rows
from trueup.adapters.great_expectations.tally import BY_ROW


def ask(rows: Rows, columns: Sequence[str], checks: Mapping[int, Check]) -> dict[int, Result]:
    """Run the checks on the `columns` of the rows, which have a RangeIndex if they are a frame; thread-safe."""
    if isinstance(rows, pd.DataFrame):
        return engine.ask(lambda: [rows], columns, checks)
    by_row = {i: c for i, c in checks.items() if c.type in BY_ROW}
    results = {}
    if by_row:
        needed = _needed(columns, *by_row.values())
        results = engine.ask(lambda: rows.parts(needed), needed, by_row)
    for i, one in checks.items():
        if i not in by_row:
            results |= _on_all_rows(rows, columns, i, one)
    return results


def _on_all_rows(rows: LargeBatch, columns: Sequence[str], number: int, check: Check) -> dict[int, Result]:
    frame = rows.only(_needed(columns, check))
    if check.type.startswith("expect_table"):  # it asks for the names of all columns, and for no values
        nothing = np.broadcast_to(np.int8(0), len(rows))
        frame = pd.DataFrame({c: frame.get(c, nothing) for c in columns}, copy=False)
    return engine.ask(lambda: [frame], list(frame.columns), {number: check})


def _needed(columns: Sequence[str], *checks: Check) -> list[str]:
    """The columns that checks name, or that the text of a row condition contains."""
    named = {column for check in checks for column in check.columns}
    conditions = [str(check.kwargs.get("row_condition") or "") for check in checks]
    return [c for c in columns if c in named or any(c in condition for condition in conditions)]
