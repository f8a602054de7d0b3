"""Compares promotion rules by the gain of retraining they keep, on synthetic streams, the flights, and real tables.

    python -m benchmarks.gates [--data DIR] [--seeds 10] [--cache DIR] [--quick] [--json] [--write docs/gates-evidence.md]

Without `--json` it prints the table of rules; `--write` puts it into the page with the choice and its reasons. The last
line of `--json` is one object: the shipped rule's figures, and all rules' under `rules`. `--data` is a folder of public
tables; missing ones are named and left out. One seed of all streams takes two minutes of CPU, and the tables two more;
`--cache` stores the fits for the next run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gate_measures import figures, try_on
from benchmarks.gate_page import table, write
from benchmarks.gate_records import Record, record
from benchmarks.gate_rules import Rule
from benchmarks.gate_streams import CHOOSING, REPORTED, STREAMS
from benchmarks.gate_tables import missing, tables
from trueup.config.sections.promotion import PromoteConfig
from trueup.domain.judging.gates.paired import Paired

_WITH_TWINS = 3  # seeds for which twins and planted challengers are fitted, too: they cost as much as all the rest
_QUICK = ("none, tiny", "abrupt, low noise, trailing")
SHIPPED, CHANGE = "shipped, routine", "shipped, change"


def rules(quick: bool) -> list[Rule]:
    """List the rules to compare, the shipped ones first; `confidence .5` needs only a mean gain of `min_gain`."""
    shipped = [Rule(SHIPPED), Rule(CHANGE, burden="change")]
    plain = [Rule("always", "always"), Rule("never", "never"), Rule("non-inferior on half a period", "before", folds=1)]
    if quick:
        return [*shipped, *plain]
    grid = [
        (0.9, 0.003, 1.0),
        (0.9, 0.003, 0.7),
        (0.7, 0.003, 0.7),
        (0.6, 0.005, 0.7),
        (0.5, 0.003, 0.7),
        (0.5, 0.001, 1.0),
        (0.5, 0.01, 0.7),
    ]
    return [*shipped, *plain, *(_rule(*of) for of in grid), _rule(0.5, 0.001, 0.7, on_record=False)]


def _rule(confidence: float, min_gain: float, recency: float, on_record: bool = True) -> Rule:
    name = f"confidence {confidence:g}, min_gain {min_gain:g}, recency {recency:g}"
    paired = Paired(confidence=confidence, min_gain=min_gain)
    return Rule(name if on_record else f"{name}, no record", "gates", paired, recency=recency, record=on_record)


def records(folder: Path | None, seeds: int, cache: Path, quick: bool) -> Iterator[Record]:
    """Fit, or read from the cache, the records that the rules are played on."""
    for stream in STREAMS:
        if not quick or stream.name in _QUICK:
            for seed in range(seeds):
                _say(f"{stream.name}, seed {seed}")
                yield record(stream.data(seed), cache, pools=seed < _WITH_TWINS)
    if not quick:
        for name, read in tables(folder):
            _say(name)
            yield record(read(), cache)


def run(folder: Path | None, seeds: int, cache: Path, quick: bool) -> dict[str, Any]:
    """Measure every rule on each half, and the shipped ones on both."""
    recorded = list(records(folder, seeds, cache, quick))
    measured, both = [], dict[str, dict[str, Any]]()
    few = [r if r.seed == 0 else _without_pools(r) for r in recorded]
    for rule in rules(quick):
        _say(rule.name)
        tried = [try_on(r, rule) for r in (recorded if rule.name in {SHIPPED, CHANGE} else few)]
        halves = {half: figures([t for t in tried if t.record.half == half], rule) for half in (CHOOSING, REPORTED)}
        measured.append({"rule": rule.name, **halves})
        if rule.name in {SHIPPED, CHANGE}:
            both[rule.name] = figures(tried, rule)
    routine = both[SHIPPED]
    return {
        **{k: routine[k] for k in ("kept", "wrong_shown", "wrong", "promotions", "refusals", "refused_wrongly")},
        "refused_wrongly_shown": routine["refused_wrongly_shown"],
        "twins": {"routine": routine["twins"], "change": both[CHANGE]["twins"]},
        "planted": {"routine": routine["planted"], "change": both[CHANGE]["planted"]},
        "planted_by_kind": routine["planted_by_kind"],
        "shipped": {"paired": Paired().model_dump(), "promote": _promote()},
        "seeds": seeds,
        "missing": [] if quick else missing(folder),
        "rules": measured,
    }


def _without_pools(of: Record) -> Record:
    """Leave out twins and planted challengers: of the rules that are not shipped those of one seed are enough."""
    return replace(of, cuts=of.cuts[:0], twins=of.twins[:0], worse=of.worse[:0])


def _promote() -> dict[str, Any]:
    return {name: getattr(PromoteConfig(), name) for name in ("folds", "recency")}


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare rules of promotion.")
    parser.add_argument("--data", type=Path, help="folder of public tables")
    parser.add_argument("--seeds", type=int, default=10, help="of each made-up stream")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "trueup-gates")
    parser.add_argument("--quick", action="store_true", help="two small streams, one seed: whether it runs at all")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--write", type=Path, help="the page to put the tables into, between its markers")
    wanted = parser.parse_args()
    results = run(wanted.data, 1 if wanted.quick else wanted.seeds, wanted.cache, wanted.quick)
    if results["missing"]:
        _say(f"not there, and left out: {', '.join(results['missing'])}")
    if wanted.write:
        write(wanted.write, results)
    sys.stdout.write((json.dumps(results) if wanted.json else table(results)) + "\n")


if __name__ == "__main__":
    main()
