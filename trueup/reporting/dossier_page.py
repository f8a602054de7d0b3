"""The page of a dossier: one HTML file that opens offline, written for a reader who has never seen the project."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from trueup.domain.judging.gates import HEADINGS
from trueup.domain.judging.metrics import figure
from trueup.ledger.record import Ablated, FittedOn, Rows, Slice
from trueup.reporting import dossier_words
from trueup.reporting.dossier_facts import Check, Facts, Measured, confidence
from trueup.reporting.html import STYLE, cell, interval, minute, template, units

_PICTURES: Final = {
    "challenger_against_champion.png": "Against the champion, day by day",
    "reliability.png": "Calibration: do predicted probabilities come true?",
    "roc_pr.png": "Telling the classes apart",
    "residuals.png": "Predicted against actual",
    "importance.png": "What the model relies on",
}
_WORDS: Final = {
    "log_loss": "log-loss (nats; lower is better)",
    "brier": "Brier score (lower is better)",
    "auc": "AUC (0.5 is chance, 1 is perfect)",
    "average_precision": "average precision (higher is better)",
    "ece": "calibration error (share; lower is better)",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R² (1 is perfect)",
    "accuracy": "accuracy (share; higher is better)",
    "auc_ovr": "AUC, each class against the rest",
}
_ENDINGS: Final = defaultdict(
    lambda: "a decision for",
    {
        "promoted": "the promotion of",
        "rolled_back": "going back to",
        "override": "an override for",
    },
)
_DUTIES: Final = (
    ("Article 11 and Annex IV (1): general description, intended purpose", "What it is for"),
    ("Annex IV (2): development, data, training and validation", "Data; Validation; Lineage"),
    ("Annex IV (2) (g), (3): metrics, accuracy, limits, groups it is worse for", "How good it is; For whom it is worse; Checks; What it is for (limitations)"),
    ("Annex IV (3), Article 14: human oversight", "Decision (who requested it, who approved, how to take it back)"),
    ("Annex IV (6): changes through the lifecycle", "History"),
    ("Article 12: automatic recording of events", "Decision; History; each with its ledger entry and hash"),
    ("Article 12 (2), Article 72: monitoring after it went into service", "How it did as champion; Drift baseline"),
    ("Annex IV (4): why these metrics", "How good it is lists them; the reasons are yours to write"),
    ("Annex IV (5), (7) to (9): risk management, standards, declaration, plan of monitoring", "None: these are yours to write"),
)  # fmt: skip

_SECTIONS: Final = {
    "purpose": "What it is for", "data": "Data", "validation": "Validation", "metrics": "How good it is",
    "slices": "For whom it is worse", "checks": "Checks", "decision": "Decision", "baseline": "Drift baseline",
    "lineage": "Lineage", "rebuild": "How to rebuild it", "sbom": "Environment", "duties": "Record-keeping duties",
}  # fmt: skip


def render(facts: Facts, pictures: Mapping[str, bytes], data_file: str) -> str:
    """The page; `data_file` is the JSON beside it."""
    from markupsafe import Markup

    e, of_unit = facts.evaluation, units(facts.unit)
    sure = confidence((*e.intervals, *e.slices))
    return template("dossier.html").render(
        d=facts,
        e=e,
        l=facts.lineage,
        w=dossier_words,
        style=Markup(STYLE),
        title=f"{facts.model} version {facts.version}: dossier",
        data_file=data_file,
        sections=_SECTIONS,
        windows=_windows(facts),
        roles=list(e.metrics),
        metrics=_metrics(e, of_unit),
        sure=sure,
        loss=e.loss + of_unit.get(e.loss, ""),
        slice_columns=_slice_columns(e.slices, sure),
        slices=[(s.slice, f"{s.rows:,}", _slice_cells(s)) for s in sorted(e.slices, key=lambda s: -s.challenger)],
        groups=_grouped(facts.verdicts),
        ablation=[(a.group, _ablation_cells(a), a.answer) for a in e.ablation],
        recipe=_recipe(facts),
        pictures=[(_PICTURES[n], base64.b64encode(pictures[n]).decode()) for n in _PICTURES if n in pictures],
        duties=_DUTIES,
        endings=_ENDINGS,
        minute=minute,
        cell=cell,
        interval=interval,
    )


def _windows(facts: Facts) -> list[tuple[str, Rows]]:
    """The spans of fits and judgements, with rows and digest."""
    fit, data = facts.fitted, facts.data
    rows = [("this version was fitted on", _rows(fit, fit.data_digest))] if fit.refitted else []
    judged = f"version {fit.judged_version}, which was judged, was fitted on" if fit.refitted else "fitted on"
    return [
        *rows,
        (judged, _rows(fit.judged, data.training.digest)),
        ("judged on (gate window)", data.gate),
        ("prior, simple and reference model fitted on", data.reference),
    ]


def _rows(fit: FittedOn, digest: str) -> Rows:
    return Rows(start=fit.trained_from, end=fit.trained_until, rows=fit.rows, digest=digest)


def _metrics(e: Measured, of_unit: Mapping[str, str]) -> list[tuple[str, list[str], str]]:
    """A row a metric: each role's figure, and the challenger's interval."""
    bounds = {m.name: interval(m.low, m.high) for m in e.intervals}
    return [
        (_WORDS.get(n, n) + of_unit.get(n, ""), [cell(m.get(n)) for m in e.metrics.values()], bounds.get(n, "–"))
        for n in e.names
    ]


def _slice_columns(slices: Sequence[Slice], sure: str) -> list[str]:
    compared = ["champion", "difference", f"its {sure}"] if any(s.champion is not None for s in slices) else []
    return ["challenger", f"its {sure}", *compared]


def _slice_cells(s: Slice) -> list[str]:
    cells = [cell(s.challenger), interval(s.low, s.high)]
    if s.champion is not None:
        cells += [cell(s.champion), cell(s.difference), interval(s.difference_low, s.difference_high)]
    return cells


def _ablation_cells(a: Ablated) -> list[str]:
    return [cell(a.with_group), cell(a.without), cell(a.difference), interval(a.low, a.high), cell(a.ms)]


def _grouped(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """Checks under the question that they answer, in the order of the questions."""
    groups: dict[str, list[Check]] = {name: [] for name in HEADINGS}
    for check in checks:
        groups.setdefault(check.heading, []).append(check)
    return [(name, rows) for name, rows in groups.items() if rows]


def _recipe(facts: Facts) -> str:
    """A model's family, parameters and seed in a line."""
    recipe = facts.lineage.recipe
    flat = [("family", recipe.family), *recipe.parameters.items(), ("seed", recipe.seed)]
    return ", ".join(f"{k} {figure(v) if type(v) is float else v}" for k, v in flat)
