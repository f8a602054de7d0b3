"""Sends lineage as events of OpenLineage, to a server or into a file, in a thread: a run never waits for a server.

The package is imported only if an address is set; `pip install trueup[lineage]` installs it.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from trueup.domain.lineage import Dataset, Happening, Sent, StageRun
from trueup.secrecy import masked

NAMESPACE: Final = "OPENLINEAGE_NAMESPACE"  # of the jobs; `trueup` without it
_KEY: Final = "OPENLINEAGE_API_KEY"
_ENDPOINT: Final = "OPENLINEAGE_ENDPOINT"
_PRODUCER: Final = "https://pypi.org/project/trueup/"
_TIMEOUT: Final = 3.0  # seconds for one event
_WAIT: Final = 5.0  # seconds in which what waits is sent at the end of a run
_TRIES: Final = 2  # failures in a row after which a server counts as away
_AWAY: Final = 60.0  # seconds until it is tried again
_MOST: Final = 5000  # events that wait

log = logging.getLogger(__name__)


class Transport(Protocol):
    """A transport of OpenLineage's client."""

    def emit(self, event: Any) -> Any:
        """Send an event. Raises an error of the transport's."""


def open_lineage(address: str | None) -> Lineage | None:
    """Lineage to an address; None without one, or (said in the log) if the package is missing or the address is wrong."""
    if address is None:
        return None
    try:
        transport = _transport(address)
    except ImportError as error:
        why = f"{error}; next: pip install 'trueup[lineage]'"
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        why = f"{_first_line(error)}; correct TRUEUP_LINEAGE_URL or OPENLINEAGE_URL"
    else:
        return Lineage(transport, masked(address), os.environ.get(NAMESPACE) or "trueup")
    log.warning("%s is to get lineage, and gets none: %s", masked(address), why)
    return None


def _transport(address: str) -> Transport:
    parts = urlsplit(address)
    if parts.scheme == "file":
        module = import_module("openlineage.client.transport.file")
        path = Path(unquote(parts.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        made: Transport = module.FileTransport(module.FileConfig(str(path), append=True))
        return made
    module = import_module("openlineage.client.transport.http")
    content: dict[str, Any] = {"url": address, "timeout": _TIMEOUT, "retry": {"total": 0}}
    if endpoint := os.environ.get(_ENDPOINT):
        content["endpoint"] = endpoint
    if key := os.environ.get(_KEY):
        content["auth"] = {"type": "api_key", "apiKey": key}
    made = module.HttpTransport(module.HttpConfig.from_dict(content))
    return made


class Lineage:
    """Sends events one after another. After some failures the server counts as away, and events are lost for a while."""

    def __init__(
        self, transport: Transport, shown: str, namespace: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.namespace = namespace
        self._transport, self._shown, self._clock = transport, shown, clock
        self._events = Events(namespace)
        self._waiting: queue.Queue[Happening] = queue.Queue(_MOST)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._sent, self._lost, self._problem = 0, 0, ""
        self._failures, self._away_until = 0, 0.0

    def add(self, happening: Happening) -> None:
        """Let an event be sent, without a wait."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="lineage", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(happening)
        except queue.Full:
            self._count(f"more than {_MOST} events wait")

    def flush(self, wait: float = _WAIT) -> Sent:
        """Wait until all events are sent, at most so many seconds, and count those since the last time.

        Events that still wait then count as lost; they are sent if the process continues.
        """
        end = time.monotonic() + wait
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)
        with self._lock:
            left = self._waiting.unfinished_tasks
            problem = self._problem or (f"{self._shown} does not answer in {wait:g} s" if left else "")
            done = Sent(self._sent, max(self._lost + left, 0), problem)
            self._sent, self._lost, self._problem = 0, -left, ""
        return done

    def _work(self) -> None:
        while True:
            happening = self._waiting.get()
            try:
                self._send(happening)
            except Exception as error:
                self._count(f"{self._shown}: {_first_line(error)}")
            finally:
                self._waiting.task_done()

    def _send(self, happening: Happening) -> None:
        if self._clock() < self._away_until:
            self._count(self._problem or f"{self._shown} is away")
            return
        try:
            self._transport.emit(self._events.event(happening))
        except Exception:
            self._failures += 1
            if self._failures >= _TRIES:
                self._away_until = self._clock() + _AWAY
            raise
        self._failures = 0
        with self._lock:
            self._sent += 1

    def _count(self, problem: str) -> None:
        with self._lock:
            self._lost += 1
            self._problem = self._problem or problem


class Events:
    """Makes events of OpenLineage."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._v2: Any = import_module("openlineage.client.event_v2")
        self._facets: Any = import_module("openlineage.client.facet_v2")
        self._version = version("trueup")

    def event(self, happening: Happening) -> Any:
        """The event of a happening."""
        v2, run = self._v2, happening.run
        return v2.RunEvent(
            eventType=v2.RunState[happening.state],
            eventTime=happening.at.isoformat(),
            producer=_PRODUCER,
            run=v2.Run(runId=run.run_id, facets=self._of_run(happening)),
            job=v2.Job(namespace=self._namespace, name=run.job, facets=self._of_job(run)),
            inputs=[self._input(dataset) for dataset in happening.inputs],
            outputs=[self._output(dataset) for dataset in happening.outputs],
        )

    def _of_run(self, happening: Happening) -> dict[str, Any]:
        f, run = self._facets, happening.run
        parent = f.parent_run.ParentRunFacet(
            run=f.parent_run.Run(runId=run.parent.run_id),
            job=f.parent_run.Job(namespace=self._namespace, name=run.parent.job),
        )
        engine = f.processing_engine_run.ProcessingEngineRunFacet(version=self._version, name="Trueup")
        made = {"parent": parent, "processing_engine": engine}
        if run.nominal is not None:
            made["nominalTime"] = f.nominal_time_run.NominalTimeRunFacet(nominalStartTime=run.nominal.isoformat())
        if happening.error:
            made["errorMessage"] = f.error_message_run.ErrorMessageRunFacet(
                message=happening.error, programmingLanguage="python"
            )
        return made

    def _of_job(self, run: StageRun) -> dict[str, Any]:
        f = self._facets
        made = {"jobType": f.job_type_job.JobTypeJobFacet(processingType="BATCH", integration="TRUEUP", jobType="TASK")}
        if run.words:
            made["documentation"] = f.documentation_job.DocumentationJobFacet(description=run.words)
        if run.owner:
            made["ownership"] = f.ownership_job.OwnershipJobFacet(owners=[f.ownership_job.Owner(name=run.owner)])
        if run.query:
            made["sql"] = f.sql_job.SQLJobFacet(query=run.query)
        return made

    def _input(self, dataset: Dataset) -> Any:
        f, made = self._facets, {}
        if dataset.rows is not None:
            metrics = f.data_quality_metrics_input_dataset
            columns = {n: metrics.ColumnMetrics(**figures) for n, figures in dataset.statistics.items()}
            made["dataQualityMetrics"] = metrics.DataQualityMetricsInputDatasetFacet(
                rowCount=dataset.rows, columnMetrics=columns
            )
        if dataset.checks:
            checks = f.data_quality_assertions_dataset
            listed = [
                checks.Assertion(assertion=kind, success=ok, column=column) for kind, column, ok in dataset.checks
            ]
            made["dataQualityAssertions"] = checks.DataQualityAssertionsDatasetFacet(assertions=listed)
        return self._v2.InputDataset(
            namespace=dataset.namespace, name=dataset.name, inputFacets=made, facets=self._of_dataset(dataset)
        )

    def _output(self, dataset: Dataset) -> Any:
        made = {}
        if dataset.rows is not None:
            made["outputStatistics"] = self._facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                rowCount=dataset.rows
            )
        return self._v2.OutputDataset(
            namespace=dataset.namespace, name=dataset.name, outputFacets=made, facets=self._of_dataset(dataset)
        )

    def _of_dataset(self, dataset: Dataset) -> dict[str, Any]:
        f, made = self._facets, dict[str, Any]()
        if dataset.fields:
            fields = [f.schema_dataset.SchemaDatasetFacetFields(name=n, type=t) for n, t in dataset.fields.items()]
            made["schema"] = f.schema_dataset.SchemaDatasetFacet(fields=fields)
        if dataset.source:
            made["dataSource"] = f.datasource_dataset.DatasourceDatasetFacet(name=dataset.namespace, uri=dataset.source)
        if dataset.version:
            made["version"] = f.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=dataset.version)
        if dataset.come_from:
            made["columnLineage"] = f.column_lineage_dataset.ColumnLineageDatasetFacet(
                fields={name: self._lineage(of) for name, of in dataset.come_from.items()}
            )
        return made

    def _lineage(self, of: Sequence[tuple[Dataset, str]]) -> Any:
        lineage = self._facets.column_lineage_dataset
        fields = [lineage.InputField(namespace=d.namespace, name=d.name, field=column) for d, column in of]
        return lineage.Fields(inputFields=fields)


def _first_line(error: Exception) -> str:
    """What an error says; of one with a cause in its text, as those of connections, only the cause."""
    text = masked(str(error).strip())
    if "(Caused by " in text:
        text = text.rpartition(": ")[2].strip("\"')")
    return text.splitlines()[0][:200] if text else type(error).__name__
