"""The loop's work by Trueup: `run`, month by month, in the home of the environment.

`python -m benchmarks.turns MODEL MONTHS TURNS.json [one-turn]` prints one JSON object, and writes the fits and their rows
for `bare` to repeat. With `one-turn` a single run lands all months, and nothing is written. With 0 months it only creates MLflow's database and the store. With a server it runs the flow.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from trueup.orchestration.environment import flows_called_here, prepare, server_address

YEAR = 2013


def main() -> None:
    """Run at the end of each month, or with `one-turn` at the end of the last one."""
    name, months, file, *mode = sys.argv[1:]
    prepare()
    if months == "0":
        first_use()
        return
    from benchmarks.work import counting_fits

    moments = [datetime(YEAR + m // 12, m % 12 + 1, 1) for m in range(1, int(months) + 1)]
    one_turn = mode == ["one-turn"]
    with counting_fits() as fits:
        cycles = _cycles(name, moments[-1:] if one_turn else moments)
    if not one_turn:
        Path(file).write_text(json.dumps(_turns(name, cycles)))
    rows = sum({b.batch.window: b.batch.rows.rows for c in cycles for b in c.batches}.values())
    sys.stdout.write(json.dumps({"fits": fits, "rows": rows, "outcomes": [c.decided.outcome for c in cycles]}) + "\n")


def _cycles(name: str, moments: list[datetime]) -> list[Any]:
    if server_address() is None:
        from trueup.orchestration import start

        return [start.run(name, moment, "inline") for moment in moments]
    from flows.run import run

    with flows_called_here():
        return [run(name, as_of=moment) for moment in moments]


def first_use() -> None:
    """Create the databases that a home has after its first run."""
    from trueup.home import Home

    home = Home()
    _ = home.store, home.ledger, home.tracking.client
    home.close()


def _turns(name: str, cycles: list[Any]) -> list[dict[str, Any]]:
    """The fits, from ledger and results."""
    from trueup.home import Home

    home = Home()
    decisions = {e.as_of: json.loads(e.text) for e in home.ledger.entries(name)}
    turns = [_turn(cycle, decisions.get(cycle.as_of, {})) for cycle in cycles]
    home.close()
    return turns


def _turn(cycle: Any, body: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.work import Turn

    window = cycle.batches[-1].batch.window
    turn = {
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "watched": cycle.observed[-1].figures.skill is not None,
    }
    if "search" in body:
        recipe = body["model"]["recipe"]
        turn |= {
            "trials": [
                {"family": t["family"], "parameters": t["parameters"], "seed": recipe["seed"]}
                for t in body["search"]["trials"]
            ],
            "recipe": recipe,
            "gate": (body["gate"]["start"], body["gate"]["end"]),
            "walked": [fold["start"] for fold in (body["evidence"] or {}).get("folds", ())],
            "refitted": body["refit"] is not None,
            "promoted": cycle.decided.outcome == "promoted",
        }
    return Turn(**turn).to_dict()


if __name__ == "__main__":
    main()
