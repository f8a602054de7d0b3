"""How time and memory of the loop grow with the rows: the flights, each of them 1, 10, 30 or 100 times, month by month.

Both sides make the same fits, see `overhead`: Trueup with `run`, and a bare script that keeps its months in memory. The
model is LightGBM by default, because it needs the least memory. A factor can have its own number of months.

    python -m benchmarks.scale --factor 1,10,100:2 --json
    python -m benchmarks.scale --factor 100:3 --without-bare     # where the bare script does not fit into memory
    python -m benchmarks.scale --factor 100:11 --one-turn        # 30 million rows in monthly batches, in one turn of the loop
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import Cost, cost
from benchmarks.overhead import MODEL, configs_for, environment, require_same_fits, trueup_side

AIMS = {"wall_ratio": 1.15, "peak_memory_ratio": 1.0, "peak_mib": 5 * 1024}  # the last at 30 million rows
_LIGHTGBM = {
    "learning_rate": 0.15,
    "n_estimators": 40,
    "num_leaves": 15,
    "min_child_samples": 500,
    "feature_fraction_bynode": 0.3,
}


_SHORT = 50  # copies of a flight from which the shipped `search_rows` last a day at most, which has no fold


def main() -> None:
    """Measure and print."""
    wanted = _arguments()
    results = {}
    for factor, _, months in (part.partition(":") for part in wanted.factor.split(",")):
        results[factor] = _measured(int(factor), int(months or wanted.months), wanted)
    if wanted.json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    for factor, figures in results.items():
        print(f"{factor} times the flights, {figures['months']} months, {wanted.family}: {figures['rows']:,} rows")
        for name, value in figures.items():
            print(f"  {name:<24}{value:>14,}" + (f"   aim {AIMS[name]:g}" if name in AIMS else ""))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How time and memory grow with the rows.")
    parser.add_argument(
        "--factor",
        default="1,10,30,100:3",
        help="copies of each flight, comma-separated, each with :MONTHS if it differs",
    )
    parser.add_argument("--months", type=int, default=4)
    parser.add_argument("--without-bare", action="store_true", help="Trueup's side only")
    parser.add_argument("--one-turn", action="store_true", help="Trueup's side only, which runs once, after all months")
    parser.add_argument("--family", choices=["lightgbm", "gradient_boosting"], default="lightgbm")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser.parse_args()


def _measured(factor: int, months: int, wanted: argparse.Namespace) -> dict[str, Any]:
    """Each side once."""
    with tempfile.TemporaryDirectory(prefix="trueup-scale-") as scratch:
        folder = Path(scratch)
        configs = configs_for(folder / "configs", factor)
        if wanted.family == "lightgbm":
            _with_lightgbm(configs / f"{MODEL}.yaml", factor)
        mode = ["one-turn"] if wanted.one_turn else []
        ours = trueup_side(folder / "home", configs, months, False, *mode)["cost"]
        made = json.loads(ours.out)
        figures = {
            "months": months,
            "rows": made["rows"],
            "largest_fit_rows": max(made["fits"], default=0),
            "peak_mib": round(ours.peak_mib),
            "cpu_s": round(ours.cpu_s, 1),
            "cpu_s_per_million_rows": round(ours.cpu_s / made["rows"] * 1e6, 1),
        }
        if not (wanted.without_bare or wanted.one_turn):
            turns = folder / "home" / "turns.json"
            bare = cost([sys.executable, "-m", "benchmarks.bare", str(configs), MODEL, str(turns)], environment())
            require_same_fits(made["fits"], json.loads(bare.out)["fits"])
            figures |= _compared(ours, bare)
        return {**figures, "load": round(os.getloadavg()[1], 1)}  # of the last five minutes, on all cores


def _compared(ours: Cost, bare: Cost) -> dict[str, float]:
    return {
        "wall_ratio": round(ours.wall_s / bare.wall_s, 3),
        "cpu_ratio": round(ours.cpu_s / bare.cpu_s, 3),
        "peak_memory_ratio": round(ours.peak_mib / bare.peak_mib, 3),
        "bare_peak_mib": round(bare.peak_mib),
        "bare_cpu_s": round(bare.cpu_s, 1),
    }


def _with_lightgbm(file: Path, factor: int) -> None:
    """Train LightGBM of the size of the shipped boosting, with the same directions."""
    config = yaml.safe_load(file.read_text())
    directions = config["train"]["parameters"]["gradient_boosting"]["monotonic_cst"]
    config["train"]["families"] = ["lightgbm"]
    config["train"]["parameters"] = {"lightgbm": {**_LIGHTGBM, "monotone_constraints": directions}}
    if factor >= _SHORT:
        config["train"]["search_rows"] *= 10
    file.write_text(yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    main()
