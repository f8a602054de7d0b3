"""How often a rollout rolls an equal challenger back, and how soon it finds planted faults, on made-up traffic.

`python -m benchmarks.rollout [--repetitions 400] [--faults 100] [--json FILE]` takes some minutes. Each repetition is a
rollout with the default rules and a look every 40 requests; `rollout_traffic` draws the requests.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import beta

from benchmarks.rollout_traffic import Outcome, World, loses, mean_losses, play
from trueup.config.sections.promotion import RolloutConfig

EQUAL = World()
AT_LIMIT: dict[str, World] = {  # the worst that must not be rolled back more often than the errors allow
    "raises 1 %": World(raises=0.01),
    "NaN .1 %": World(nan=0.001),
    "shift .25": World(shift=0.25),
}
FAULTS: dict[str, tuple[str, World]] = {
    "raises 3 %": ("errors", World(raises=0.03)),
    "NaN 1 %": ("non_finite", World(nan=0.01)),
    "slow 4 x": ("latency", World(slow=4)),
    "shift .5": ("shift", World(shift=0.5)),
}
WORSE = (0.2, 0.25, 0.3, 0.4)  # more of the challenger's own error in log-odds


@dataclass(frozen=True)
class Share:
    """A share of repetitions, with the one-sided 95 % bounds of Clopper and Pearson."""

    hits: int
    of: int
    low: float
    high: float

    @classmethod
    def count(cls, hits: int, of: int) -> Share:
        """The share of `hits` among `of`."""
        low = float(beta.ppf(0.05, hits, of - hits + 1)) if hits else 0.0
        high = float(beta.ppf(0.95, hits + 1, of - hits)) if hits < of else 1.0
        return cls(hits, of, low, high)


def main(words: list[str] | None = None) -> None:
    """Print the figures, and write them as JSON if asked to."""
    asked = _parser().parse_args(words)
    with ProcessPoolExecutor(asked.workers) as pool:
        figures = measure(pool, asked.repetitions, asked.faults)
    text = json.dumps(figures, indent=2)
    if asked.json:
        Path(asked.json).write_text(text + "\n")
    sys.stdout.write(text + "\n")


def measure(pool: ProcessPoolExecutor, repetitions: int, faults: int) -> dict[str, Any]:
    """All figures: `equal`, `at_limit`, `faults` from the shadow and from the canary on, and `worse` losses."""
    config = RolloutConfig()
    played = list(pool.map(partial(play, EQUAL, config), range(repetitions), chunksize=4))
    lost = list(pool.map(partial(loses, EQUAL, config), range(repetitions), chunksize=4))
    rolled = [p.action == "roll back" or loss for p, loss in zip(played, lost, strict=True)]
    return {
        "equal": asdict(Share.count(sum(rolled), repetitions)) | {"rows": median(p.rows for p in played)},
        "equal_by_loss": asdict(Share.count(sum(lost), repetitions)),
        "at_limit": {name: asdict(_back(pool, world, config, faults)) for name, world in AT_LIMIT.items()},
        "faults": {name: _found(pool, *fault, config, faults) for name, fault in FAULTS.items()},
        "faults_of_canary": {
            name: _found(pool, rule, replace(world, from_step=1), config, faults)
            for name, (rule, world) in FAULTS.items()
        },
        "worse": {f"{worse:g}": _worse(pool, World(worse=worse), config, faults) for worse in WORSE},
    }


def _back(pool: ProcessPoolExecutor, world: World, config: RolloutConfig, repetitions: int) -> Share:
    ended = pool.map(partial(play, world, config), range(repetitions), chunksize=4)
    return Share.count(sum(e.action == "roll back" for e in ended), repetitions)


def _found(
    pool: ProcessPoolExecutor, rule: str, world: World, config: RolloutConfig, repetitions: int
) -> Mapping[str, Any]:
    """How many are rolled back, and by the right rule; after how many rows."""
    ended: list[Outcome] = list(pool.map(partial(play, world, config), range(repetitions), chunksize=4))
    right = sum(e.action == "roll back" and e.by == rule for e in ended)
    rows = sorted(e.rows for e in ended)
    by = dict(Counter(e.by or e.action for e in ended))
    return asdict(Share.count(right, repetitions)) | {
        "by": by,
        "rows": median(rows),
        "rows_95": rows[-(len(rows) // 20) - 1],
    }


def _worse(pool: ProcessPoolExecutor, world: World, config: RolloutConfig, repetitions: int) -> Mapping[str, Any]:
    """How many lose on matured labels, and how much worse they are."""
    new, old = mean_losses(world)
    lost = list(pool.map(partial(loses, world, config), range(repetitions), chunksize=4))
    labels = world.rows_per_day * world.days
    return asdict(Share.count(sum(lost), repetitions)) | {
        "worse_by": new / old - 1,
        "labels": labels,
        "days": world.days,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=400, help="rollouts of an equal challenger")
    parser.add_argument("--faults", type=int, default=100, help="rollouts of each fault")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    return parser


if __name__ == "__main__":
    main()
