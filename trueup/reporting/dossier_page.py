"""The page of a dossier: one HTML file that opens offline, written for somebody who has never seen the project."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final

from trueup.domain.judging.gates import HEADINGS
from trueup.domain.judging.gates.phrases import evidence_words
from trueup.domain.judging.metrics import figure
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
        "approved": "the approval of",
        "overridden": "an override for",
    },
)
_DUTIES: Final = (
    ("Article 11 and Annex IV (1): general description, intended purpose", "What it is for"),
    ("Annex IV (2): development, data, training and validation", "Data; Validation; Lineage"),
    ("Annex IV (2) (g), (3): metrics, accuracy, limits, groups it is worse for", "How good it is; For whom it is worse; Checks; What it is for (limitations)"),
    ("Annex IV (3), Article 14: human oversight", "Decision (who asked, who approved, how it is taken back)"),
    ("Annex IV (6): changes through the lifecycle", "What became of it"),
    ("Article 12: automatic recording of events", "Decision and What became of it, each with its ledger entry and hash"),
    ("Article 12 (2), Article 72: monitoring after it went into service", "How it did in office; Drift baseline"),
    ("Annex IV (4): why these metrics", "How good it is names them; why they are right for the use is yours to write"),
    ("Annex IV (5), (7) to (9): risk management, standards, declaration, plan of monitoring", "Nothing here: these are yours to write"),
)  # fmt: skip

_SECTIONS: Final = (
    ("purpose", "What it is for"), ("data", "Data"), ("validation", "Validation"), ("metrics", "How good"),
    ("slices", "For whom worse"), ("checks", "Checks"), ("decision", "Decision"), ("baseline", "Drift baseline"),
    ("lineage", "Lineage"), ("rebuild", "Rebuild"), ("sbom", "Environment"), ("duties", "Duties"),
)  # fmt: skip


def render(facts: Mapping[str, Any], pictures: Mapping[str, bytes], data_file: str) -> str:
    """Fill the page. `facts` is what `audit.dossier` gathers; `data_file` is its JSON beside the page."""
    from markupsafe import Markup

    e, lineage = facts["evaluation"], facts["lineage"]
    of_unit, loss = units(facts["unit"]), _loss(e)
    bounds = {m["name"]: m for m in e["intervals"]}
    roles = list(e["metrics"])
    names = list(bounds) or list(e["metrics"].get("challenger", {}))
    sure = percent([*bounds.values(), *e["slices"]])
    ordered = sorted(e["slices"], key=lambda s: -s["challenger"])
    return template("dossier.html").render(
        d=facts,
        e=e,
        l=lineage,
        style=Markup(STYLE),
        title=f"{facts['model']} version {facts['version']}: dossier",
        data_file=data_file,
        sections=_SECTIONS,
        short=_short(facts),
        windows=list(_windows(facts)),
        features=_features(facts["fitted"]["features"]),
        batch_words=_states(facts["batches"]),
        validation_words=_validation(facts["validation"]),
        roles=roles,
        metrics=[
            (
                _WORDS.get(n, n) + of_unit.get(n, ""),
                [cell(e["metrics"][r].get(n)) for r in roles],
                interval(bounds.get(n)),
            )
            for n in names
        ],
        sure=sure,
        loss=loss + of_unit.get(loss, ""),
        slices=[(s["slice"], f"{s['rows']:,}", slice_cells(s)) for s in ordered],
        slice_columns=slice_columns(ordered, sure),
        worse=_worse(e),
        groups=_grouped(facts["verdicts"]),
        ablation=e.get("ablation"),
        asked=_asked(facts["decision"]),
        approved=_approved(facts["decision"]),
        recipe=recipe_words(lineage["recipe"]),
        packages=_packages(lineage["code"] or {}),
        licences=_counted(facts["sbom"].get("licences", {})),
        calibration=facts["calibration"],
        pictures=[(_PICTURES[n], base64.b64encode(pictures[n]).decode()) for n in _PICTURES if n in pictures],
        duties=_DUTIES,
        count=_count,
        share=_share,
        plain=_plain,
        minute=minute,
        cell=cell,
        interval=interval,
        remarks=list(_remarks(facts)),
        gap=_gap(facts),
        endings=_ENDINGS,
    )


# The five questions


def _short(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("What data?", _data(facts)),
        ("How good?", _good(facts)),
        ("For whom worse?", _worse(facts["evaluation"])),
        ("Who approved?", _approved(facts["decision"])),
        ("Can I rebuild it?", _rebuild(facts["rebuild"])),
    ]


def _data(facts: Mapping[str, Any]) -> str:
    own = facts["fitted"]
    if own["rows"] is None:
        return "See below; on how many rows this version was fitted is not part of its record."
    gate = f"{facts['evaluation']['rows']:,} rows from {facts['gate']['start'][:10]} to {facts['gate']['end'][:10]}"
    span = f"{own['trained_from'][:10]} to {own['trained_until'][:10]}"
    if not own["refitted"]:
        return f"Fitted on {own['rows']:,} labelled rows from {span}; judged on {gate}."
    before = own["judged"]["trained_until"]
    known = f", fitted until {before[:10]}," if before else ""
    return (
        f"Judged was version {own['judged_version']}{known} on {gate}. This version is the same recipe fitted again, gate "
        f"window included, on {own['rows']:,} labelled rows from {span}; it was not measured itself."
    )


def _good(facts: Mapping[str, Any]) -> str:
    """The deciding metric, with its interval and beside the others."""
    e, loss = facts["evaluation"], _loss(facts["evaluation"])
    metrics = e["metrics"]
    if loss not in metrics.get("challenger", {}):
        return "It could not be measured; see the checks."
    unit = units(facts["unit"]).get(loss, "")
    bounds = next((m for m in e["intervals"] if m["name"] == loss), None)
    said = f"{loss.replace('_', '-')}{unit} {cell(metrics['challenger'][loss])}"
    if bounds is not None and bounds["low"] is not None:
        said += f" ({percent([bounds])} {interval(bounds)})"
    others = [
        f"{role} {cell(metrics[role][loss])}"
        for role in ("champion", "prior", "simple", "reference")
        if role in metrics
    ]
    more = next((m for m in e["intervals"] if m["name"] in {"auc", "r2", "accuracy"}), None)
    extra = f"; {more['name'].upper()} {cell(more['value'])} ({interval(more)})" if more else ""
    of = f" Measured on version {facts['fitted']['judged_version']}." if facts["fitted"]["refitted"] else ""
    return f"{said}, against {', '.join(others)}{extra}. Lower loss is better.{_unbeaten(metrics, loss)}{of}"


def _unbeaten(metrics: Mapping[str, Any], loss: str) -> str:
    """Who of the models that it was held against loses less."""
    better = [r for r, m in metrics.items() if r != "challenger" and m.get(loss, inf) < metrics["challenger"][loss]]
    return f" Not beaten: {', '.join(better)}." if better else ""


def _remarks(facts: Mapping[str, Any]) -> Iterator[str]:
    """What a table does not say aloud: which rows decided, who is not beaten, and where the calibration is worst."""
    if facts["evidence"]:
        yield from evidence_words(facts["evidence"])
    metrics, loss = facts["evaluation"]["metrics"], _loss(facts["evaluation"])
    if loss in metrics.get("challenger", {}) and (said := _unbeaten(metrics, loss)):
        yield f"By {loss.replace('_', '-')}:{said.lower()}"
    if table := facts["calibration"]:
        worst = max(table, key=lambda row: abs(row["observed"] - row["predicted"]))
        yield (
            f"Where predictions are furthest from what happened it says {_share(worst['predicted'])} and "
            f"{_share(worst['observed'])} came true ({worst['rows']:,} rows)."
        )


def _gap(facts: Mapping[str, Any]) -> str:
    """Why rows lie in no window: those whose labels were not known when the gate window began."""
    until = facts["fitted"]["judged"]["trained_until"]
    if not until or until[:10] >= facts["gate"]["start"][:10]:
        return ""
    return "Rows between training and gate window are left out where their labels were not known when it began."


def _worse(evaluation: Mapping[str, Any]) -> str:
    """For whom it is worse, in words."""
    found, slices = evaluation["worse"], evaluation["slices"]
    if not slices:
        return "Not known: no slices are declared (`evaluate.slices`), or none were measured."
    said = []
    average = cell((evaluation["metrics"].get("challenger") or {}).get(_loss(evaluation)))
    if found["than_average"]:
        said.append(
            f"Its loss is above its average, with its whole {percent(slices)} interval, for {_named(found['than_average'])}, against {average} on all rows"
        )
    if found["than_champion"]:
        said.append(
            f"its loss is above the champion's, with the whole interval of the difference, for {_named(found['than_champion'])}"
        )
    if not said:
        said.append(f"For none of {len(slices)} slices, as far as their intervals tell")
    if found["too_small"]:
        said.append(f"{len(found['too_small'])} of {len(slices)} slices are too small to tell")
    return "; ".join(said) + "."


def _named(rows: Sequence[Mapping[str, Any]], most: int = 6) -> str:
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(f"{r['slice']} ({cell(r['challenger'])})" for r in rows[:most]) + more


def _asked(decision: Mapping[str, Any]) -> str:
    """Why it was trained, and who asked for that."""
    trigger, actor = decision["trigger"], decision["actor"] or {}
    said = [f"reason: {trigger['reason']}"]
    if trigger.get("kind") == "request":
        said.append(f"asked for by {decision['asked_by']}")
    elif trigger.get("kind"):
        said.append(
            f"no person asked: {({'loop': 'the run itself found it', 'event': 'an event', 'schedule': 'a schedule'})[trigger['kind']]}"
        )
    else:
        said.append(f"who asked is {decision['asked_by']}")
    if event := trigger.get("event"):
        said.append(f"event {event['topic']} {event['id']}")
    if found := trigger.get("diagnosis"):
        said.append(f"diagnosis of {found['start'][:10]} to {found['end'][:10]}: {found['name']}")
    if actor:
        said.append(f"run under the account {actor['account']} by way of {actor['via']}")
    return "; ".join(said) + "."


def _approved(decision: Mapping[str, Any]) -> str:
    """Who agreed, in words."""
    by = decision["approver"]
    if by is None:
        how = {
            "promoted": "The gates alone promoted it",
            "rejected": "The gates alone refused it",
            "pending": "Nobody yet",
        }
        return f"{how.get(decision['outcome'], 'Nobody: ' + decision['outcome'])}; no person decided (ledger entry {decision['sequence']})."
    said = f"{by['name']}, {minute(by['decided_at'])} UTC: {by['why'] or 'no remark'} (ledger entry {decision['sequence']})."
    eyes = by.get("four_eyes") or {}
    if eyes.get("demanded"):
        said += " Four eyes were demanded" + (
            f"; {eyes['asked_by']} had asked." if eyes.get("asked_by") else "; no person had asked."
        )
    return said


def _rebuild(rebuild: Mapping[str, Any]) -> str:
    if rebuild["ready"]:
        last = rebuild["last"]
        done = f"rebuilt on {last['at'][:10]}: {last['said']}" if last else "nobody has done it here so far"
        return f"All that it takes is here as it was ({rebuild['command']}); {done}."
    lacking = ", ".join(n["what"] for n in rebuild["needs"] if not n["met"])
    return f"Not with certainty: {rebuild['command']} would find other than then: {lacking}."


# The parts


def _windows(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    own, data = facts["fitted"], facts["data"] or {}
    judged = own["judged"] if own["judged"]["trained_from"] else None
    if own["refitted"]:
        yield {"name": "this version was fitted on", "start": own["trained_from"], "end": own["trained_until"], "rows": own["rows"], "digest": own["data_digest"]}  # fmt: skip
    if judged:
        name = f"version {own['judged_version']}, which was judged, was fitted on" if own["refitted"] else "fitted on"
        digest = (data.get("training") or {}).get("digest") or judged["data_digest"]
        yield {"name": name, "start": judged["trained_from"], "end": judged["trained_until"], "rows": judged["rows"], "digest": digest}  # fmt: skip
    yield {"name": "judged on (gate window)", **facts["gate"], "rows": facts["evaluation"]["rows"], "digest": (data.get("gate") or {}).get("digest")}  # fmt: skip
    if reference := data.get("reference"):
        yield {"name": "prior, simple and reference model fitted on", **reference}


def _features(features: Mapping[str, Any]) -> str:
    said = [f"{kind} {', '.join(features[kind])}" for kind in ("numeric", "categorical") if features.get(kind)]
    said += [f"{', '.join(parts)} of {column}" for column, parts in features.get("calendar", {}).items()]
    for h in features.get("history", []):
        keys = ", ".join(" × ".join(by) if isinstance(by, list) else by for by in h["by"])
        said.append(f"history {h['name']} ({h['aggregate']} of {h['of']}) by {keys} over {', '.join(h['windows'])}")
    if features.get("custom"):
        said.append(f"those that {features['custom']} makes")
    return "; ".join(said) + "."


def _states(rows: Sequence[Mapping[str, Any]]) -> str:
    states = [r["state"] for r in rows]
    return ", ".join(f"{states.count(s)} {s}" for s in ("right", "changed", "gone") if s in states) or "none recorded"


def _validation(validation: Mapping[str, Any] | None) -> str:
    if validation is None:
        return ""
    found = validation["batches"]
    passed = sum(b["status"] == "pass" for b in found)
    aside = sum(b["quarantined"] for b in found)
    return f"{passed} of {len(found)} batches that were read passed all checks of the data; {aside:,} rows were set aside in quarantine and not used."


def _grouped(verdicts: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Verdicts under the question that they answer, in the order of the questions."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in HEADINGS}
    for v in verdicts:
        found.setdefault(v["heading"], []).append({**v, "plain": _figures(v["figures"])})
    return [(name, rows) for name, rows in found.items() if rows]


def _figures(figures: Mapping[str, Any], before: str = "") -> str:
    """A check's figures in a line, without lists: those stand in the JSON."""
    said = []
    for name, value in figures.items():
        label = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            said.append(_figures(value, f"{name}: "))
        elif isinstance(value, list):
            continue
        elif value is not None:
            said.append(f"{label} {_plain(value)}")
    return ", ".join(filter(None, said))


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return figure(value)
    return minute(value) if isinstance(value, str) and "T00:" in value else str(value)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _loss(evaluation: Mapping[str, Any]) -> str:
    known = evaluation["metrics"].get("challenger") or {}
    return str(evaluation.get("loss") or ("mse" if "mse" in known else "log_loss"))


def _packages(code: Mapping[str, Any]) -> str:
    named = {
        k.removeprefix("version."): v for k, v in code.items() if k.startswith("version.") and k != "version.python"
    }
    return ", ".join(f"{name} {version}" for name, version in named.items())


def _counted(licences: Mapping[str, int], most: int = 6) -> str:
    found = sorted(licences.items(), key=lambda item: -item[1])
    rest = sum(n for _, n in found[most:])
    return ", ".join(f"{name} {n}" for name, n in found[:most]) + (f", others {rest}" if rest else "")
