"""`trueup serve` beside `mlflow models serve` of the same version and an empty ASGI application, on the flights; swaps and kills.

    python -m benchmarks.serving [--json] [--parts load,durability,swaps,kills,log] [--rounds 3] [--seconds 4] [--home FOLDER]

The parts, together at most ten minutes on two idle cores; `--home` keeps the home for the next run. `wrk` must be installed.

load         single rows of the flights from 1, 8 and 32 connections. Each server has the first core, `wrk` the last one. Both
             servers predict the same flights. Trueup gets the row, computes the history features and logs the
             prediction as one of record before it answers; MLflow gets the features. In each round all servers are
             measured one after the other. Ratios are of one round; the result is the median of the rounds.
durability   the same with `durability: machine` and `off`, with two workers on all cores, and by MLflow's protocol
swaps        8 connections, and another version every 100 ms: no failed request, and no answer that neither version gives
kills        `kill -9` under load: no acknowledged prediction missing from the drained log
log          bytes of the log for each prediction

`rps_ratio` is Trueup's requests per second over MLflow's, `of_empty` over the empty application's. `cpu_ratio` and `p99_ratio`
are MLflow's CPU time a request and 99th percentile over Trueup's. `memory_ratio` and `start_ratio` are Trueup's memory (PSS,
after the load) and time from the start of the process to the first prediction over MLflow's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.servers import process
from benchmarks.servers.flights_home import MODEL, FlightsHome, made
from benchmarks.servers.kills import killed
from benchmarks.servers.process import Server
from benchmarks.servers.swaps import swapped
from benchmarks.servers.wrk import Load, load, require_wrk
from trueup.serving.log_format import log_files, read_frames
from trueup.serving.published import folder_of
from trueup.serving.state import LOG

CONNECTIONS = (1, 8, 32)
PARTS = ("load", "durability", "swaps", "kills", "log")
AIMS = {
    "1": {"rps_ratio": 25, "cpu_ratio": 55},
    "8": {"rps_ratio": 45, "cpu_ratio": 55, "of_empty": 0.4},
    "32": {"rps_ratio": 70, "cpu_ratio": 55},
}  # at least; and at most:
LIMITS = {"memory_ratio": 0.2, "start_ratio": 0.1, "lost": 0, "swaps p99_ratio": 1.5}
_CORES = sorted(os.sched_getaffinity(0))
_FIRST, _LAST = {_CORES[0]}, {_CORES[-1]}


def main() -> None:
    """Measure and print."""
    wanted = _arguments()
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="trueup-serving-") as scratch:
        bench = Bench(made(wanted.home or Path(scratch)), wanted.seconds, wanted.rounds)
        figures: dict[str, Any] = {}
        for part in wanted.parts:
            _say(f"{part} ...")
            figures |= {
                "load": bench.beside_others,
                "durability": bench.durability,
                "swaps": lambda: bench.swaps(wanted.swap_seconds),
                "kills": lambda: bench.kills(wanted.kill_rounds),
                "log": bench.log,
            }[part]()
    if wanted.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        _show(figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="trueup serve beside mlflow models serve and an empty application.")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of the part load; ratios are medians")
    parser.add_argument("--seconds", type=float, default=4, help="of load for one figure")
    parser.add_argument("--swap-seconds", type=float, default=60, help="with swaps; the same time without them")
    parser.add_argument("--kill-rounds", type=int, default=50)
    parser.add_argument("--home", type=Path, help="folder that keeps the home; default: a new one that is removed")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    wanted.parts = wanted.parts.split(",")
    if unknown := set(wanted.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return wanted


class Bench:
    """The servers on one home, and what is measured of them."""

    def __init__(self, flights: FlightsHome, seconds: float, rounds: int) -> None:
        self.flights, self.seconds, self.rounds = flights, seconds, rounds
        self._token = flights.token("benchmark", "record")

    def trueup(self, *words: str, path: str = f"/v1/models/{MODEL}/predict", cpus: set[int] | None = _FIRST) -> Server:
        """Start `trueup serve` with a token of record."""
        bodies = self.flights.bodies("rows" if path.endswith("predict") else "mlflow")
        ask = process.Ask(path, bodies, {"Authorization": f"Bearer {self._token}"})
        command = [sys.executable, "-m", "trueup", "serve", MODEL, "--port", "{port}", *words]
        log = self.flights.folder / "serve.log"
        return Server("trueup serve", command, ask, log, cpus=cpus, **self.flights.environment)

    def beside_others(self) -> dict[str, Any]:
        """Trueup, MLflow and the empty application in turn."""
        self.flights.serve({})
        with ExitStack() as stack:
            servers = {name: stack.enter_context(start()) for name, start in self._starts().items()}
            for server in servers.values():
                load(server, 8, 1, _LAST)  # what is compiled or filled at the first requests
            rounds = [
                {str(n): {name: load(s, n, self.seconds, _LAST) for name, s in servers.items()} for n in CONNECTIONS}
                for _ in range(self.rounds)
            ]
            memory = {name: server.pss_mib() for name, server in servers.items()}
            starts = {name: server.started_s for name, server in servers.items()}
        return {
            **{str(n): _ratios([of_round[str(n)] for of_round in rounds]) for n in CONNECTIONS},
            "memory_ratio": memory["trueup"] / memory["mlflow"],
            "start_ratio": starts["trueup"] / starts["mlflow"],
            "memory_mib": memory,
            "start_s": starts,
        }

    def _starts(self) -> dict[str, Callable[[], Server]]:
        flights = self.flights
        return {
            "empty": lambda: process.empty(flights.bodies("rows"), flights.folder / "empty.log", _FIRST),
            "trueup": self.trueup,
            "mlflow": lambda: process.mlflow(
                flights.champion_uri(), flights.bodies("mlflow"), flights.folder / "mlflow.log", _FIRST
            ),
        }

    def durability(self) -> dict[str, Any]:
        """Other settings, each beside the usual one in the same minute."""
        variants: dict[str, tuple[dict[str, str], Callable[[], Server]]] = {
            "process": ({}, self.trueup),
            "machine": ({"durability": "machine"}, self.trueup),
            "off": ({"durability": "off"}, self.trueup),
            "mlflow_protocol": ({}, lambda: self.trueup(path="/invocations")),
            "one_worker_all_cores": ({}, lambda: self.trueup(cpus=None)),
            "two_workers_all_cores": ({}, lambda: self.trueup("--workers", "2", cpus=None)),
        }
        figures: dict[str, Any] = {}
        for name, (section, start) in variants.items():
            self.flights.serve(section)
            with start() as server:
                load(server, 8, 1, _LAST)
                figures[name] = {str(n): _plain(load(server, n, self.seconds, _LAST)) for n in CONNECTIONS}
        self.flights.serve({})
        return {"durability": figures}

    def swaps(self, seconds: float) -> dict[str, Any]:
        """A swap every 100 ms."""
        self.flights.serve({})
        with self.trueup(cpus=None) as server:
            return {"swaps": swapped(self.flights, server, seconds)}

    def kills(self, rounds: int) -> dict[str, Any]:
        """Rounds of `kill -9`, with the log drained before and after."""
        self.flights.serve({})
        self.flights.drain()
        result = killed(self.flights, lambda: self.trueup(cpus=None), rounds)
        return {"lost": result["lost"], "kills": result}

    def log(self) -> dict[str, Any]:
        """The size of a logged prediction, with its 32 features."""
        self.flights.serve({})
        self.flights.drain()
        with self.trueup() as server:
            load(server, 1, self.seconds, _LAST)
        files = list(log_files(folder_of(self.flights.home, MODEL) / LOG))
        records, size = sum(len(read_frames(f).payloads) for f in files), sum(f.stat().st_size for f in files)
        return {"log": {"predictions": records, "bytes_a_prediction": round(size / records, 1)}}


def _ratios(rounds: list[dict[str, Load]]) -> dict[str, Any]:
    """Ratios within each round, their median and range, and what was measured."""
    for of_round in rounds:
        failed = {name: one.failed for name, one in of_round.items() if one.failed}
        if failed:
            raise RuntimeError(f"requests failed: {failed}; the servers' logs are in the home's folder")
    ratios = {
        "rps_ratio": [r["trueup"].rps / r["mlflow"].rps for r in rounds],
        "cpu_ratio": [r["mlflow"].cpu_us / r["trueup"].cpu_us for r in rounds],
        "p99_ratio": [r["mlflow"].p99_ms / r["trueup"].p99_ms for r in rounds],
        "of_empty": [r["trueup"].rps / r["empty"].rps for r in rounds],
    }
    return {
        **{name: statistics.median(values) for name, values in ratios.items()},
        "range": {name: [min(values), max(values)] for name, values in ratios.items()},
        "measured": {name: [_plain(r[name]) for r in rounds] for name in rounds[0]},
    }


def _plain(one: Load) -> dict[str, float]:
    names = ("rps", "cpu_us", "p50_ms", "p99_ms", "requests", "failed")
    return {name: round(getattr(one, name), 3) for name in names}


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _show(figures: dict[str, Any]) -> None:
    for line in _lines(figures):
        print(line)


def _lines(figures: dict[str, Any]) -> Iterable[str]:
    for n in map(str, CONNECTIONS):
        if n in figures:
            of = figures[n]
            aims = ", ".join(f"{name} {aim:g}" for name, aim in AIMS[n].items())
            ratios = ", ".join(
                f"{name} {of[name]:.3g} ({low:.3g} to {high:.3g})" for name, (low, high) in of["range"].items()
            )
            yield f"{n} connections: {ratios}; at least: {aims}"
            for name, rounds in of["measured"].items():
                middle = {
                    key: statistics.median(r[key] for r in rounds) for key in ("rps", "cpu_us", "p50_ms", "p99_ms")
                }
                yield f"    {name:8}" + "".join(f"{value:12,.2f} {key}" for key, value in middle.items())
    if "memory_ratio" in figures:
        yield (
            f"memory {figures['memory_ratio']:.3g} (at most {LIMITS['memory_ratio']:g}), start {figures['start_ratio']:.3g} "
            f"(at most {LIMITS['start_ratio']:g}) of MLflow's: {figures['memory_mib']} MiB, {figures['start_s']} s"
        )
    for name, by_connections in figures.get("durability", {}).items():
        cells = (
            f"{n}: {of['rps']:,.0f}/s, {of['cpu_us']:.0f} µs, p99 {of['p99_ms']:.1f} ms"
            for n, of in by_connections.items()
        )
        yield f"{name:22} " + "; ".join(cells)
    for part in ("swaps", "kills", "log"):
        if part in figures:
            yield f"{part}: {figures[part]}"


if __name__ == "__main__":
    main()
