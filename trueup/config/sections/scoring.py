"""The section `score`: sinks."""

from __future__ import annotations

from pydantic import SerializeAsAny

from trueup.config.plugins import Kinds, Plugin
from trueup.config.section import Section


class SinkConfig(Plugin):
    """A place for predictions."""

    KINDS = Kinds(
        "sink",
        "trueup.adapters.sinks:Sink",
        {"folder": "trueup.adapters.sinks.folder:FolderSink", "sql": "trueup.adapters.sinks.sql:SqlSink"},
    )


class ScoreConfig(Section):
    """Destinations of predictions besides the home."""

    sink: SerializeAsAny[SinkConfig] | None = None
