"""Runs a command's work as the project's flow on a Prefect server, or else in this process without Prefect."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.project import FILE, project_root
from trueup.config.settings import Settings
from trueup.domain.types import Reason, Retrain
from trueup.errors import TrueupError, UsageError
from trueup.imports import undisturbed
from trueup.orchestration.environment import flows_called_here, project_of_stack, server_address

if TYPE_CHECKING:
    from trueup.handoffs import Cycle, Decided, Observed, Scored
    from trueup.loop.turn import Steps
    from trueup.orchestration.context import Opened
    from trueup.orchestration.fleet.one_model import Orders
    from trueup.orchestration.fleet.progress import Progress
    from trueup.orchestration.fleet.results import Fleet

WITHOUT_SERVER = "this run is recorded in the ledger and in MLflow, not on a Prefect server: none is configured"
R = TypeVar("R")


def run(model: str, as_of: datetime | None, retrain: Retrain) -> Cycle:
    """One turn of the loop, see `trueup.loop.turn.cycle`."""
    with undisturbed():
        from trueup.loop.turn import cycle

    def here(do: Steps, o: Opened) -> Cycle:
        return cycle(do, o.model, o.as_of, retrain)

    return _start("run", here, model, as_of, retrain=retrain)


def run_all(
    orders: Orders, tags: Sequence[str], workers: int, progress: Progress, explain: Callable[[Exception], TrueupError]
) -> Fleet:
    """One turn of the loop for each model with any of the tags, see `trueup.orchestration.fleet.here.run_fleet`."""
    if server_address() is not None:
        with flows_called_here():
            done: Fleet = project_flow("fleet")(
                tags=list(tags), workers=workers, as_of=orders.as_of, retrain=orders.retrain
            )
            return done
    from trueup.orchestration.fleet.here import run_fleet

    return run_fleet(orders, tags, workers, progress, explain)


def retrain(model: str, as_of: datetime | None, reason: Reason, by: str | None) -> Decided:
    """A challenger, trained and judged, see `trueup.loop.turn.retrain`."""
    from trueup.loop import turn

    def here(do: Steps, o: Opened) -> Decided:
        return turn.retrain(do, o.model, o.as_of, reason)

    return _start("retrain", here, model, as_of, by=by, reason=reason)


def score(model: str, as_of: datetime | None) -> Scored:
    """The newest batch, predicted, see `trueup.loop.turn.score_newest`."""
    from trueup.loop.turn import score_newest

    return _start("score", lambda do, o: score_newest(do, o.model, o.as_of), model, as_of)


def monitor(model: str, as_of: datetime | None) -> Observed:
    """The newest batch, monitored, see `trueup.loop.turn.monitor_newest`."""
    from trueup.loop.turn import monitor_newest

    return _start("monitor", lambda do, o: monitor_newest(do, o.model, o.as_of), model, as_of)


def project_flow(name: str, model: str | None = None) -> Callable[..., Any]:
    """The project's flow of that name, by its entrypoint in prefect.yaml; with `model` that of the model's deployment.

    The project is that of the current folder, or else the one from which the stack of the home was started. Raises
    UsageError.
    """
    from prefect.flows import load_flow_from_entrypoint

    project = next((p for p in (project_root(), project_of_stack(Settings().root)) if p and (p / FILE).is_file()), None)
    if project is None:
        raise UsageError(
            f"no {FILE} in {Path.cwd()}, so the flow {name!r} is not known: change to the project's folder; to run without "
            "a Prefect server, unset PREFECT_API_URL, or end the stack with `trueup down`"
        )
    sys.path.insert(0, str(project))
    entrypoint = _entrypoint(project / FILE, name, model)
    flow: Callable[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    return flow


def _entrypoint(file: Path, name: str, model: str | None) -> str:
    try:
        content = yaml_text.read(file.read_text(encoding="utf-8"), (1, 1))
    except YAMLError as error:
        raise UsageError(f"{file} is not YAML: {' '.join(str(error).split())}; correct it") from None
    listed = content.get("deployments") if isinstance(content, dict) else None
    deployments = [d for d in listed or [] if isinstance(d, dict) and str(d.get("entrypoint")).endswith(f":{name}")]
    own = [d for d in deployments if model and (d.get("parameters") or {}).get("model") == model]
    entrypoints = sorted({str(d["entrypoint"]) for d in own or deployments})
    if not entrypoints:
        raise UsageError(f"no deployment in {file} has an entrypoint that ends in ':{name}'; add one")
    if len(entrypoints) > 1:
        raise UsageError(
            f"{file} has several flows {name!r} ({', '.join(entrypoints)}); give the deployment parameters.model: {model}"
        )
    return entrypoints[0]


def _start(
    name: str,
    here: Callable[[Steps, Opened], R],
    model: str,
    as_of: datetime | None,
    by: str | None = None,
    **more: Any,
) -> R:
    if server_address() is not None:
        with flows_called_here():
            done: R = project_flow(name, model)(model, as_of=as_of, **more, **({"by": by} if by else {}))
            return done
    with undisturbed():
        from trueup.loop.retrying import Retrying
        from trueup.orchestration.context import opened
        from trueup.orchestration.hooks import notify_people

    try:
        with opened(model, as_of, by=by or "") as o:
            return here(Retrying(), o)
    except Exception as error:
        notify_people(f"{name} {model} failed", str(error) or type(error).__name__)
        raise
