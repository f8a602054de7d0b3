"""Compares two homes to the digit: predictions, monitoring results, and decisions with every figure.

    python -m tools.same_homes FIRST SECOND MODEL

Both homes ran the same config on the same data. Differences are printed, and the exit code is 1 if there are any. What a
run measures anew is left out: seconds, run ids, paths, versions of code, and the digests that contain them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trueup.adapters.store.tables import PREDICTIONS, window_of
from trueup.config.settings import Settings
from trueup.domain.records import to_plain
from trueup.home import Home
from trueup.model import MONITOR

_ANEW = re.compile(
    r"(^|_)(seconds|ms|us|median|p95|ratio|run|run_id|uri|path|hash|at|digest|version|versions|machine|attempts|method|against|"
    r"circumstances|recorded|code|environment|sha256|bytes|mib|trigger|previous|earlier|reproduce|home|identity)$"
)
_TIMED = re.compile(r"latency of|as long as a small graph")  # sentences with a measured time


def main() -> None:
    """Compare and print."""
    first, second, model = sys.argv[1:]
    homes = [Home(Settings(home=Path(home), configs=Path(home))) for home in (first, second)]
    found = [*_predictions(homes, model), *_results(homes, model), *_decisions(homes, model)]
    for home in homes:
        home.close()
    print("\n".join(found) if found else "the same")
    sys.exit(bool(found))


def _predictions(homes: list[Home], model: str) -> Iterator[str]:
    query = sa.select(PREDICTIONS).where(PREDICTIONS.c.model == model)
    listed = []
    for home in homes:
        with home.store.engine.connect() as connection:
            listed.append({(row.role, window_of(row)) for row in connection.execute(query)})
    yield from (f"predictions of one home only: {role} {window}" for role, window in listed[0] ^ listed[1])
    for role, window in sorted(listed[0] & listed[1], key=str):
        one, other = (home.store.read_predictions(model, window, role) for home in homes)
        if not one.equals(other):
            yield f"predictions differ: {role} {window}"


def _results(homes: list[Home], model: str) -> Iterator[str]:
    one, other = (
        {f"monitoring of {r.window}": to_plain(r.body) for r in home.store.results(model, MONITOR, dict)}
        for home in homes
    )
    yield from _apart("", one, other)


def _decisions(homes: list[Home], model: str) -> Iterator[str]:
    one, other = (
        {f"decision {n}": json.loads(entry.text) for n, entry in enumerate(home.ledger.entries(model))}
        for home in homes
    )
    yield from _apart("", one, other)


def _apart(place: str, one: Any, other: Any) -> Iterator[str]:
    """Every place where two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            if not _ANEW.search(name):
                yield from _apart(f"{place}/{name}", one.get(name), other.get(name))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _apart(f"{place}/{number}", *pair)
    elif (one is None) is not (other is None):
        yield f"{place}: in one home only"
    elif one != other and not (isinstance(one, str) and _TIMED.search(one)):
        yield f"{place}: {one!r} and {other!r}"


if __name__ == "__main__":
    main()
