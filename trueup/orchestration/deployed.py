"""A project's deployments on a Prefect server that runs elsewhere, such as that of an environment."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from trueup.config.environments import VARIABLE, choose
from trueup.config.project import FILE, project_root
from trueup.errors import UsageError, WorkError
from trueup.orchestration.environment import server_address
from trueup.orchestration.stack.deploy import Deployed, deploy

_LOOK = 2.0  # seconds between looks at a run


@dataclass(frozen=True)
class SmokeRun:
    """A flow run that was started to see that the deployments work."""

    name: str
    state: str
    seconds: float


def deploy_project() -> Deployed:
    """Deploy the project of the working folder. Raises UsageError without a project or a server, and like `deploy`."""
    project, address = project_root(), server_address()
    if not (project / FILE).is_file():
        raise UsageError(f"there is no {FILE} in {project}; change to the project's folder")
    if address is None:
        raise UsageError(
            "no Prefect server is configured; set PREFECT_API_URL, or name an environment that sets it with --env"
        )
    name = os.environ.get(VARIABLE)
    chosen = choose(project, name) if name is not None else None
    return deploy(project, {**os.environ, "PREFECT_API_URL": address}, chosen=chosen)


def smoke_run(model: str, seconds: float) -> SmokeRun:
    """Start the flow `run` of a model where it is deployed, and wait for its end.

    Raises UsageError if it is not deployed, WorkError if it fails, or has not ended after so many seconds.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    started = time.monotonic()
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"run/{model}")
        except ObjectNotFound:
            raise UsageError(
                f"run/{model} is not deployed; add the model's block to {FILE}, and deploy again"
            ) from None
        run = client.create_flow_run_from_deployment(deployment.id, tags=["smoke"])
        while True:
            state = client.read_flow_run(run.id).state
            spent = time.monotonic() - started
            if state is not None and state.is_final():
                break
            if spent > seconds:
                at = state.name if state is not None else "without a state"
                raise WorkError(
                    f"the flow run {run.name} of run/{model} is {at} after {seconds:.0f} s; if it is late, no worker takes it: "
                    "start one with `prefect worker start --pool POOL`, or see the run in Prefect's UI"
                )
            time.sleep(_LOOK)
    if not state.is_completed():
        raise WorkError(
            f"the flow run {run.name} of run/{model} is {state.name}: {state.message or 'see its logs in Prefect'}"
        )
    return SmokeRun(run.name, state.name or "Completed", round(spent, 1))
