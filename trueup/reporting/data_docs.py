"""Data Docs: a page for each validated batch, drawn by Great Expectations, and an index.

`save` stores a result, `draw` makes its page, and `render` makes those that are missing and the index, in any process.
Great Expectations draws the tables. The page around them is our own, because its own loads scripts and styles from
eight hosts, without which the index is empty and the pages are unreadable.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from trueup import files
from trueup.adapters import old_files
from trueup.adapters.great_expectations import engine
from trueup.adapters.great_expectations.checks import Outcome
from trueup.adapters.great_expectations.validation import ValidationResult
from trueup.domain.records import to_plain
from trueup.domain.types import BatchRef
from trueup.reporting.html import loader, template

_RESULTS: Final = "results"
_TABLE: Final = "The batch as a whole"


def save(folder: Path, model: str, batch: BatchRef, as_of: datetime, result: ValidationResult) -> Path:
    """Store the result for one batch of a model's rows in the folder of the Data Docs, and return the file's path.

    The page will be `<folder>/<model>/<start>_r<revision>.html`.
    """
    path = results_folder(folder, model) / f"{batch.window.start:%Y-%m-%d}_r{batch.revision}.json"
    about = {"model": model, "batch": batch.name, "as_of": as_of.isoformat(sep=" "), "start": f"{batch.window.start}"}
    kept = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "row_failures"}  # in quarantine
    files.write_text(path, json.dumps(to_plain({**about, **kept, "share": result.share}), allow_nan=False))
    return path


def results_folder(folder: Path, model: str) -> Path:
    """The folder of a model's stored results."""
    return folder / _RESULTS / model


def render(folder: Path) -> Path:
    """Make pages of stored results without a current one, and the index; return the index's path.

    Processes wait for each other. Imports Great Expectations only for missing pages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        saved = {path: json.loads(path.read_text()) for path in sorted(folder.glob(f"{_RESULTS}/*/*.json"))}
        pages = {path: page_of(folder, path) for path in saved}
        for path, page in pages.items():
            if not page.exists() or page.stat().st_mtime < path.stat().st_mtime:
                draw(folder, path)
        _write_index(folder, {page: saved[path] for path, page in pages.items()})
    return folder / "index.html"


def draw(folder: Path, result: Path) -> None:
    """Make the page of a stored result. Imports Great Expectations."""
    page = _environment().get_template("docs_batch.html").render(_page(json.loads(result.read_text())))
    files.write_text(page_of(folder, result), page)


def remove(folder: Path, model: str, before: datetime, dry_run: bool = False) -> tuple[int, int]:
    """Remove a model's results from before a moment with their pages. Returns their number and bytes.

    The index leaves them out first, the pages are removed last, so the next call completes an interrupted removal.
    """
    if not folder.is_dir():
        return 0, 0
    with FileLock(folder / ".lock"):
        results = set(folder.glob(f"{_RESULTS}/{model}/*.json"))
        old = old_files.older(results, before)
        kept = {page_of(folder, path) for path in results.difference(old)}
        pages = sorted(set((folder / model).glob("*.html")) - kept)
        if (old or pages) and not dry_run:
            left = [path for path in sorted(folder.glob(f"{_RESULTS}/*/*.json")) if path not in old]
            listed = {page: path for path in left if (page := page_of(folder, path)).exists()}
            _write_index(folder, {page: json.loads(path.read_text()) for page, path in listed.items()})
        return old_files.remove([*old, *pages], dry_run)


def leftovers(folder: Path, before: datetime) -> list[Path]:
    """Files from before a moment that a killed writer left incomplete."""
    return [f for f in old_files.older(folder.rglob(".*"), before) if f.is_file() and f.name != ".lock"]


def page_of(folder: Path, result: Path) -> Path:
    """The page of a stored result."""
    return folder / result.parent.name / f"{result.stem}.html"


def _write_index(folder: Path, saved: Mapping[Path, Mapping[str, Any]]) -> None:
    """List the batches by model, the newest first; `saved` has the result behind each page."""
    batches = [{**result, "page": page.relative_to(folder).as_posix()} for page, result in saved.items()]
    newest_first = sorted(batches, key=lambda b: (b["start"], b["page"]), reverse=True)
    newest_first.sort(key=lambda b: str(b["model"]))
    files.write_text(folder / "index.html", template("docs_index.html").render(batches=newest_first))


@cache
def _environment() -> Any:
    """Great Expectations' templates, with those of our pages before them."""
    engine.great_expectations()
    from great_expectations.render.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader

    environment = DefaultJinjaPageView().env
    environment.loader = ChoiceLoader([loader(), environment.loader])
    return environment


def _page(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Draw the tables of one batch: a section for the batch and one for each column, failures first."""
    from great_expectations.render.renderer import ValidationResultsColumnSectionRenderer

    checks: dict[str, list[Any]] = {}
    for check in saved["checks"]:
        checks.setdefault(check["kwargs"].get("column", _TABLE), []).append(check)
    fine = {name: all(c["success"] for c in group) for name, group in checks.items()}
    order = sorted(checks, key=lambda name: (fine[name], name != _TABLE, name))
    renderer = ValidationResultsColumnSectionRenderer()
    parts = []
    for name in order:
        drawn = renderer.render([_drawn(c) for c in checks[name]]).to_json_dict()
        table = drawn["content_blocks"][-1]["table"]
        for row, check in zip(table, checks[name], strict=True):
            if not check["ran"]:
                row[0], row[-1] = _status(row[0], "fa-minus", "quiet"), html.escape(check["problem"])
            elif check["outcome"] == Outcome.WARNING and not check["problem"]:
                row[0] = _status(row[0], "fa-exclamation", "text-warning")
        parts.append({"drawn": drawn, "fine": fine[name]})
    return {**saved, "parts": parts}


def _status(failure: Any, icon: str, style: str) -> Any:
    """Draw the kind of a failure, because Great Expectations draws all alike."""
    return json.loads(json.dumps(failure).replace("fa-times", icon).replace("text-danger", style))


def _drawn(check: Mapping[str, Any]) -> Any:
    """A result in the form that Great Expectations draws."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    warning = check["outcome"] == Outcome.WARNING
    expectation = ExpectationConfiguration(
        type=check["type"], kwargs=dict(check["kwargs"]), severity="warning" if warning else "critical"
    )
    problem = check["problem"] if check["ran"] else ""
    raised = {"raised_exception": bool(problem), "exception_message": html.escape(problem), "exception_traceback": ""}
    return ExpectationValidationResult(
        success=check["success"],
        expectation_config=expectation,
        result=_escaped(check["figures"]),
        exception_info=raised,
    )


def _escaped(value: Any) -> Any:
    """Escape data, because Great Expectations puts failing values into the page as they are."""
    if isinstance(value, Mapping):
        return {key: _escaped(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_escaped(v) for v in value]
    return html.escape(value) if isinstance(value, str) else value
