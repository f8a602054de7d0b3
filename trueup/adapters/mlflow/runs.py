"""MLflow's runs: parameters, results and files of trainings.

Only `MlflowClient` with an explicit address is used, never MLflow's global run or address. MLflow is imported with the
first call, which takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from filelock import FileLock, Timeout

from trueup.adapters.mlflow.database import be_patient, build_database, set_environment
from trueup.adapters.mlflow.reader import MlflowLook
from trueup.adapters.sql.engines import connect
from trueup.adapters.sql.lock import session_lock
from trueup.domain.types import BatchRef, Metric
from trueup.errors import RegistryUnavailable
from trueup.imports import undisturbed
from trueup.secrecy import masked

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

_LOCK_SECONDS = 180.0  # a first use may wait for another process that creates the database
_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 60  # with SQLite that another process has locked
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


class Tracking:
    """Runs in the MLflow at `uri`, a database or a server.

    A database is created at first use, by one process at a time. `artifact_root` is for files if there is no server: a
    folder, or an address that MLflow can write to. Methods raise RegistryUnavailable.
    """

    def __init__(self, uri: str, artifact_root: str | Path) -> None:
        self.uri = uri
        self.artifact_root = str(artifact_root).rstrip("/")
        self._experiments: dict[str, str] = {}
        set_environment()

    @property
    def look(self) -> MlflowLook | None:
        """A read-only view of a database without importing MLflow, which takes seconds; None if a server has to answer."""
        return None if self.uri.startswith(("http://", "https://")) else MlflowLook(self.uri)

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client for runs and registry."""
        _require_listener(self.uri)
        with self.answering(), _alone(self.uri), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # raised by SQLAlchemy for MLflow
            if (file := _sqlite_file(self.uri)) is not None and not file.exists():
                build_database(file)
            with undisturbed():
                from mlflow import MlflowClient

            # MLflow keeps the driver's timeout of five seconds for a locked database, and its sessions
            # have another one.
            be_patient(_PATIENCE_SECONDS)
            address = f"{self.uri}?timeout={_PATIENCE_SECONDS}" if self.uri.startswith("sqlite:///") else self.uri
            return MlflowClient(tracking_uri=address, registry_uri=address)

    def start(self, experiment: str, name: str, tags: Mapping[str, object] | None = None) -> str:
        """Start a run and return its id; the experiment is created if necessary."""
        client = self.client
        with self.answering():
            text = {k: str(v) for k, v in (tags or {}).items()}
            return str(client.create_run(self._experiment(experiment), tags=text, run_name=name).info.run_id)

    def finish(self, run_id: str, status: RunStatus = "FINISHED") -> None:
        with self.answering():
            self.client.set_terminated(run_id, status)

    def open_runs(self, experiment: str, tags: Mapping[str, str]) -> list[str]:
        """The ids of an experiment's unfinished runs with these tags."""
        wanted = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        client = self.client
        with self.answering():
            if (entity := client.get_experiment_by_name(experiment)) is None:
                return []
            query = " and ".join(["attributes.status = 'RUNNING'", *wanted])
            return [str(run.info.run_id) for run in client.search_runs([entity.experiment_id], query)]

    def ended_runs(
        self, experiment: str, status: RunStatus, before: datetime, tags: Mapping[str, str]
    ) -> dict[str, dict[str, str]]:
        """An experiment's runs with these tags and status that ended before a moment (with offset): ids, and all tags."""
        moment = int(before.timestamp() * 1000)
        wanted = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        query = " and ".join([f"attributes.status = '{status}'", f"attributes.end_time < {moment}", *wanted])
        client = self.client
        with self.answering():
            if (entity := client.get_experiment_by_name(experiment)) is None:
                return {}
            runs = client.search_runs([entity.experiment_id], query)
            return {str(run.info.run_id): dict(run.data.tags) for run in runs}

    def reopen(self, run_id: str) -> None:
        with self.answering():
            self.client.update_run(run_id, status="RUNNING")

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted; `mlflow gc` removes it for good."""
        with self.answering():
            self.client.delete_run(run_id)

    @contextmanager
    def run(self, experiment: str, name: str, tags: Mapping[str, object] | None = None) -> Iterator[str]:
        """A run for the duration of the block, which fails with it."""
        run_id = self.start(experiment, name, tags)
        with self.closing_on_error(run_id):
            yield run_id
            self.finish(run_id)

    @contextmanager
    def closing_on_error(self, run_id: str) -> Iterator[None]:
        """End the run as FAILED if the block raises, as KILLED if it is interrupted."""
        try:
            yield
        except BaseException as error:
            try:
                self.finish(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            except RegistryUnavailable as gone:  # show the first error
                log.warning("run %s could not be ended: %s", run_id, gone)
            raise

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | Iterable[Metric] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Write parameters, metrics and tags in one call, because each call is a transaction.

        A Metric with an interval also writes `<name>_low` and `<name>_high`. Characters that MLflow does not allow in a
        name become `_`. A parameter cannot be changed once it is written.
        """
        from mlflow.entities import Metric as Point
        from mlflow.entities import Param, RunTag

        moment = time.time_ns() // 1_000_000
        points = [Point(_name(k), v, moment, 0) for k, v in _values(metrics or {})]
        parameters = [Param(_name(k), str(v)) for k, v in (params or {}).items()]
        with self.answering():
            self.client.log_batch(run_id, points, parameters, [RunTag(k, str(v)) for k, v in (tags or {}).items()])

    def log_inputs(self, run_id: str, batches: Iterable[BatchRef], context: str = "training") -> None:
        """Write the lineage: the revisions of batches that the run read, as MLflow datasets."""
        from mlflow.entities import DatasetInput, InputTag

        inputs = [DatasetInput(_dataset(b), [InputTag("mlflow.data.context", context)]) for b in batches]
        with self.answering():
            self.client.log_inputs(run_id, inputs)

    def log_files(self, run_id: str, path: Path, into: str | None = None) -> None:
        """Copy a file, or all files of a folder, beside the run.

        Where MLflow would only copy them into a folder of this machine, it is not imported for that.
        """
        place = None if self.look is None else _folder(self.look.artifacts_of(run_id))
        if place is None:
            with self.answering():
                (self.client.log_artifacts if path.is_dir() else self.client.log_artifact)(run_id, str(path), into)
            return
        target = place / (into or "")
        try:
            target.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            else:
                shutil.copy2(path, target)
        except OSError as error:
            raise RegistryUnavailable(_message(self.uri, f"{target}: {error.strerror or error}")) from error

    def note(self, experiment: str, key: str, value: str) -> None:
        with self.answering():
            self.client.set_experiment_tag(self._experiment(experiment), key, value)

    def noted(self, experiment: str, key: str) -> str | None:
        """Read a tag of an experiment; None without the tag or the experiment."""
        if (look := self.look) is not None:
            return look.noted(experiment, key)
        with self.answering():
            entity = self.client.get_experiment_by_name(experiment)
        return None if entity is None else entity.tags.get(key)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn errors of MLflow into RegistryUnavailable with a next step."""
        with undisturbed():
            from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, sa.exc.SQLAlchemyError, OSError, Timeout) as error:
            if getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE":
                raise  # a wrong call
            raise RegistryUnavailable(_message(self.uri, _first_line(error))) from error

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            entity = self.client.get_experiment_by_name(name)
            self._experiments[name] = entity.experiment_id if entity else self._create_experiment(name)
        return self._experiments[name]

    def _create_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        served = self.uri.startswith(("http://", "https://"))  # a server has its own place for artifacts
        try:
            return str(self.client.create_experiment(name, None if served else f"{self.artifact_root}/{name}"))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # otherwise another process was faster
                raise
            return str(self.client.get_experiment_by_name(name).experiment_id)


def _require_listener(uri: str) -> None:
    """Fail within seconds if no server listens, where MLflow would retry for minutes."""
    url = sa.make_url(uri) if "://" in uri else None
    if url is None or not url.host:
        return
    port = url.port or _PORTS.get(url.get_backend_name(), 80)
    try:
        socket.create_connection((url.host, port), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise RegistryUnavailable(_message(uri, f"{url.host}:{port}: {error.strerror or error}")) from None


def _folder(artifacts: str | None) -> Path | None:
    """The folder of artifacts on this machine; None for another place."""
    if artifacts is None:
        return None
    parts = urlsplit(artifacts)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(artifacts) if not parts.scheme else None


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Let one process at a time open a database: eight that create the same one at once would break it."""
    if uri.startswith("postgresql"):  # which other machines may open, too
        engine = connect(uri)
        try:
            with session_lock(engine, "mlflow", _LOCK_SECONDS) as held:
                if not held:
                    raise RegistryUnavailable(f"{masked(uri)}: another process has been opening it for minutes; end it")
                yield
        finally:
            engine.dispose()
        return
    file = _sqlite_file(uri)
    if file is None:  # a server opens its own database; this guards what one machine does at its start
        file = Path(tempfile.gettempdir()) / f"trueup-mlflow-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=_LOCK_SECONDS):
        yield


def _values(metrics: Mapping[str, float] | Iterable[Metric]) -> Iterator[tuple[str, float]]:
    if isinstance(metrics, Mapping):
        yield from metrics.items()
        return
    for metric in metrics:
        yield metric.name, metric.value
        if metric.low is not None and metric.high is not None:
            yield from ((f"{metric.name}_low", metric.low), (f"{metric.name}_high", metric.high))


def _name(name: str) -> str:
    return re.sub(r"[^\w\-./ :]", "_", name)


def _dataset(batch: BatchRef) -> Any:
    from mlflow.entities import Dataset

    source = {"path": batch.path, "start": str(batch.window.start), "end": str(batch.window.end)}
    return Dataset(
        name=f"{batch.dataset} {batch.name}",
        digest=batch.sha256[:36],  # MLflow's limit
        source_type="trueup",
        source=json.dumps({**source, "revision": batch.revision, "sha256": batch.sha256}),
        profile=json.dumps({"num_rows": batch.rows}),
    )


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("(raised as a result of")]
    return lines[0] if lines else type(error).__name__


def _message(uri: str, reason: str) -> str:
    mend = (
        "check that the file can be written and is an MLflow database"
        if uri.startswith("sqlite:")
        else "start it, set TRUEUP_MLFLOW_URI to one that runs, or unset it to use the database in the home"
    )
    return f"MLflow at {masked(uri)} cannot be used: {reason}; {mend}"
