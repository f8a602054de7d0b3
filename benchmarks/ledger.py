"""The cost of recording a decision, beside a bare SQLite commit of a row of that size, and the time of a verification.

A ledger is filled with signed decisions as large as those of the flights (9 kB), each with its event in the outbox and
one in ten a promotion, like `run` appends them. In the same folder and with the same durability, the standard library's
SQLite commits one row of the same text at a time. They take turns, so that other load affects both.

    python -m benchmarks.ledger [--entries 10000] [--json]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trueup.adapters.sql.engines import connect, initialise
from trueup.ledger.entries import Decision, Promotion, of_decision
from trueup.ledger.ledger import Ledger
from trueup.ledger.record import Record, Trigger
from trueup.ledger.signing import open_signer
from trueup.ledger.tables import METADATA

AIM = 3.0
_TURN = 250  # appends per turn
_BYTES = 9_000  # of a body; a decision about the flights has 8,900 to 9,600
_START = datetime(2013, 1, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Appending to the ledger beside bare commits, and verifying it.")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueup-ledger-") as scratch:
        figures = measure(Path(scratch), wanted.entries)
    if wanted.json:
        print(json.dumps(figures))
        return
    ratio = figures["append_ms_p50"] / figures["bare_commit_ms_p50"]
    print(
        f"{figures['entries']:,} entries of {figures['body_bytes']:,} bytes: append {figures['append_ms_p50']:.2f} ms, "
        f"bare commit {figures['bare_commit_ms_p50']:.2f} ms (medians), ratio {ratio:.2f} (aim: {AIM:g} at most); "
        f"verified in {figures['verify_s']:.1f} s"
    )


def measure(folder: Path, entries: int) -> dict[str, Any]:
    """Fill a ledger and a bare table with as many rows, and walk the ledger."""
    engine = connect(f"sqlite:///{folder / 'trueup.db'}")
    initialise(engine, METADATA)
    ledger = Ledger(engine, signer=open_signer(folder))
    text = decision(0).document()
    appended: list[float] = []
    committed: list[float] = []
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as bare:
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        require_same_durability(engine, bare)
        for first in range(0, entries, _TURN):
            turn = range(first, min(first + _TURN, entries))
            appended += [timed(partial(ledger.append, decision(number))) for number in turn]
            committed += [timed(partial(commit, bare, text)) for _ in turn]
    problems: list[Any] = []
    verified = timed(lambda: problems.extend(ledger.verify()))
    engine.dispose()
    if problems:
        raise RuntimeError(f"the ledger is not right: {problems[0]}")
    return {
        "append_ms_p50": 1000 * statistics.median(appended),
        "bare_commit_ms_p50": 1000 * statistics.median(committed),
        "append_ms_p95": 1000 * statistics.quantiles(appended, n=20)[-1],
        "bare_commit_ms_p95": 1000 * statistics.quantiles(committed, n=20)[-1],
        "verify_s": verified,
        "entries": entries,
        "body_bytes": len(text),
    }


def require_same_durability(engine: sa.Engine, bare: sqlite3.Connection) -> None:
    """Raise RuntimeError if the two commits have different durability."""
    for setting in ("journal_mode", "synchronous", "page_size"):
        with engine.connect() as connection:
            ours = connection.exec_driver_sql(f"PRAGMA {setting}").scalar()
        if (theirs := bare.execute(f"PRAGMA {setting}").fetchone()[0]) != ours:
            raise RuntimeError(f"{setting} is {ours} in the ledger and {theirs} beside it: not the same durability")


def commit(bare: sqlite3.Connection, text: str) -> None:
    """One row, durably."""
    bare.execute("BEGIN IMMEDIATE")
    bare.execute("INSERT INTO rows (body) VALUES (?)", (text,))
    bare.execute("COMMIT")


def decision(number: int) -> Decision:
    """A decision as large as a real one; one in ten promotes."""
    epoch, promotes = divmod(number, 10)
    kind, version = ("promoted" if promotes == 0 else "rejected"), number + 1
    digest, as_of = f"{number:064x}", _START + timedelta(hours=number)
    figures = [{"slice": f"carrier={i}", "rows": 1000 + i, "low": i / 7, "high": i / 3} for i in range(85)]
    body = Record(
        outcome=kind,
        reasons=("log-loss 0.4723 is 0.0123 below the champion's (95 % -0.0201 to -0.0045)",),
        trigger=Trigger(reason="schedule", kind="schedule"),
        slices=figures,
    )
    body |= Record(filling="x" * max(0, _BYTES - len(json.dumps(body.plain()))))
    return Decision(
        f"toy:{number}",
        "toy",
        kind,
        as_of,
        body,
        Promotion(version, digest, epoch) if promotes == 0 else None,
        of_decision(kind, f"toy:{number}", "toy", as_of, version, ["better"]),
    )


def timed(what: Callable[[], object]) -> float:
    """Seconds that a call took."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
