"""Twelve policies over twelve months of flights, two at a time, against the most expensive one alone.

Reports the ratio of wall times (goal: at most 3), memory of both, and the policies' results. Each replay starts from an
empty home. `python -m benchmarks.replay [--json] [--policy ...]`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, cost

MODEL = "flight_delays"
POLICIES = (
    "frozen",
    "every 1 month",
    "every 1 month, no gate",
    "every 1 month, gate on auc",
    "every 1 month, margin 0.0015, gain 0.003",
    "every 1 month, trailing 90 days",
    "every 1 month, no refit",
    "every 2 months",
    "on decay",
    "on drift",
    "on decay, stale 60 days",
    "new rows 60000",
)


def replay(home: Path, policies: tuple[str, ...], workers: int) -> tuple[Cost, dict[str, Any]]:
    """One replay from an empty home, through the command."""
    words = [w for p in policies for w in ("--policy", p)]
    command = [
        sys.executable,
        "-c",
        "from trueup.cli.main import main; main()",
        "replay",
        MODEL,
        "--workers",
        str(workers),
    ]
    done = cost([*command, *words, "--json"], {"TRUEUP_HOME": str(home), "OMP_NUM_THREADS": "1"})
    return done, json.loads(done.out)


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--policy", action="append")
    parser.add_argument("--home", type=Path, help="keep the homes here")
    options = parser.parse_args()
    policies = tuple(options.policy or POLICIES)
    with tempfile.TemporaryDirectory() as place:
        root = options.home or Path(place)
        together, facts = replay(root / "together", policies, 2)
        dearest = max(facts["policies"], key=lambda p: (p["retrains"], p["cost_s"]))["name"]
        alone, _ = replay(root / "alone", (dearest,), 1)
    results = {
        "policies": len(policies),
        "together_s": round(together.wall_s, 1),
        "dearest": dearest,
        "alone_s": round(alone.wall_s, 1),
        "ratio": round(together.wall_s / alone.wall_s, 2),
        "together_mib": round(together.peak_mib),
        "alone_mib": round(alone.peak_mib),
        "facts": facts,
    }
    if options.json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    sys.stdout.write(
        f"{results['policies']} policies, two at a time: {results['together_s']} s, {results['together_mib']} MiB\n"
        f"`{dearest}` alone: {results['alone_s']} s, {results['alone_mib']} MiB\nratio {results['ratio']} (aim: 3)\n"
    )
    for p in facts["policies"]:
        sys.stdout.write(f"{p['name']:45} {p['loss']:.4f} {p['retrains']:3} tried {p['cost_s']:7.1f} s\n")
    sys.stdout.write(f"recommended: {facts['recommended']}. {facts['why']}\n")


if __name__ == "__main__":
    main()
