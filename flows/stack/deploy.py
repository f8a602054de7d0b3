"""The work pool, the deployments of prefect.yaml, and who marks dead flow runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Final

from flows.stack.health import post
from flows.stack.layout import POOL, Layout
from trueup.errors import WorkError

_SECONDS = 180
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
_DEAD_RUNS: Final[dict[str, Any]] = {
    "name": "trueup: mark dead flow runs",
    "description": "A flow run that has stopped beating for 90 s is dead, with its process or its machine.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "for_each": ["prefect.resource.id"],
        "after": ["prefect.flow-run.heartbeat"],
        "expect": ["prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in _ENDS)],
        "threshold": 1,
        "within": 90,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": "no heartbeat for 90 s: the process of this run is gone",
        }
    ],
}


def deploy(layout: Layout) -> None:
    """Make the work pool, deploy everything in prefect.yaml, and watch for dead runs. Again: the same. Raises WorkError."""
    _prefect(layout, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    # No pull step stands in prefect.yaml, so that Prefect writes down the folder in which this is said.
    _prefect(layout, "--no-prompt", "deploy", "--all")
    try:
        known = post(layout, "/automations/filter", {"automations": {"name": {"any_": [_DEAD_RUNS["name"]]}}}, tries=20)
        if not known:
            post(layout, "/automations/", _DEAD_RUNS, tries=20)
    except OSError as error:
        raise WorkError(f"the automation that marks dead flow runs could not be made: {error}") from None


def _prefect(layout: Layout, *words: str) -> None:
    """Say a command of Prefect's that asks nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words],
            cwd=layout.project,
            env={**layout.environment(os.environ), "PREFECT_LOGGING_LEVEL": "WARNING", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WorkError(f"`prefect {' '.join(words)}` did not end within {_SECONDS} s") from None
    with (layout.logs / "deploy.log").open("a", encoding="utf-8") as log:
        log.write(done.stdout)
    if done.returncode:
        raise WorkError(f"`prefect {' '.join(words)}` failed: {done.stdout.strip()[-2000:]}")
