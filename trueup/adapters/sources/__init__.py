"""Where data comes from: files, a SQL database, or a Python function, behind one port."""

from __future__ import annotations

from pathlib import Path

from trueup.adapters.sources.files import FileSource
from trueup.adapters.sources.function import FunctionSource
from trueup.adapters.sources.port import SourcePort
from trueup.adapters.sources.sql import SqlDatabaseSource
from trueup.config.sections.ingest import FilesSource, IngestConfig, SqlSource

__all__ = ["FileSource", "SourcePort", "open_source"]


def open_source(config: IngestConfig, root: Path) -> SourcePort:
    """Open the source that a config names; `root` is the folder of the configs, from which relative paths are taken.

    Raises SourceError when it cannot be opened; files and tables are looked at only when they are read.
    """
    if isinstance(config.source, FilesSource):
        return FileSource(config.source, config, root)
    if isinstance(config.source, SqlSource):
        return SqlDatabaseSource(config.source, config, root)
    return FunctionSource(config.source, config, root)
