"""The source `callable`: a Python function."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from trueup.adapters.sources.port import SourcePort
from trueup.adapters.sources.source import FunctionTable, Source
from trueup.config.own_code import load_function
from trueup.config.section import Dotted
from trueup.config.sections.ingest import IngestConfig


class CallableSource(Source):
    """A Python function."""

    kind: Literal["callable"] = "callable"
    function: Dotted = Field(
        description="`module:function`. The function takes start and end (datetime or None) and returns a DataFrame. The module may be beside the config."
    )

    def open(self, reading: IngestConfig, root: Path) -> SourcePort:
        function = load_function(self.function, root)
        return FunctionTable(f"function {self.function}", function, reading, root, getattr(function, "extent", None))
