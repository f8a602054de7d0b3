"""Check: look at a model's config and data source without changing anything."""

from __future__ import annotations

from typing import Any

from trueup.adapters import expectations
from trueup.adapters.sources.function import load_function
from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.domain import learning
from trueup.errors import ConfigError, TrueupError
from trueup.stages.ports import Ports


def check(name: str, ports: Ports) -> dict[str, Any]:
    """All problems of one model at once, and what its source holds."""
    found: dict[str, Any] = {"model": name, "problems": [], "first": None, "last": None, "columns": []}
    try:
        config = load_model(ports.configs, name)
    except ConfigError as error:
        return {**found, "problems": error.problems}
    except TrueupError as error:
        return {**found, "problems": [str(error)]}
    problems = [*expectations.problems(config), *learning.problems(config.train, config.task)]
    if config.features.custom is not None:
        problems += _told(lambda: load_function(str(config.features.custom), ports.configs))
    return {**found, **_source(config, ports, problems)}


def _source(config: ModelConfig, ports: Ports, problems: list[str]) -> dict[str, Any]:
    """What the source holds, and which of the config's columns it lacks."""
    try:
        source = ports.source(config)
        columns, extent = source.columns(), source.extent()
    except TrueupError as error:
        return {"problems": [*problems, str(error)]}
    label = config.ingest.label
    wanted = [*config.input_columns, label.column, *([label.known_at] if label.known_at else [])]
    if lacking := [c for c in wanted if c not in columns]:
        problems.append(f"ingest.source: has no column {', '.join(lacking)}; it has {', '.join(columns)}")
    if extent is None:
        return {"problems": [*problems, "ingest.source: holds no rows"], "columns": columns}
    return {"problems": problems, "first": extent[0], "last": extent[1], "columns": columns}


def _told(attempt: Any) -> list[str]:
    try:
        attempt()
    except TrueupError as error:
        return [str(error)]
    return []
