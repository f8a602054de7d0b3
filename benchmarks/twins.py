"""How often the shipped gates promote an equal model: pairs of the shipped recipe that differ in their seed only.

For each month from March, models are trained on the flights before its last 14 days, with different seeds; each plays
challenger to each other on these days. An ideal gate would promote none of them.

    TRUEUP_HOME=... python -m benchmarks.twins [--seeds 5] [--json]      a home in which `trueup demo --to 2013-12` ran
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.domain.judging.gates import CHALLENGER, CHAMPION, Case, judge
from trueup.domain.judging.metrics import metrics
from trueup.domain.learning.learning import build, fit, predict
from trueup.domain.learning.recipe import Recipe
from trueup.domain.types import ROW_ID, Status, Window, overall
from trueup.home import Home
from trueup.model import Model
from trueup.stages.features import Examples, examples

MODEL = "flight_delays"
YEAR = Window(datetime(2013, 1, 1), datetime(2014, 1, 1))
MONTHS = range(3, 13)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description="Pairs trained alike but for the seed, judged by the shipped gates.")
    parser.add_argument("--seeds", type=int, default=5, help="models a month; each pair is judged both ways round")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    home = Home()
    config = load_model(home.configs, MODEL)
    promoted = [passed for month in MONTHS for passed in _month(Model(config, home), month, wanted.seeds)]
    results = {"pairs": len(promoted), "promoted": sum(promoted), "share": sum(promoted) / len(promoted)}
    if wanted.json:
        sys.stdout.write(json.dumps(results) + "\n")
    else:
        print(f"{results['promoted']} of {results['pairs']} pairs promoted ({results['share']:.1%})")


def _month(model: Model, month: int, seeds: int) -> list[bool]:
    """Whether each pair of a month's models is promoted."""
    current = model.champion()
    if current is None:
        raise SystemExit(f"{model.home.root} has no champion; first: trueup demo --to 2013-12")
    end = datetime(YEAR.start.year, month, 28)
    gate = Window(end - model.config.promote.gate_window, end)
    seen = examples(model, Window(YEAR.start, gate.start), YEAR.end, known_by=gate.start)
    judged = examples(model, gate, YEAR.end)
    recipe = current.recipe
    models = (Recipe(recipe.family, recipe.parameters, seed) for seed in range(seeds))
    fitted = (fit(build(r, seen.schema, model.config.task), seen.X, seen.y) for r in models)
    predictions = [predict(fitted, judged.X, model.config.task) for fitted in fitted]
    slices = _slices(model, judged, gate)
    cases = (_case(model.config, judged, slices, gate, pair) for pair in permutations(predictions, 2))
    # Better than a prior they all are, and what the other gates look at was not measured here.
    gates = [g for g in model.config.promote.gates if g.kind in {"paired", "slices"}]
    return [overall(judge(gates, case)) is Status.PASS for case in cases]


def _slices(model: Model, judged: Examples, gate: Window) -> pd.DataFrame:
    refs = [b.rows for b in model.usable_batches(YEAR.end) if b.window.overlaps(gate)]
    rows = model.home.store.read(refs, [ROW_ID, *model.config.evaluate.slices]).set_index(ROW_ID)
    return rows.loc[judged.row_id].reset_index(drop=True)


def _case(
    config: ModelConfig, judged: Examples, slices: pd.DataFrame, gate: Window, pair: tuple[np.ndarray[Any, Any], ...]
) -> Case:
    roles, y = (CHALLENGER, CHAMPION), judged.y.to_numpy()
    return Case(
        config.task,
        y,
        judged.event_time.to_numpy(),
        dict(zip(roles, pair, strict=True)),
        dict.fromkeys(roles, gate.start),
        metrics(config.task, y, pair[0]),
        evaluate=config.evaluate,
        slices=slices,
        seed=config.train.seed,
    )


if __name__ == "__main__":
    main()
