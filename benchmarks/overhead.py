"""The cost of Trueup over a bare script, measured side by side.

Both sides do the same work on the flights, month by month, in separate processes: load, history features, score,
compare, and where Trueup trained, the same trials on the same folds and the same fits. Trueup runs first and records
its fits and their rows; `bare` repeats them, and both must have made the same number of fits on the same rows. The
one-time setup of a home (Prefect's and MLflow's databases) is made before and reported separately.

    python -m benchmarks.overhead                    3 and 12 months, without a server and against a running one
    python -m benchmarks.overhead --scales 120       ten times the rows of the year
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, cost

MODEL = "flight_delays"
CONFIGS = Path(__file__).parents[1] / "configs"
TEN_TIMES = 120  # the scale that is the year with ten times its rows
AIMS = {
    "3": {"over_s": 8.0},
    "12": {"wall_ratio": 1.4, "peak_memory_ratio": 1.5},
    "120": {"wall_ratio": 1.15, "peak_memory_ratio": 1.5},
}
SERVED_WALL = 1.6  # at 12 months against a running server
_MAY_DIFFER = 0.02  # share of a fit's rows that may differ, because Trueup leaves out quarantined rows


def main() -> None:
    """Measure and print."""
    wanted = _arguments()
    results: dict[str, dict[str, Any]] = {}
    for scale in wanted.scales:
        modes = [m for m in ("alone", "served") if wanted.mode in (m, "both")]
        rounds = [_round(scale, modes) for _ in range(wanted.repeat)]
        results[str(scale)] = _summary(rounds, modes)
        if not wanted.json:
            _show(str(scale), results[str(scale)])
    if wanted.json:
        sys.stdout.write(json.dumps(results) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What Trueup costs over a bare script.")
    parser.add_argument("--scales", default="3,12", help=f"months, comma-separated; {TEN_TIMES}: ten times the year")
    parser.add_argument("--mode", choices=["both", "alone", "served"], default="both", help="Prefect's server")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; ratios are the medians")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    wanted.scales = [int(s) for s in wanted.scales.split(",")]
    return wanted


def _round(scale: int, modes: list[str]) -> dict[str, Any]:
    """Each side once."""
    with tempfile.TemporaryDirectory(prefix="trueup-overhead-") as scratch:
        folder = Path(scratch)
        configs = configs_for(folder / "configs", 10 if scale == TEN_TIMES else 1)
        sides = {mode: trueup_side(folder / mode, configs, min(scale, 12), served=mode == "served") for mode in modes}
        turns = folder / modes[0] / "turns.json"
        bare = cost([sys.executable, "-m", "benchmarks.bare", str(configs), MODEL, str(turns)], environment())
        for mode in modes:
            require_same_fits(json.loads(sides[mode]["cost"].out)["fits"], json.loads(bare.out)["fits"])
        return {"bare": bare, "fits": len(json.loads(bare.out)["fits"]), **sides}


def configs_for(folder: Path, copies: int) -> Path:
    """The shipped configs; for more rows with a source that returns each flight so many times."""
    shutil.copytree(CONFIGS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    if copies > 1:
        source = Path(__file__).with_name("ten_times.py").read_text()
        (folder / "ten_times.py").write_text(source.replace("COPIES = 10", f"COPIES = {copies}"))
        config = folder / f"{MODEL}.yaml"
        config.write_text(config.read_text().replace("nycflights:flights", "ten_times:flights"))
    return folder


def trueup_side(home: Path, configs: Path, months: int, served: bool, *mode: str) -> dict[str, Any]:
    """Run the loop in a fresh home, with a separately measured setup. `mode` is that of `benchmarks.turns`."""
    home.mkdir()
    turns = [sys.executable, "-m", "benchmarks.turns", MODEL]
    place = {"TRUEUP_HOME": str(home), "TRUEUP_CONFIGS": str(configs), "PREFECT_HOME": str(home / "prefect")}
    setup = cost([*turns, "0", "-"], environment(**place))
    with _server(home / "prefect") if served else nullcontext({}) as address:
        done = cost([*turns, str(months), str(home / "turns.json"), *mode], environment(**place, **address))
    return {"cost": done, "setup_s": setup.wall_s}


def environment(**more: str) -> dict[str, str]:
    """The environment of a side: one thread, this checkout."""
    root = str(Path(__file__).parents[1])
    return {"OMP_NUM_THREADS": "1", "PYTHONPATH": root, "PYTHONWARNINGS": "ignore", **more}


@contextmanager
def _server(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server on a free port of this machine; returns the environment of its clients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(prefect, env={**os.environ, **quiet}, stdout=nowhere, stderr=nowhere)
    try:
        api = f"http://127.0.0.1:{port}/api"
        _wait_for(f"{api}/health", process)
        yield {"PREFECT_API_URL": api}
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("Prefect's server did not start")


def require_same_fits(trueup: list[int], bare: list[int]) -> None:
    """Stop if the two sides did not make the same fits, because their ratio would be meaningless."""
    if len(trueup) != len(bare):
        raise RuntimeError(f"Trueup made {len(trueup)} fits, the bare script {len(bare)}")
    for ours, theirs in zip(sorted(trueup), sorted(bare), strict=True):
        if abs(ours - theirs) > _MAY_DIFFER * theirs:
            raise RuntimeError(f"a fit of Trueup's has {ours} rows, the bare script's {theirs}")


def _summary(rounds: list[dict[str, Any]], modes: list[str]) -> dict[str, Any]:
    """Medians over the rounds. The first mode's figures are at the top, those of a running server under `served`."""
    summaries = {mode: _compared(rounds, mode) for mode in modes}
    first, *others = modes
    return summaries[first] | {mode: summaries[mode] for mode in others}


def _compared(rounds: list[dict[str, Any]], mode: str) -> dict[str, Any]:
    pairs: list[tuple[Cost, Cost]] = [(r[mode]["cost"], r["bare"]) for r in rounds]

    def median(of: Any) -> float:
        return round(statistics.median(of(t, b) for t, b in pairs), 3)

    return {
        "wall_ratio": median(lambda t, b: t.wall_s / b.wall_s),
        "cpu_ratio": median(lambda t, b: t.cpu_s / b.cpu_s),
        "peak_memory_ratio": median(lambda t, b: t.peak_mib / b.peak_mib),
        "over_s": median(lambda t, b: t.wall_s - b.wall_s),
        "over_cpu_s": median(lambda t, b: t.cpu_s - b.cpu_s),
        "bare_s": median(lambda _, b: b.wall_s),
        "trueup_s": median(lambda t, _: t.wall_s),
        "bare_cpu_s": median(lambda _, b: b.cpu_s),
        "trueup_cpu_s": median(lambda t, _: t.cpu_s),
        "bare_peak_mib": median(lambda _, b: b.peak_mib),
        "trueup_peak_mib": median(lambda t, _: t.peak_mib),
        "setup_s": round(statistics.median(r[mode]["setup_s"] for r in rounds), 3),
        "fits": rounds[0]["fits"],
        "mode": mode,
        "rounds": len(rounds),
        "wall_ratios": [round(t.wall_s / b.wall_s, 3) for t, b in pairs],
    }


def _show(scale: str, summary: dict[str, Any]) -> None:
    title = "the year with ten times its rows" if scale == str(TEN_TIMES) else f"{scale} months"
    print(f"{title}: {summary['fits']} fits a side")
    print(f"  {'':<22}{'bare':>10}{'trueup':>10}{'ratio':>8}{'aim':>7}")
    for side in [summary, *(summary[m] for m in ("served",) if m in summary)]:
        running = side["mode"] == "served"
        print(f"  {'against a running server' if running else 'no server running'} (set-up {side['setup_s']:.1f} s)")
        aims = AIMS.get(scale, {}) | ({"wall_ratio": SERVED_WALL} if running and scale == "12" else {})
        for name, unit in (("wall", "s"), ("cpu", "s"), ("peak_memory", "MiB")):
            key = {"wall": "s", "cpu": "cpu_s", "peak_memory": "peak_mib"}[name]
            bare, trueup, ratio = side[f"bare_{key}"], side[f"trueup_{key}"], side[f"{name}_ratio"]
            aim = f"{aims[f'{name}_ratio']:.2f}" if f"{name}_ratio" in aims else ""
            label = f"{name.replace('_', ' ')}, {unit}" + (" (sum of PSS)" if name == "peak_memory" else "")
            print(f"    {label:<24}{bare:>6.1f}{trueup:>10.1f}{ratio:>8.2f}{aim:>7}")
        aim = f"{aims['over_s']:.2f}" if "over_s" in aims else ""
        print(f"    {'over bare: wall, CPU, s':<24}{side['over_s']:>16.1f}{side['over_cpu_s']:>8.1f}{aim:>7}")


if __name__ == "__main__":
    main()
