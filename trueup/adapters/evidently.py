"""Evidently: distances between two samples, and the report for people.

Scoring calls Evidently's registered tests directly. The figures are those of a `Report` of `ValueDrift` metrics, in
milliseconds instead of a twentieth of a second per column, because a report spends nearly all its time on drawing.
`render` draws. Evidently is imported for that at first use, which takes seconds; the tests are imported without the rest.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html import escape
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid5

import pandas as pd
from filelock import FileLock

from trueup.adapters import old_files
from trueup.domain.features.features import FeatureSchema
from trueup.domain.monitoring.cells import comparable
from trueup.domain.monitoring.drift import JENSEN_SHANNON, PSI, DriftScore
from trueup.domain.monitoring.movement import Method
from trueup.domain.types import Window
from trueup.imports import undisturbed

_PROJECTS = UUID("6f4e1c1e-3c0b-5b52-9a0e-6f2b3f6f0a11")  # the namespace of the ids of Evidently's projects
_LOCK_SECONDS = 60.0
_TESTS = "evidently.legacy.calculations.stattests"
_importing = threading.RLock()


@dataclass(frozen=True)
class Shelf:
    """A report's place in Evidently's workspace: one project per model, one run per batch."""

    workspace: Path
    model: str
    window: Window


@dataclass(frozen=True)
class Heading:
    """What a report says first: a sentence, and the columns that matter most."""

    words: str = ""
    first: tuple[str, ...] = ()


_FIGURE = re.compile(r'(?="params": \{"data": )')  # in the JSON of Evidently's page
_BODY = re.compile(r"<body[^>]*>")
_BARS = re.compile(r'"x": (\["[^\]]*\])')


def scores(reference: pd.DataFrame, current: pd.DataFrame, schema: FeatureSchema) -> dict[str, DriftScore]:
    """Score each column: PSI for a numeric one, the Jensen-Shannon distance for a categorical one.

    Pass samples of fixed size. Columns without values on either side are left out, because they have no distance.
    """
    before, now = comparable(reference, current, schema)
    pairs = {c: (_cells(before[c]), _cells(now[c])) for c in schema.names}
    return {
        c: _score(c, a, b, PSI if c in schema.numeric else JENSEN_SHANNON)
        for c, (a, b) in pairs.items()
        if len(a) and len(b)
    }


def render(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    schema: FeatureSchema,
    path: Path,
    limits: Mapping[str, float] | None = None,
    shelf: Shelf | None = None,
    head: Heading = Heading(),
) -> Path | None:
    """Write Evidently's HTML report of the same comparison and return its path; None if no column can be compared.

    With `limits` (of a DriftResult) the report marks the same columns as the verdict. The columns of the heading come
    first, then those that moved most. With a shelf the report is also added to Evidently's workspace. It takes about a
    twentieth of a second and 4 MiB per column, so run it beside or after the decision.
    """
    by_column, limits = scores(reference, current, schema), limits or {}
    if not by_column:
        return None
    evidently = _evidently()
    order = sorted(by_column, key=lambda c: by_column[c].value / limits.get(c, 0.1), reverse=True)
    order = [*(c for c in head.first if c in by_column), *(c for c in order if c not in head.first)]
    metrics = [
        evidently.metrics.ValueDrift(column=c, method=by_column[c].method, threshold=limits.get(c, 0.1)) for c in order
    ]
    # Types are always given, because columns with a guessed type can vanish from the comparison.
    definition = evidently.DataDefinition(categorical_columns=order)
    before, now = (frame[order].astype(object) for frame in comparable(reference, current, schema))
    sides = [evidently.Dataset.from_pandas(frame, definition) for frame in (now, before)]
    path.parent.mkdir(parents=True, exist_ok=True)
    moment = shelf.window.end if shelf else None
    snapshot = evidently.Report(metrics, include_tests=False).run(*sides, timestamp=moment)
    snapshot.save_html(str(path))
    path.write_text(_headed(_in_order(path.read_text(encoding="utf-8")), head.words), encoding="utf-8")
    if shelf is not None:
        _shelve(snapshot, shelf)
    return path


def make_workspace(folder: Path) -> None:
    """Create Evidently's workspace for its UI."""
    folder.mkdir(parents=True, exist_ok=True)


def _shelve(snapshot: Any, shelf: Shelf) -> None:
    """Add a report to the workspace. Ids come from model and window, so a repeated report replaces the first one."""
    make_workspace(shelf.workspace)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently.sdk.models import ProjectModel
        from evidently.ui.workspace import Workspace
    project = uuid5(_PROJECTS, shelf.model)
    with FileLock(shelf.workspace / ".lock", timeout=_LOCK_SECONDS):
        workspace = Workspace(str(shelf.workspace))
        if workspace.get_project(project) is None:
            workspace.add_project(ProjectModel(id=project, name=shelf.model, description="Drift of the inputs"))
        # Workspace.add_run would give it a new id each time, and the UI would list the batch twice.
        key = uuid5(project, shelf.window.start.isoformat())
        workspace.state.write_snapshot(project, key, snapshot.to_snapshot_model())


def remove(workspace: Path, model: str, before: datetime, dry_run: bool = False) -> tuple[int, int]:
    """Remove a model's reports from before a moment. Returns their number and bytes."""
    folder = workspace / str(uuid5(_PROJECTS, model)) / "snapshots"
    if not folder.is_dir():
        return 0, 0
    with FileLock(workspace / ".lock", timeout=_LOCK_SECONDS):
        return old_files.remove(old_files.older(folder.glob("*.json"), before), dry_run)


def _headed(page: str, words: str) -> str:
    """Put a sentence above the pictures."""
    style = "font: 16px/1.4 sans-serif; margin: 16px 24px"
    paragraph = f'<p style="{style}">{escape(words)}</p>' if words else ""
    return _BODY.sub(lambda found: found.group() + paragraph, page, count=1)


def _in_order(page: str) -> str:
    """Order the bars of each picture from the lowest cell to the highest, because ordered by height no shift shows.

    The cells are listed, because the page's Plotly draws nothing when it has to sort them itself.
    """
    head, *figures = _FIGURE.split(page)
    return "".join([head, *map(_sorted_axis, figures)])


def _sorted_axis(figure: str) -> str:
    cells = {cell for bars in _BARS.findall(figure) for cell in json.loads(bars)}
    order = f'"categoryorder": "array", "categoryarray": {json.dumps(sorted(cells))}, '
    return figure.replace('"xaxis": {"anchor"', f'"xaxis": {{{order}"anchor"', 1)


def _cells(column: pd.Series) -> pd.Series:
    """Number the cells, since counting numbers is several times faster than counting names; missing ones are left out."""
    codes = column.cat.codes
    return codes[codes >= 0]


def _score(column: str, before: pd.Series, now: pd.Series, method: Method) -> DriftScore:
    stattests = _stattests()
    kind = stattests.registry.ColumnType.Categorical
    test = stattests.get_stattest(before, now, kind, method)
    value = float(test(before, now, kind, None).drift_score)
    shares = before.value_counts(normalize=True)
    cells = len({*shares.index, *now.unique()})
    return DriftScore(column, method, value, cells, len(before), len(now), tuple(shares))


@cache
def _stattests() -> ModuleType:
    """Import Evidently's tests. They need a tenth of it, and its `__init__` imports all of it: 3 s and 100 MiB.

    So a module without content takes the place of the package meanwhile. What was imported then is kept apart, so that
    a later import of Evidently is complete.
    """
    with _importing:
        if "evidently" in sys.modules:
            return import_module(_TESTS)
        os.environ.setdefault("DO_NOT_TRACK", "1")
        spec = PathFinder.find_spec("evidently")
        if spec is None:
            raise ModuleNotFoundError("No module named 'evidently'", name="evidently")
        spec.loader = None  # as of a package without a file of its own
        sys.modules["evidently"] = module_from_spec(spec)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return import_module(_TESTS)
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "evidently"]:
                del sys.modules[name]


def _evidently() -> Any:
    """Import Evidently without its usage reports, and without the warnings of its own imports."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with _importing, warnings.catch_warnings(), undisturbed():
        warnings.simplefilter("ignore")
        import evidently
        import evidently.metrics
    return evidently
