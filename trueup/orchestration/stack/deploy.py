"""The work pool, the deployments of prefect.yaml, and the automation that marks dead flow runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.environments import VARIABLE, Chosen
from trueup.config.load import model_names
from trueup.errors import UsageError, WorkError
from trueup.orchestration.recovery.dead_runs import DEAD_AFTER, GONE
from trueup.orchestration.stack.health import post
from trueup.orchestration.stack.services import POOL

_SECONDS = 180
TEMPLATE: Final = Path("deploy", "work-pool.json")  # of a project on Kubernetes: the pool's base job template
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")  # of the environment, which Prefect puts in
_STARTED_ELSEWHERE = frozenset({"docker", "kubernetes"})  # types of pools, and the names of those in prefect.yaml
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
    outdated: tuple[str, ...] = ()  # work pools with another template than the project's

    def lines(self) -> list[str]:
        lines = ["flows deployed"]
        if self.left_out:
            lines.append(f"left out: {', '.join(self.left_out)}; prefect.yaml names them, {self.configs} has no config")
        if self.alone:
            lines.append(
                f"not deployed: {', '.join(self.alone)}; prefect.yaml does not name them: copy another's block"
            )
        for pool in self.outdated:
            update = f"prefect work-pool update {pool} --base-job-template {TEMPLATE}"
            lines.append(f"the work pool {pool} is not as {TEMPLATE} says, and was left so; to change it: {update}")
        return lines


def deploy(
    project: Path,
    environment: Mapping[str, str],
    log: Path | None = None,
    chosen: Chosen | None = None,
    here: bool = False,
) -> Deployed:
    """Create the work pool, deploy the models in prefect.yaml that have a config, and watch for dead runs. Idempotent.

    `environment` names the server, in PREFECT_API_URL, and the folder of the configs; `chosen` is the environment in which
    the flow runs act; with `here` those that prefect.yaml sends to a cluster start as processes on this machine. Prefect's output goes to the log, or to stderr. Raises WorkError, and UsageError for a prefect.yaml
    that cannot be read or names variables that are not set, and for a missing work pool of containers without a template.
    """
    configs = project / environment.get("TRUEUP_CONFIGS", "configs")
    content, deployed = _with_configs(project / "prefect.yaml", configs)
    if here:
        content = _here(content)
    kinds = _kinds(content)
    if chosen is None:
        kinds = {POOL: "process", **kinds}  # the stack's worker serves it
    else:
        content = _within(content, chosen)
        kinds = {chosen.content.work_pool or pool: kind for pool, kind in kinds.items()}
    _require_variables(content["deployments"], environment)
    made = {pool: _make_pool(project, environment, log, pool, kind) for pool, kind in kinds.items()}
    deployed = replace(deployed, outdated=tuple(pool for pool, current in made.items() if not current))
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


def _kinds(content: Mapping[str, Any]) -> dict[str, str]:
    """The work pools of the deployments with their types: a pool of prefect.yaml is named after its type, or is local."""
    pools = {(d.get("work_pool") or {}).get("name", POOL) for d in content["deployments"]}
    return {pool: pool if pool in _STARTED_ELSEWHERE else "process" for pool in sorted(pools)}


def _here(content: Mapping[str, Any]) -> dict[str, Any]:
    """The deployments with the pool of this machine instead of one of a cluster, which could not reach its servers."""
    local = {"name": POOL, "job_variables": {"command": "python -m prefect.engine"}}
    of_cluster = [(d.get("work_pool") or {}).get("name") == "kubernetes" for d in content["deployments"]]
    if not any(of_cluster):
        return dict(content)
    deployments = [
        {**d, "work_pool": local} if away else d for d, away in zip(content["deployments"], of_cluster, strict=True)
    ]
    # `pull` names a folder of the image.
    return {k: v for k, v in content.items() if k != "pull"} | {"deployments": deployments}


def _within(content: dict[str, Any], chosen: Chosen) -> dict[str, Any]:
    """The deployments with what differs in an environment."""
    changed: dict[str, Any] = json.loads(json.dumps(content))  # entries share parts through YAML's anchors
    for deployment in changed["deployments"]:
        pool = deployment.setdefault("work_pool", {})
        pool["name"] = chosen.content.work_pool or pool.get("name", POOL)
        variables = pool.setdefault("job_variables", {})
        variables["env"] = {**(variables.get("env") or {}), VARIABLE: chosen.name}
        for schedule in deployment.get("schedules", []) if not chosen.content.schedules else []:
            schedule["active"] = False
    return changed


def _require_variables(deployments: list[dict[str, Any]], environment: Mapping[str, str]) -> None:
    """Raise UsageError with all variables that the deployments name, as {{ $NAME }}, and that are not set."""
    named = dict.fromkeys(_VARIABLE.findall(json.dumps(deployments)))
    if missing := [name for name in named if not environment.get(name)]:
        raise UsageError(
            f"prefect.yaml: {{{{ ${' }}, {{ $'.join(missing)} }}}} is not set; set it where `trueup deploy` runs. On Kubernetes "
            "the worker's pod does, which deploys when it starts"
        )


def _make_pool(project: Path, environment: Mapping[str, str], log: Path | None, pool: str, kind: str) -> bool:
    """Create a missing work pool. One that is there is the user's. Returns whether it is as the project's template says."""
    create = ("work-pool", "create", pool, "--type", kind)
    if pool == POOL:
        _prefect(project, environment, log, *create, "--overwrite")
        return True
    template = project / TEMPLATE if kind == "kubernetes" and (project / TEMPLATE).is_file() else None
    try:
        there = post(f"{environment['PREFECT_API_URL']}/work_pools/{pool}", None, tries=20, method="GET")
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise WorkError(f"Prefect's server refused to show the work pool {pool}: {error}; see its log") from None
        if kind != "process" and template is None:
            raise UsageError(
                f"the Prefect server has no work pool {pool!r}; `prefect {' '.join(create)}` makes it"
            ) from None
        words = ("--base-job-template", str(TEMPLATE)) if template else ()
        _prefect(project, environment, log, *create, *words)
        return True
    except httpx.HTTPError as error:
        raise WorkError(f"Prefect's server does not answer: {error}; see PREFECT_API_URL") from None
    return template is None or bool(there["base_job_template"] == json.loads(template.read_text(encoding="utf-8")))


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
