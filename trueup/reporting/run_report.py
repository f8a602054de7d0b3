"""The report of a retrain: what was decided and why, with its pictures, in one HTML file that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trueup.domain.judging.gates.phrases import evidence_words
from trueup.reporting.html import (
    STYLE,
    cell,
    interval,
    minute,
    percent,
    recipe_words,
    slice_cells,
    slice_columns,
    template,
    units,
)


def render(facts: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Fill the page. `facts` is the body of the ledger's entry with what `reporting.jobs.show_run` adds to it."""
    from markupsafe import Markup

    evaluation, model = facts["evaluation"], facts["model"]
    roles = list(evaluation["metrics"])
    bounds = {m["name"]: m for m in evaluation["intervals"]}
    # In the order of the measuring, the deciding loss first; the ledger's canonical JSON sorts the names of the others.
    names = list(bounds) or list(evaluation["metrics"].get("challenger", {}))
    of_unit = units(facts.get("unit", ""))
    slices = evaluation.get("slices", [])
    sure = percent([*bounds.values(), *slices])
    encoded = [(_title(name), base64.b64encode(png).decode()) for name, png in pictures.items()]
    return template("run.html").render(
        style=Markup(STYLE),
        title=f"{facts['name']}: challenger of {facts['as_of'][:10]}",
        as_of=minute(facts["as_of"]),
        sequence=facts["sequence"],
        reason=facts["trigger"]["reason"],
        outcome=facts["outcome"],
        version=model["version"],
        reasons=facts["reasons"],
        verdicts=facts["verdicts"],
        windows=_windows(facts),
        evidence=evidence_words(facts["evidence"]) if facts.get("evidence") else [],
        rows=evaluation["rows"],
        roles=roles,
        metrics=[
            (n + of_unit.get(n, ""), [cell(evaluation["metrics"][r][n]) for r in roles], interval(bounds.get(n)))
            for n in names
        ],
        percent=sure,
        loss=names[0] + of_unit.get(names[0], "") if names else "",
        slice_columns=slice_columns(slices, sure),
        slices=[(s["slice"], f"{s['rows']:,}", slice_cells(s)) for s in slices],
        ablation=[(a["group"], _ablation_cells(a), a["answer"]) for a in evaluation.get("ablation", [])],
        recipe=recipe_words(model["recipe"]),
        pictures=encoded,
    )


def write(folder: Path, facts: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Path:
    """Write the page beside its pictures, and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(render(facts, pictures), encoding="utf-8")
    return path


def _windows(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was trained and judged on which span. A refitted model has seen the gate rows; it is not the one judged."""
    model, judged = facts["model"], facts["judged"]
    spans = [
        ("trained on", judged["trained_from"], judged["trained_until"]),
        ("judged on", facts["gate"]["start"], facts["gate"]["end"]),
    ]
    if model["version"] != judged["version"]:
        refitted = f"passed, and fitted again as version {model['version']} on"
        spans.append((refitted, model["trained_from"], model["trained_until"]))
    return [(name, minute(start), minute(end)) for name, start, end in spans]


def _ablation_cells(row: Mapping[str, Any]) -> list[str]:
    return [*(cell(row[name]) for name in ("with", "without", "difference")), interval(row)]


def _title(name: str) -> str:
    return name.removesuffix(".png").replace("_", " ").capitalize()
