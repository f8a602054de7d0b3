"""A Dask cluster as an executor of jobs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from trueup.errors import UsageError, WorkError

NOT_INSTALLED = "TRUEUP_DASK names a cluster, and Dask is not installed here: pip install 'trueup[dask]'"
_PATIENCE = 10  # seconds until the scheduler must answer


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """Send jobs to the workers of the scheduler at an address, for the block.

    Raises UsageError if Dask is not installed, WorkError if the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(NOT_INSTALLED) from None
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise WorkError(f"no Dask scheduler answers at {address}: {error}; start it, or unset TRUEUP_DASK") from None
    with client:
        yield client.get_executor()


def gone() -> type[BaseException]:
    """The error class of a job with a killed worker; a class that is never raised if no cluster is used."""
    if "distributed" not in sys.modules:
        return _Never
    from distributed import KilledWorker

    error_class: type[BaseException] = KilledWorker
    return error_class


class _Never(BaseException):
    """Is never raised."""
