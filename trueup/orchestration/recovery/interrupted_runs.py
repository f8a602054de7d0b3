"""Ends the runs that the server still shows after a stack was interrupted."""

from __future__ import annotations

from typing import Final

import httpx

from trueup.errors import WorkError
from trueup.orchestration.recovery.dead_runs import AT_WORK, GONE, OURS
from trueup.orchestration.stack.health import post

_TRIES = 20
_AT_WORK: Final = {
    "flows": {"name": {"any_": list(OURS)}},
    "flow_runs": {"state": {"type": {"any_": list(AT_WORK)}}, "deployment_id": {"is_null_": False}},
    "limit": 200,
}


def end_all(api: str) -> int:
    """End all of our flow runs that a worker seems to run, and let the reconciler restart those that crashed.

    Call this when no process of the stack is left and its worker has not started: then no run of it is alive, and there
    is no heartbeat to wait for. Runs started by hand are left alone, because they may be alive. Returns the number
    of interrupted runs. Raises WorkError.
    """
    try:
        dead = post(f"{api}/flow_runs/filter", _AT_WORK, _TRIES)
        for run in dead:
            kind = "Cancelled" if run["state_type"] == "CANCELLING" else "Crashed"
            state = {"type": kind.upper(), "name": kind, "message": f"the stack went down: {GONE}"}
            post(f"{api}/flow_runs/{run['id']}/set_state", {"state": state, "force": True}, _TRIES)
        named = {"deployments": {"name": {"any_": ["trueup"]}}, "flows": {"name": {"any_": ["reconcile"]}}}
        for deployment in post(f"{api}/deployments/filter", named, _TRIES):
            post(f"{api}/deployments/{deployment['id']}/create_flow_run", {}, _TRIES)
    except httpx.HTTPError as error:
        raise WorkError(f"the flow runs of the earlier stack could not be repaired: {error}") from None
    return len(dead)
