"""Links to the run of a CI server, from its own variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:_/~%-]+")  # nothing that ends a link of Markdown


def links(outside: Mapping[str, str]) -> dict[str, str]:
    """Addresses by name; none outside of GitHub and GitLab.

    >>> links({"CI_JOB_URL": "https://gitlab.example.com/a/b/-/jobs/7"})
    {'job': 'https://gitlab.example.com/a/b/-/jobs/7'}
    """
    server, repository, run = (outside.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    found = {
        "run": f"{server}/{repository}/actions/runs/{run}" if server and repository and run else "",
        "job": outside.get("CI_JOB_URL", ""),
    }
    return {name: address for name, address in found.items() if _ADDRESS.fullmatch(address)}
