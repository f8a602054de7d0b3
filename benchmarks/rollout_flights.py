"""Rollouts on the flights: a real challenger, and the same one with faults, meet the traffic of a month of 2013.

    python -m benchmarks.rollout_flights [--cases better,raises,...] [--month 4] [--home FOLDER] [--json]

The champion knows January and February, the challenger all months before that of the traffic; it passed the gates. Each
case is a copy of this home with a `trueup serve` of its own. Clients send the flights of the month in the order of their schedule,
one a request, with a token of record, and after every 250 requests `python -m trueup.online --check-rollout` decides. A fault is planted in the
graph of the challenger that the server loads; which rows have it depends on their features.

better       nothing is planted: shadow, two canary steps, and champion after the labels of the month
raises       raises an error for 3 % of the rows
nan          predicts NaN for 1 %
slow         takes ten times as long
shifted      predicts more, by 1.5 standard deviations of the champion's predictions for its gate rows
worse        each probability is moved at random, on average by nothing: found by the labels of the month
no_traffic   nobody asks: it waits, and at the deadline it ends as inconclusive

A case with labels sends the rest of the month after the canary's rows, 50 flights a request; then `trueup run` brings the
labels in. `--home` keeps the home for the next run. Exit code 1 if a case did not end as it should.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.servers.rollout_cases import CASES, Played, play_case
from benchmarks.servers.rollout_home import begun


def main() -> int:
    """Play the cases one after the other, and print how they ended."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="trueup-rollout-") as scratch:
        flights = begun(asked.home or Path(scratch) / "home", asked.month)
        token = flights.token("clients", "record")
        played = []
        for name in asked.cases:
            played.append(play_case(flights, name, token, Path(scratch) / name))
            sys.stderr.write(f"{_line(played[-1])}\n")
    if asked.json:
        sys.stdout.write(json.dumps({t.case: asdict(t) for t in played}) + "\n")
    else:
        sys.stdout.write("\n".join(_page(played)) + "\n")
    return 0 if all(t.right for t in played) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rollouts on the flights, with traffic from the real year.")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated; default: all")
    parser.add_argument("--month", type=int, default=4, choices=range(4, 12), metavar="4..11", help="of the traffic")
    parser.add_argument("--home", type=Path, help="folder that keeps the home; default: a new one that is removed")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    asked = parser.parse_args()
    asked.cases = asked.cases.split(",")
    if unknown := set(asked.cases) - set(CASES):
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    return asked


def _line(played: Played) -> str:
    return (
        f"{played.case}: {played.outcome}, rule {played.rule or '-'}, {played.requests:,} requests, {played.seconds:.0f} s"
        f"{'' if played.right else ': NOT AS IT SHOULD BE'}"
    )


def _page(cases: Iterable[Played]) -> Iterable[str]:
    for played in cases:
        yield _line(played)
        yield f"    path: {' -> '.join(played.path)}"
        yield f"    answers: {', '.join(f'{n:,} by the {role}' for role, n in played.answers.items()) or 'none'}"
        yield f"    failed requests: {played.failed}, answers that are no finite number: {played.not_finite}"
        yield from (f"    {reason}" for reason in played.reasons)


if __name__ == "__main__":
    sys.exit(main())
