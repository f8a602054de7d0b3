"""The report of a replay: a page, JSON and pictures among the home's reports, and runs in its MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trueup import files
from trueup.domain.types import Window
from trueup.home import HOME_TAG, Home
from trueup.model import Model
from trueup.replay.compare import Compared, compare
from trueup.replay.paired_policies import Plain
from trueup.replay.policy_run import PolicyRun
from trueup.reporting import model_plots, replay_page, replay_plots


@dataclass(frozen=True)
class Published:
    """The result of a replay, and the path of its page."""

    facts: Plain
    page: Path


def publish(model: Model, span: Window, runs: Sequence[PolicyRun], known_then: bool = False) -> Published:
    """Compare, write the report, and log it in MLflow. Raises NotEnoughData, RegistryUnavailable."""
    compared = compare(model.config, span, runs, known_then)
    page = write(compared, model.home)
    log(compared, model.home, page)
    return Published(compared.facts, page)


def write(compared: Compared, home: Home) -> Path:
    """Write page, JSON and pictures, and return the page's path. The same results give the same bytes."""
    model, span = compared.facts["model"], compared.facts["span"]
    name = f"{span['start'][:10]}_{span['end'][:10]}" + ("_known_then" if compared.facts["known_then"] else "")
    page: Path = home.root / "reports" / "replays" / model / f"{name}.html"
    drawn = replay_plots.pictures(compared.facts, compared.by_batch)
    texts = {
        page.with_suffix(".json"): json.dumps(compared.facts, indent=2, allow_nan=False) + "\n",
        page: replay_page.render(compared.facts, drawn),
    }
    with home.sharing(*texts, page.with_suffix("")):
        for path, text in texts.items():
            files.write_text(path, text)
        model_plots.write(drawn, page.with_suffix(""))
    return page


def log(compared: Compared, home: Home, page: Path) -> str:
    """Log a run for the replay with its report, and one below it for each policy; return the id of the first.

    They are in a separate experiment beside the model's. Raises RegistryUnavailable.
    """
    facts, tracking = compared.facts, home.tracking
    experiment, name = f"{facts['model']} replays", page.stem.replace("_", " to ")
    with tracking.run(experiment, name, {HOME_TAG: home.identity}) as run_id:
        tracking.log(
            run_id,
            params={k: facts[k] for k in ("recommended", "known_then")},
            metrics={"oracle": facts["oracle"]["loss"]},
        )
        for path in (page, page.with_suffix(".json"), page.with_suffix("")):
            tracking.log_files(run_id, path, "report")
        for policy in facts["policies"]:
            with tracking.run(experiment, policy["name"], {"mlflow.parentRunId": run_id}) as child:
                numbers = {k: float(v) for k, v in policy.items() if isinstance(v, int | float)}
                tracking.log(child, params={"changes": json.dumps(policy["changes"])}, metrics=numbers)
    return run_id
