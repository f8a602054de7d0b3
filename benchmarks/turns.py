"""The loop's work by Trueup: the flow `run`, month by month, in the home that the environment names.

`python -m benchmarks.turns MODEL MONTHS TURNS.json` prints one JSON object, and writes what was fitted on which rows for
`bare` to do again; with 0 months it only makes what a first use makes: Prefect's and MLflow's databases and the store.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from trueup.orchestration.environment import flows_called_here, prepare

YEAR = 2013


def main() -> None:
    """Run the flow at the end of each month."""
    name, months, file = sys.argv[1:]
    prepare()
    if months == "0":
        first_use()
        return
    from benchmarks.work import counting_fits
    from flows.run import run

    with flows_called_here(), counting_fits() as fits:
        cycles = [run(name, as_of=datetime(YEAR + m // 12, m % 12 + 1, 1)) for m in range(1, int(months) + 1)]
    Path(file).write_text(json.dumps(_turns(name, cycles)))
    sys.stdout.write(json.dumps({"fits": fits, "outcomes": [c.decided.outcome for c in cycles]}) + "\n")


def first_use() -> None:
    """Make the databases, which a home has after its first run."""
    from prefect import flow

    from trueup.home import Home

    flow(lambda: None, name="first use")()
    home = Home()
    _ = home.store, home.ledger, home.tracking.client
    home.close()


def _turns(name: str, cycles: list[Any]) -> list[dict[str, Any]]:
    """What was fitted, as ledger and results have it."""
    from trueup.home import Home

    home = Home()
    decisions = {e.as_of: e.body for e in home.ledger.entries(name)}
    turns = [_turn(cycle, decisions.get(cycle.as_of, {})) for cycle in cycles]
    home.close()
    return turns


def _turn(cycle: Any, body: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.work import Turn

    window = cycle.batches[-1].batch.window
    turn = {
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "watched": cycle.observed[-1].figures["skill"] is not None,
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
            "refitted": body["refit"] is not None,
            "promoted": cycle.decided.outcome == "promoted",
        }
    return Turn(**turn).to_dict()


if __name__ == "__main__":
    main()
