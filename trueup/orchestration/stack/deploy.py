"""The work pool, the deployments of prefect.yaml, and the automation that marks dead flow runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.load import model_names
from trueup.errors import UsageError, WorkError
from trueup.orchestration.recovery.dead_runs import DEAD_AFTER, GONE
from trueup.orchestration.stack.health import post
from trueup.orchestration.stack.services import POOL

_SECONDS = 180
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
_DEAD_RUNS: Final[dict[str, Any]] = {
    "name": "trueup: mark dead flow runs",
    "description": f"A flow run without a heartbeat for {DEAD_AFTER} s is dead, with its process or its machine.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        # A run that waits for a person's answer has no process and is not dead. Its suspension may reach the server before
        # its first heartbeat, so the suspension cannot be an expected event. `trueup.orchestration.recovery.dead_runs` handles these runs.
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


@dataclass(frozen=True)
class Deployed:
    """The result for the models."""

    configs: Path
    left_out: tuple[str, ...]  # deployments without a config
    alone: tuple[str, ...]  # configs without a deployment

    def lines(self) -> list[str]:
        lines = ["flows deployed"]
        if self.left_out:
            lines.append(f"left out: {', '.join(self.left_out)}; prefect.yaml names them, {self.configs} has no config")
        if self.alone:
            lines.append(
                f"not deployed: {', '.join(self.alone)}; prefect.yaml does not name them: copy another's block"
            )
        return lines


def deploy(project: Path, environment: Mapping[str, str], log: Path | None = None) -> Deployed:
    """Create the work pool, deploy the models in prefect.yaml that have a config, and watch for dead runs. Idempotent.

    `environment` names the server, in PREFECT_API_URL, and the folder of the configs. Prefect's output goes to the log,
    or to stderr. Raises WorkError, and UsageError for a prefect.yaml that cannot be read.
    """
    configs = project / environment.get("TRUEUP_CONFIGS", "configs")
    content, deployed = _with_configs(project / "prefect.yaml", configs)
    _prefect(project, environment, log, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        json.dump(content, file)  # JSON, which is YAML of any version
        file.flush()
        # prefect.yaml has no pull step, so that Prefect stores the current folder.
        _prefect(project, environment, log, "--no-prompt", "deploy", "--all", "--prefect-file", file.name)
    api, named = environment["PREFECT_API_URL"], {"automations": {"name": {"any_": [_DEAD_RUNS["name"]]}}}
    try:
        _withdraw(api, deployed.left_out)
        if automations := post(f"{api}/automations/filter", named, tries=20):
            post(f"{api}/automations/{automations[0]['id']}", _DEAD_RUNS, tries=20, method="PUT")
        else:
            post(f"{api}/automations/", _DEAD_RUNS, tries=20)
    except httpx.HTTPError as error:
        raise WorkError(f"Prefect's server refused the stack's setup: {error}; see its log") from None
    return deployed


def _with_configs(file: Path, configs: Path) -> tuple[dict[str, Any], Deployed]:
    """prefect.yaml's entries for models with a config, and for no model."""
    try:
        content: dict[str, Any] = yaml_text.read(file.read_text(encoding="utf-8"), (1, 1))
        models = {id(d): (d.get("parameters") or {}).get("model") for d in content["deployments"]}
    except (YAMLError, LookupError, TypeError, AttributeError) as error:
        problem = " ".join(str(error).split())
        raise UsageError(f"{file} cannot be read as deployments: {problem}; correct it") from None
    there, named = set(model_names(configs)), {model for model in models.values() if model is not None}
    kept = [d for d in content["deployments"] if models[id(d)] is None or models[id(d)] in there]
    deployed = Deployed(configs, tuple(sorted(named - there)), tuple(sorted(there - named)))
    return {**content, "deployments": kept}, deployed


def _withdraw(api: str, models: tuple[str, ...]) -> None:
    """Delete earlier deployments of models without a config, because their runs would fail."""
    for model in models:
        tagged = {"deployments": {"tags": {"all_": ["trueup", model]}}}
        for deployment in post(f"{api}/deployments/filter", tagged, tries=20):
            post(f"{api}/deployments/{deployment['id']}", {}, tries=20, method="DELETE")


def _prefect(project: Path, environment: Mapping[str, str], log: Path | None, *words: str) -> None:
    command = f"`prefect {' '.join(words)}`"
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
        raise WorkError(f"{command} did not end within {_SECONDS} s; see the log of Prefect's server") from None
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(done.stdout)
    elif done.returncode:
        sys.stderr.write(done.stdout)
    if done.returncode:
        where = f"the full output is in {log}" if log is not None else "the full output is above"
        raise WorkError(f"{command} failed: {in_one_line(done.stdout)}; {where}")


def in_one_line(output: str) -> str:
    r"""The error in a tool's output: the last line with an error, else the last one.

    >>> in_one_line("Traceback (most recent call last):\n  File x\nValueError: no such pool\nFor more see https://x\n")
    'ValueError: no such pool'
    >>> in_one_line("")
    'no output'
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|error)\b", line)]
    return next(iter([*errors[-1:], *lines[-1:]]), "no output")[:300]


if __name__ == "__main__":  # compose.yaml's worker, before it starts
    try:
        for line in deploy(Path.cwd(), os.environ).lines():
            sys.stderr.write(f"{line}\n")
    except (WorkError, UsageError) as error:
        raise SystemExit(str(error)) from None
