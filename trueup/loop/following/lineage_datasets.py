"""What each stage reads and writes, as datasets with the names of OpenLineage's conventions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from trueup.config.places import is_address
from trueup.config.schema import ModelConfig
from trueup.config.sections.ingest import SourceConfig
from trueup.domain.lineage import Dataset
from trueup.domain.types import Batch, BatchRef
from trueup.handoffs import Attempt, Candidate, Checked, Decided, Evaluation, Refitted, Scored, Trained
from trueup.model import Model
from trueup.secrecy import masked
from trueup.stages.validate import ValidatedInFull

_TABLES: Final = re.compile(r'\b(?:from|join)\s+((?:[\w]+|"[^"]+")(?:\.(?:[\w]+|"[^"]+"))*)', re.IGNORECASE)
_SCHEMES: Final = {"postgresql": "postgres"}  # names of OpenLineage for those of SQLAlchemy


@dataclass(frozen=True)
class Flow:
    """What a stage reads and writes."""

    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()


def flow_of(stage: str, model: Model, args: tuple[Any, ...], result: Any) -> Flow:
    """The datasets of a stage, called with a model and `args`. Without a result, before it ended, only its inputs."""
    describe = _STAGES.get(stage)
    return Flow() if describe is None else describe(model, args, result)


def query_of(config: ModelConfig) -> str:
    """The SQL by which a source is read; empty for other sources."""
    query = getattr(config.ingest.source, "query", None)
    return query if isinstance(query, str) else ""


# Stages


def _ingest(model: Model, args: tuple[Any, ...], result: list[Batch] | None) -> Flow:
    del args
    config = model.config
    rows_of = sources(model, config.ingest.source, _columns(config))
    label = config.ingest.label
    labels_of = () if label.source is None else sources(model, label.source, {label.column: "label"})
    if not result:
        return Flow((*rows_of, *labels_of))
    newest = max(result, key=lambda b: b.window)
    rows, labels = _landed(model, newest.rows), _landed(model, newest.labels)
    source = rows_of[0]
    rows = replace(rows, come_from={name: ((source, name),) for name in rows.fields if name in source.fields})
    origin = (*labels_of, source)[0]
    labels = replace(labels, come_from={"label": ((origin, label.column),)})
    return Flow((*rows_of, *labels_of), (rows, labels))


def _validate(model: Model, args: tuple[Any, ...], result: Checked | None) -> Flow:
    batch: Batch = args[0]
    rows = _landed(model, batch.rows, with_statistics=True)
    if result is None:
        return Flow((rows,))
    recorded = model.validation_results(ValidatedInFull, batch.window).get((batch.window, batch.rows.revision))
    done = [c for c in recorded.checks if c.ran] if recorded is not None else []
    rows = replace(rows, checks=tuple((c.type, c.kwargs.get("column"), c.success) for c in done))
    return Flow((rows,), (replace(_in_home(model, "quarantine"), rows=result.quarantined),))


def _score(model: Model, args: tuple[Any, ...], result: Scored | None) -> Flow:
    checked: Checked = args[0]
    rows, champion = _landed(model, checked.batch.rows), model.champion()
    inputs = (rows,) if champion is None else (rows, _version(model, champion.version))
    if result is None:
        return Flow(inputs)
    columns = () if champion is None else tuple((rows, name) for name in champion.features.columns)
    come_from = {"prediction": columns} if columns else {}
    predictions = replace(_in_home(model, "predictions"), rows=result.new, come_from=come_from)
    return Flow(inputs, (predictions, *_sinks(model, predictions)))


def _monitor(model: Model, args: tuple[Any, ...], result: Any) -> Flow:
    batch = args[0].batch
    inputs = (_in_home(model, "predictions"), _landed(model, batch.rows), _landed(model, batch.labels))
    return Flow(inputs, () if result is None else (_in_home(model, "monitoring"),))


def _plan(model: Model, args: tuple[Any, ...], result: Any) -> Flow:
    del args, result
    return Flow(_training_data(model))


def _train(model: Model, args: tuple[Any, ...], result: Trained | None) -> Flow:
    del args
    return Flow(_training_data(model), () if result is None else (_logged(model, result),))


def _evaluate(model: Model, args: tuple[Any, ...], result: Evaluation | None) -> Flow:
    inputs = (_logged(model, args[0]), *_training_data(model))
    return Flow(inputs, () if result is None else (_evaluated(model, result),))


def _register(model: Model, args: tuple[Any, ...], result: Candidate | None) -> Flow:
    return Flow((_logged(model, args[0]),), () if result is None else (_version(model, result.version),))


def _judge(model: Model, args: tuple[Any, ...], result: Any) -> Flow:
    del result
    return Flow((_logged(model, args[0]), _evaluated(model, args[1])))


def _export(model: Model, args: tuple[Any, ...], result: Any) -> Flow:
    logged = _logged(model, args[0])
    return Flow((logged,), () if result is None else (replace(logged, name=f"{logged.name}/onnx"),))


def _refit(model: Model, args: tuple[Any, ...], result: Refitted | None) -> Flow:
    inputs = (_logged(model, args[0]), *_training_data(model))
    if result is None:
        return Flow(inputs)
    registered = () if result.candidate is None else (_version(model, result.candidate.version),)
    return Flow(inputs, (_logged(model, result.trained), *registered))


def _promote(model: Model, args: tuple[Any, ...], result: Decided | None) -> Flow:
    attempt: Attempt = args[0]
    inputs = () if attempt.judged is None else (_version(model, attempt.judged.version),)
    if result is None:
        return Flow(inputs)
    entry = "" if result.sequence is None else str(result.sequence)
    outputs: tuple[Dataset, ...] = (replace(_in_home(model, "ledger"), version=entry),)
    if result.outcome == "promoted":
        alias = Dataset(
            _registry(model), f"models/{model.config.registered_name}@champion", version=str(result.version)
        )
        outputs += (alias,)
    return Flow(inputs, outputs)


_STAGES: Final[dict[str, Callable[[Model, tuple[Any, ...], Any], Flow]]] = {
    "ingest": _ingest,
    "validate": _validate,
    "score": _score,
    "monitor": _monitor,
    "plan": _plan,
    "train": _train,
    "evaluate": _evaluate,
    "register": _register,
    "judge": _judge,
    "export": _export,
    "refit": _refit,
    "promote": _promote,
}


# Datasets


def sources(model: Model, source: SourceConfig, fields: dict[str, str]) -> tuple[Dataset, ...]:
    """The datasets of a source: its files, the tables of its query, or a function."""
    path, url, query = (getattr(source, key, None) for key in ("path", "url", "query"))
    if isinstance(path, str):
        address = path if is_address(path) else str((model.home.configs / path).resolve())
        namespace, name = _placed(address)
        return (Dataset(namespace, name, fields, source=masked(address)),)
    if isinstance(url, str):
        namespace, database = _database(url)
        tables = list(dict.fromkeys(found.replace('"', "") for found in _TABLES.findall(query or "")))
        names = [".".join(filter(None, [database, table])) for table in tables] or [database or "query"]
        return tuple(Dataset(namespace, name, fields if len(names) == 1 else {}, source=masked(url)) for name in names)
    function = getattr(source, "function", source.kind)
    return (Dataset("python", str(function), fields),)


def _sinks(model: Model, predictions: Dataset) -> Iterable[Dataset]:
    if (sink := model.config.score.sink) is None:
        return
    path, url, table = (getattr(sink, key, None) for key in ("path", "url", "table"))
    if isinstance(path, str):
        namespace, name = _placed(str((model.home.configs / path).resolve()))
        yield Dataset(namespace, name, rows=predictions.rows)
    elif isinstance(url, str):
        namespace, database = _database(url)
        yield Dataset(
            namespace, ".".join(filter(None, [database, str(table)])), rows=predictions.rows, source=masked(url)
        )
    else:
        yield Dataset("python", sink.kind, rows=predictions.rows)


def _landed(model: Model, ref: BatchRef, with_statistics: bool = False) -> Dataset:
    """A landed batch: a version of the dataset of its kind."""
    kind = ref.dataset.partition("/")[2]
    statistics = model.home.store.statistics(ref) if with_statistics else {}
    return replace(
        _in_home(model, kind),
        fields=model.home.store.types(ref),
        version=f"{ref.window.start:%Y-%m-%d}/r{ref.revision}/{ref.sha256[:16]}",
        rows=ref.rows,
        statistics=statistics,
    )


def _training_data(model: Model) -> tuple[Dataset, ...]:
    return _in_home(model, "rows"), _in_home(model, "labels")


def _in_home(model: Model, kind: str) -> Dataset:
    settings = model.home.settings
    namespace, name = _placed(settings.address or str(settings.root))
    return Dataset(
        namespace,
        f"{name}/{model.config.model}/{kind}".lstrip("/")
        if settings.address
        else f"{name}/{model.config.model}/{kind}",
    )


def _evaluated(model: Model, evaluation: Evaluation) -> Dataset:
    return replace(_in_home(model, "evaluation"), version=evaluation.path, rows=evaluation.rows)


def _logged(model: Model, trained: Trained) -> Dataset:
    return Dataset(_registry(model), f"runs/{trained.run_id}/model", version=trained.manifest_digest[:32])


def _version(model: Model, version: int) -> Dataset:
    return Dataset(_registry(model), f"models/{model.config.registered_name}/{version}", version=str(version))


def _registry(model: Model) -> str:
    return f"mlflow:{masked(model.home.settings.tracking_uri)}"


def _placed(address: str) -> tuple[str, str]:
    """Namespace and name of a file or folder."""
    if not is_address(address):
        return "file", address
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.lstrip("/")


def _database(url: str) -> tuple[str, str]:
    """Namespace of a database, and its name there."""
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        return "file", parts.path.removeprefix("/")
    return f"{_SCHEMES.get(scheme, scheme)}://{parts.netloc.rpartition('@')[2]}", parts.path.strip("/")


def _columns(config: ModelConfig) -> dict[str, str]:
    """Columns of the rows' source that the config names, with their types as far as it says."""
    label = config.ingest.label
    own = [label.column, *([label.known_at] if label.known_at else [])] if label.source is None else []
    return {name: config.column_types.get(name, "any") for name in dict.fromkeys([*config.input_columns, *own])}
