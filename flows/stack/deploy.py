"""The work pool, the deployments of prefect.yaml, and who marks dead flow runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flows.crashed import GONE
from flows.stack.health import post
from flows.stack.layout import POOL
from trueup.errors import WorkError

DEAD_AFTER = 90  # seconds without a beat, three of Prefect's own, after which a flow run is taken for dead
_SECONDS = 180
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
_DEAD_RUNS: Final[dict[str, Any]] = {
    "name": "trueup: mark dead flow runs",
    "description": f"A flow run that has stopped beating for {DEAD_AFTER} s is dead, with its process or its machine.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        # One that waits for a person's answer has no process and is not dead. That it was suspended may reach the server
        # before its first beat does, so the suspension cannot stand among what is expected: `flows.crashed` sees to these.
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "!approve"},
        "for_each": ["prefect.resource.id"],
        "after": ["prefect.flow-run.heartbeat"],
        "expect": ["prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in _ENDS)],
        "threshold": 1,
        "within": DEAD_AFTER,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": f"no heartbeat for {DEAD_AFTER} s: {GONE}",
        }
    ],
}


def deploy(project: Path, environment: Mapping[str, str], log: Path | None = None) -> None:
    """Make the work pool, deploy everything in prefect.yaml, and watch for dead runs. Again: the same.

    `environment` names the server, in PREFECT_API_URL. Raises WorkError.
    """
    _prefect(project, environment, log, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    # No pull step stands in prefect.yaml, so that Prefect writes down the folder in which this is said.
    _prefect(project, environment, log, "--no-prompt", "deploy", "--all")
    api, named = environment["PREFECT_API_URL"], {"automations": {"name": {"any_": [_DEAD_RUNS["name"]]}}}
    try:
        if known := post(f"{api}/automations/filter", named, tries=20):
            post(f"{api}/automations/{known[0]['id']}", _DEAD_RUNS, tries=20, method="PUT")
        else:
            post(f"{api}/automations/", _DEAD_RUNS, tries=20)
    except OSError as error:
        raise WorkError(f"the automation that marks dead flow runs could not be made: {error}") from None


def _prefect(project: Path, environment: Mapping[str, str], log: Path | None, *words: str) -> None:
    """Say a command of Prefect's, which asks nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words],
            cwd=project,
            env={**environment, "PREFECT_LOGGING_LEVEL": "WARNING", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WorkError(f"`prefect {' '.join(words)}` did not end within {_SECONDS} s") from None
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(done.stdout)
    if done.returncode:
        raise WorkError(f"`prefect {' '.join(words)}` failed: {done.stdout.strip()[-2000:]}")


if __name__ == "__main__":  # compose.yaml's worker, before it starts
    try:
        deploy(Path.cwd(), os.environ)
    except WorkError as error:
        raise SystemExit(str(error)) from None
