"""Where data comes from: one class a kind of source. Libraries that a kind needs are imported when it is opened."""

from __future__ import annotations

from pathlib import Path

from trueup.adapters.sources.port import SourcePort
from trueup.adapters.sources.source import Source
from trueup.config.sections.ingest import IngestConfig

__all__ = ["Source", "SourcePort", "open_source"]


def open_source(config: IngestConfig, root: Path) -> SourcePort:
    """Open the source that a config names; `root` is the folder of the configs, where relative paths start.

    Raises SourceError when it cannot be opened; files and tables are looked at only when they are read.
    """
    assert isinstance(config.source, Source)
    return config.source.open(config, root)
