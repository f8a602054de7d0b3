"""The way to Prefect's form of an approval."""

from __future__ import annotations

import os

import httpx

from trueup.orchestration.stack.health import post


def server() -> str | None:
    """The address of Prefect's API, if a server is configured."""
    return os.environ.get("PREFECT_API_URL") or None


def address(seq: int) -> str | None:
    """The page of the suspended flow run with the form of an approval, given by its ledger entry; None without one."""
    api = server()
    if api is None:
        return None
    wanted = {
        "flows": {"name": {"any_": ["approve"]}},
        "flow_runs": {"state": {"name": {"any_": ["Suspended"]}}},
        "limit": 200,
    }
    try:
        listed = post(f"{api.rstrip('/')}/flow_runs/filter", wanted)
    except (httpx.HTTPError, ValueError):
        return None
    runs = [run["id"] for run in listed if str(run.get("parameters", {}).get("approval")) == str(seq)]
    return f"{api.rstrip('/').removesuffix('/api')}/runs/flow-run/{runs[0]}" if runs else None
