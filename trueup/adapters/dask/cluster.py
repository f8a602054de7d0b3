"""A Dask cluster that runs units of work: a trial, a batch, a policy.

The units are plain functions. Their results and errors are those of a call in this process; only what is wrong with the
cluster itself raises ClusterFailed. Dask repeats the unit of a killed worker on another one.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trueup.adapters.dask import worker
from trueup.errors import ClusterFailed, TrueupError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

NOT_INSTALLED = "TRUEUP_DASK names a cluster, and Dask is not installed here: pip install 'trueup[dask]'"
CERTIFICATES = (
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
)
_PATIENCE = 30  # seconds until the scheduler must answer, and has a worker
_ALONE = 60.0  # seconds that work waits in a cluster without a worker
_LOOK = 1.0  # seconds between looks at the workers
_SENDINGS = 4  # of rows that were lost with the workers that had them


class Cluster:
    """The workers of the scheduler at an address. The connection is made at first use.

    With `plain_fits` they may exchange sums of rows without TLS, see `lightgbm_fit`.
    """

    def __init__(self, address: str, plain_fits: bool = False) -> None:
        self.address = address
        self.plain_fits = plain_fits
        self._connecting = threading.Lock()

    @property
    def client(self) -> Client:
        """Raises UsageError if Dask is not installed, ClusterFailed if no scheduler answers or it has no worker."""
        with self._connecting:
            return self._client

    @cached_property
    def _client(self) -> Client:
        return connect(self.address)

    def call(self, do: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a worker. Raises what it raises, and ClusterFailed."""
        return self._result(self._submitted(do, arguments))

    @contextmanager
    def sharing(self, rows: Any) -> Iterator[Shared]:
        """Send a value to the workers once, for calls with it in the block."""
        shared = Shared(self, rows)
        try:
            yield shared
        finally:
            shared.release()

    def start(self, do: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        """Begin a call in a worker. Returns a function that waits for its result, and raises like `call`."""
        future = self._submitted(do, arguments)
        return lambda: self._result(future)

    def close(self) -> None:
        """Close the connection. Calls that have not ended are cancelled."""
        if "_client" in self.__dict__:
            self.__dict__.pop("_client").close()

    def _submitted(self, do: Callable[..., Any], arguments: tuple[Any, ...]) -> Future:
        with self.sending():
            return self.client.submit(worker.run, worker.versions(), do, *arguments, pure=False)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Raise ClusterFailed for what goes wrong when the block sends something to the cluster."""
        try:
            yield
        except TrueupError:
            raise
        except Exception as error:
            raise ClusterFailed(
                f"the Dask cluster at {self.address} did not take the work: {type(error).__name__}: {error}; see the logs of its scheduler, or "
                "unset TRUEUP_DASK, then run again"
            ) from error

    def _result(self, future: Future) -> Any:
        from distributed import KilledWorker

        last_seen = time.monotonic()
        try:
            while not future.done():
                try:
                    return future.result(timeout=_LOOK)
                except TimeoutError:
                    if not future.done():
                        last_seen = self._seen(last_seen)
            return future.result()
        except KilledWorker as error:
            raise ClusterFailed(
                f"workers of the Dask cluster at {self.address} were killed in the middle of the same work, perhaps because memory ran "
                f"out: {error}; give them more memory, or unset TRUEUP_DASK, then run again"
            ) from None
        finally:
            future.release()

    def _seen(self, last_seen: float) -> float:
        """When a worker was last there. Raises ClusterFailed if that is too long ago, or the scheduler is gone."""
        if self.client.status != "running":
            raise ClusterFailed(
                f"the Dask scheduler at {self.address} is gone; start it, or unset TRUEUP_DASK, then run again"
            )
        if self.client.nthreads():
            return time.monotonic()
        if time.monotonic() - last_seen > _ALONE:
            raise ClusterFailed(
                f"the Dask cluster at {self.address} has had no worker for {_ALONE:.0f} seconds; start workers, then run again"
            )
        return last_seen


class Shared:
    """A value in the memory of the workers."""

    def __init__(self, cluster: Cluster, value: Any) -> None:
        self._cluster = cluster
        self._value = value
        self._sending = threading.Lock()
        self._sent: Future | None = None

    def call(self, do: Callable[..., Any], *arguments: Any) -> Any:
        """Call `do(value, *arguments)` in a worker. A value that was lost with its workers is sent again."""
        for _ in range(_SENDINGS):
            sent = self._at_workers()
            try:
                return self._cluster.call(do, sent, *arguments)
            except CancelledError:
                self._lost(sent)
        raise ClusterFailed(
            f"the workers of the Dask cluster at {self._cluster.address} were lost {_SENDINGS} times with the rows that they had, perhaps "
            "because memory ran out; give them more memory, or unset TRUEUP_DASK, then run again"
        )

    def release(self) -> None:
        """Let the workers forget the value."""
        if self._sent is not None:
            self._sent.release()
            self._sent = None

    def _at_workers(self) -> Future:
        with self._sending:
            if self._sent is None:
                with self._cluster.sending():
                    (self._sent,) = self._cluster.client.scatter([self._value], broadcast=True, hash=False)
            return self._sent

    def _lost(self, sent: Future) -> None:
        with self._sending:
            if self._sent is sent:
                self._sent = None


def connect(address: str) -> Client:
    """A connection to the scheduler at an address; see `Cluster.client` for the errors."""
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(NOT_INSTALLED) from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except TypeError as error:  # Dask's complaint about a missing certificate
        raise UsageError(
            f"TRUEUP_DASK={address} needs certificates: set {CERTIFICATES} to their files ({error})"
        ) from None
    except (OSError, ValueError) as error:
        raise ClusterFailed(
            f"no Dask scheduler answers at {address}: {error}; start it, or unset TRUEUP_DASK"
        ) from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close()
        raise ClusterFailed(
            f"the Dask scheduler at {address} has no worker; start one with `dask worker {address} --nthreads 1`, or unset TRUEUP_DASK"
        ) from None
    return client


@contextmanager
def executor(address: str) -> Iterator[Executor]:
    """Send jobs to the workers of the scheduler at an address, for the block. Raises like `connect`."""
    with connect(address) as client:
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
