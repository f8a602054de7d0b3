"""The side of a Dask worker: runs one unit of work at a time, with the packages of the process that sent it."""

from __future__ import annotations

import pickle
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trueup.errors import ClusterFailed, WorkError

# Packages that a number may depend on. A worker with others could return another last digit.
_PACKAGES = ("trueup", "scikit-learn", "numpy", "scipy", "pandas", "pyarrow", "lightgbm")
# A fit limits the threads of the whole process, so two units in one process would disturb each other.
_ALONE = threading.RLock()


@cache
def versions() -> Mapping[str, str | None]:
    """The versions of Python and the packages in this process; None for one that is not installed."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), **{name: _version(name) for name in _PACKAGES}}


@contextmanager
def alone(wanted: Mapping[str, str | None]) -> Iterator[None]:
    """For the block, be the only unit in this process. Raises ClusterFailed if the versions are not those `wanted`."""
    here = versions()
    if other := [f"{name} {here[name] or 'missing'} instead of {wanted[name]}" for name in here if here[name] != wanted[name]]:  # fmt: skip
        raise ClusterFailed(
            f"the Dask worker {name_of_worker()} has {', '.join(other)}; install the same packages there"
        )
    with _ALONE:
        yield


def run(wanted: Mapping[str, str | None], do: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a worker, `alone`. Raises what it raises."""
    with alone(wanted):
        try:
            return do(*arguments)
        except Exception as error:
            raised = error
    raise _sendable(raised)  # outside of the handler: what it has as its context is sent with it


def name_of_worker() -> str:
    """The address of the worker that this process is."""
    from distributed import get_worker

    address: str = get_worker().address
    return address


def _sendable(error: Exception) -> Exception:
    """The error, or one with its words if it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkError(f"{type(error).__name__}: {error}")
    return error


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
