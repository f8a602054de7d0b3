"""Load by `wrk`: requests per second, latency, and the server's CPU time a request."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers.process import Server

_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Load:
    """What a server did under load from so many connections."""

    connections: int
    rps: float
    cpu_us: float  # a request, of all processes of the server
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int  # not 2xx, or without an answer


def require_wrk() -> None:
    """Raise SystemExit if `wrk` is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk, which makes the load, is not installed: apt-get install wrk")


def load(server: Server, connections: int, seconds: float, cpus: set[int] | None = None) -> Load:
    """Send the server's bodies from so many connections, each as fast as answers come, for some seconds."""
    environment = {
        **os.environ,
        "BODIES": str(server.ask.bodies),
        "REQUEST_PATH": server.ask.path,
        "HEADERS": "\n".join(f"{name}: {value}" for name, value in server.ask.headers.items()),
    }
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:g}s"]
    command += ["--timeout", "30s", "--script", str(_SCRIPT), f"http://127.0.0.1:{server.port}"]
    before = server.cpu_s()
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
    )
    used = server.cpu_s() - before
    said = json.loads(done.stdout.strip().rpartition("\n")[2])
    answered = max(said["requests"], 1)
    return Load(
        connections,
        said["requests"] / (said["us"] / 1e6),
        used / answered * 1e6,
        said["p50_us"] / 1e3,
        said["p99_us"] / 1e3,
        said["requests"],
        said["refused"] + said["broken"],
    )
