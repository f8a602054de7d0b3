"""Data sources, one class per kind. Libraries that a kind needs are imported when it is opened."""

from __future__ import annotations

from pathlib import Path

from trueup.adapters.sources.port import SourcePort
from trueup.adapters.sources.source import Source
from trueup.config.sections.ingest import IngestConfig

__all__ = ["Source", "SourcePort", "open_source"]


def open_source(config: IngestConfig, root: Path) -> SourcePort:
    """Open the source of a config; `root` is the folder of the configs, to which paths are relative.

    Raises SourceError if it cannot be opened; files and tables are read later.
    """
    assert isinstance(config.source, Source)
    return config.source.open(config, root)
