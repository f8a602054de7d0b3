"""The concurrency limits of deployments on the Prefect server, for runs that no deployment started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

_SECONDS = 1.0  # for a slot that is free


@contextmanager
def slot_of(deployment: str) -> Iterator[bool]:
    """Hold a slot of the deployment `flow/name` for the block; False if its runs have all slots.

    True without such a deployment or without a limit.
    """
    with ExitStack() as held:
        try:
            if (limit := _limit_of(deployment)) is not None:
                held.enter_context(concurrency(limit, timeout_seconds=_SECONDS))
            free = True
        except TimeoutError:
            free = False
        yield free


def _limit_of(deployment: str) -> str | None:
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_deployment_by_name(deployment).global_concurrency_limit
        except ObjectNotFound:
            return None
    return None if limit is None else limit.name
