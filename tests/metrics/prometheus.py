"""Debian's Prometheus and promtool, for tests of what projects get for them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from trueup.metrics.families import OF_HOME, OF_MODELS
from trueup.serving.metrics import Metrics

MONITORING = Path(__file__).parents[2] / "trueup" / "project" / "templates" / "base" / "monitoring"
RULES, SCRAPES, DASHBOARD = (MONITORING / n for n in ("trueup.rules.yml", "prometheus.yml", "grafana-dashboard.json"))


def program(name: str) -> str:
    """Where a program of the package is; without it the test is skipped."""
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} is missing: apt-get install prometheus")
    return found


def promtool(*words: object, folder: Path | None = None, content: bytes = b"") -> tuple[int, str]:
    """Run promtool; its exit code and all its words."""
    command = [program("promtool"), *map(str, words)]
    done = subprocess.run(command, input=content, capture_output=True, cwd=folder, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def alerts() -> dict[str, str]:
    """The expression of each alert."""
    content = YAML(typ="safe").load(RULES)
    return {rule["alert"]: rule["expr"] for group in content["groups"] for rule in group["rules"]}


def expressions() -> list[str]:
    """Every PromQL expression of the dashboard, its variables replaced as Grafana would."""
    content = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in content["panels"] for target in panel.get("targets", ())]
    return [
        re.sub(r"\$\{?\w+\}?", ".*", query.replace("$__range", "1h").replace("$__rate_interval", "5m"))
        for query in queries
    ]


def names_in(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(trueup_\w+)", expression))


def known() -> set[str]:
    """The names of all metrics that the loop and the server of predictions have."""
    served = {
        sample for f in Metrics()._registry.collect() for sample in (f.name, f"{f.name}_{'total'}", f"{f.name}_bucket")
    }
    own = {f"trueup_model_{name}" for name in OF_MODELS} | {f"trueup_home_{name}" for name in OF_HOME}
    return served | own | {"trueup_model_decisions_total"}
