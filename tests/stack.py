"""A stack of real servers for a test, on ports of its own, and a project whose model is quick to train."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from tests.free import free_port
from trueup.orchestration.recovery import processes

ROOT = Path(__file__).parents[1]
# A shell lets what it starts in the background ignore Ctrl-C, tests among it, and what they start inherits that.
CALL = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from trueup.cli.main import main; main()"
)
# Without reports, half of what a flow run of a small model costs, and without the servers that no flow needs.
LEAN = {"TRUEUP_REPORTS": "false", "TRUEUP_WITHOUT": "mlflow,evidently,reports,serve,ui"}
SLOW = 3  # how much longer than here a shared machine may take before a test gives something up
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass
class Stack:
    """The command line on a home with ports of its own."""

    home: Path
    project: Path = ROOT
    more: dict[str, str] = field(default_factory=dict)
    said: tuple[int, str] = (0, "")  # what its start came to
    ports: dict[str, int] = field(
        default_factory=lambda: {p: free_port() for p in ("prefect", "mlflow", "evidently", "reports", "serve", "ui")}
    )

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        environment |= {f"TRUEUP_{p.upper()}_PORT": str(n) for p, n in self.ports.items()}
        environment |= {"TRUEUP_HOME": str(self.home), "PYTHONPATH": os.pathsep.join([str(ROOT), *paths()])}
        return subprocess.Popen(
            [sys.executable, "-c", CALL, *words],
            cwd=self.project, env=environment | self.more, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __call__(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        said, _ = process.communicate(timeout=600)
        return process.returncode, said

    def up(self) -> dict:
        code, said = self("up", "--detach", "--json", "--wait", "400")
        assert code == 0, said
        return json.loads(said.splitlines()[-1])

    def status(self) -> dict:
        return json.loads(self("stack", "status", "--json")[1].splitlines()[-1])

    def ask(self, path: str, body: dict | None = None):
        url = f"http://127.0.0.1:{self.ports['prefect']}/api{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503:  # "come again": its SQLite is busy
                    raise
                time.sleep(0.5)
        raise AssertionError(f"{path}: 503 for 10 s")

    def runs(self, deployment: str, **parameters: str) -> str:
        found = self.ask(f"/deployments/name/{deployment}")
        run = self.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return run["id"]

    def state(self, run: str) -> dict:
        return self.ask(f"/flow_runs/{run}")["state"]

    def ended(self, run: str, seconds: float = 120.0) -> dict:
        """Wait for a flow run's end, and give its last state."""
        return until(lambda: (s := self.state(run))["type"] in ENDED and s, seconds)

    def kill(self, program: str | None = None) -> int:
        """SIGKILL to all processes of a program, or of the stack: flow runs are the worker's. Gives how many there were."""
        found = processes.marked(self.home.resolve(), program)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return len(found)

    def nothing_left(self) -> bool:
        return not processes.marked(self.home.resolve())


def paths() -> list[str]:
    return [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]


def until(found, seconds: float = 60.0):
    """Wait for something to be true, and give it."""
    deadline = time.monotonic() + SLOW * seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.2)
    return value


def answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
            return answer.status == 200
    except OSError:
        return False


def toy_project(folder: Path, every: dict[str, int] | None = None) -> Path:
    """A project folder with the deployments of prefect.yaml for the model `toy`.

    Nothing runs by itself but the flows in `every`, each so many seconds.
    """
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    mine = [d for d in content["deployments"] if d.get("parameters", {}).get("model") != "flight_air_time"]
    for deployment in mine:
        deployment.pop("schedules", None)
        if seconds := (every or {}).get(deployment["entrypoint"].split(":")[1]):
            deployment["schedules"] = [{"interval": seconds}]
    text = yaml.safe_dump({"name": "trueup", "deployments": mine}).replace("flight_delays", "toy")
    (folder / "prefect.yaml").write_text(text)
    return folder
