"""The texts of a dossier: the answers to its five questions, and the sentences around its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Final

from trueup.domain.judging.gates import CHALLENGER
from trueup.domain.judging.metrics import figure
from trueup.ledger.part import Plain
from trueup.ledger.record import EvidenceRecord, Slice, Validation
from trueup.reporting.dossier_facts import DecisionFacts, Facts, Measured, ReadInput, Rebuild, confidence
from trueup.reporting.html import cell, interval, minute, units

_STARTED_BY: Final = {"loop": "the run itself detected it", "event": "an event", "schedule": "a schedule"}
_BY_GATES: Final = {
    "promoted": "The gates alone promoted it",
    "rejected": "The gates alone rejected it",
    "pending": "Nobody yet",
    "rollout": "The gates alone passed it to a rollout",
}
_ROLLOUT_ENDED: Final = {
    "promoted": "The gates passed it, and it became champion at the end of its rollout",
    "rolled_back": "The gates passed it, and its rollout rolled it back",
    "aborted": "The gates passed it, and its rollout was ended",
    "inconclusive": "The gates passed it, and its rollout ended without a result",
    "stale": "The gates passed it, and its rollout ended because the champion changed",
}


def day(moment: datetime) -> str:
    """The date of a moment."""
    return f"{moment:%Y-%m-%d}"


def short(facts: Facts) -> list[tuple[str, str]]:
    """The five questions with their answers."""
    return [
        ("What data?", _data(facts)),
        ("How good?", _good(facts)),
        ("For whom worse?", worse(facts.evaluation)),
        ("Who approved?", approved(facts.decision)),
        ("Can I rebuild it?", _rebuild(facts.rebuild)),
    ]


def _data(facts: Facts) -> str:
    fit, gate = facts.fitted, facts.gate
    judged_on = f"{facts.evaluation.rows:,} rows from {day(gate.start)} to {day(gate.end)}"
    span = f"{day(fit.trained_from)} to {day(fit.trained_until)}"
    if not fit.refitted:
        of = facts.lineage.received
        origin = (
            f" It was trained in {of.place}, as version {of.version} (ledger entry {of.entry} there)." if of else ""
        )
        return f"Fitted on {fit.rows:,} labelled rows from {span}; judged on {judged_on}.{origin}"
    return (
        f"Judged was version {fit.judged_version}, fitted until {day(fit.judged.trained_until)}, on {judged_on}. This "
        f"version is the same recipe fitted again, gate window included, on {fit.rows:,} labelled rows from {span}; it was "
        "not measured itself."
    )


def _good(facts: Facts) -> str:
    """The deciding metric, with its interval and beside the others."""
    e, metrics = facts.evaluation, facts.evaluation.metrics
    if e.loss not in metrics.get(CHALLENGER, {}):
        return "It could not be measured; see the checks."
    bounds = next((m for m in e.intervals if m.name == e.loss), None)
    sentence = f"{e.loss.replace('_', '-')}{units(facts.unit).get(e.loss, '')} {cell(metrics[CHALLENGER][e.loss])}"
    if bounds is not None and bounds.low is not None:
        sentence += f" ({confidence(e.intervals)} {interval(bounds.low, bounds.high)})"
    others = [f"{r} {cell(metrics[r][e.loss])}" for r in ("champion", "prior", "simple", "reference") if r in metrics]
    more = next((m for m in e.intervals if m.name in {"auc", "r2", "accuracy"}), None)
    extra = f"; {more.name.upper()} {cell(more.value)} ({interval(more.low, more.high)})" if more else ""
    of = f" Measured on version {facts.fitted.judged_version}." if facts.fitted.refitted else ""
    return f"{sentence}, against {', '.join(others)}{extra}. Lower loss is better.{_unbeaten(e)}{of}"


def _unbeaten(e: Measured) -> str:
    """The models with a lower loss than the challenger."""
    loss = {role: m.get(e.loss) for role, m in e.metrics.items()}
    ours = loss.get(CHALLENGER)
    better = [r for r, value in loss.items() if r != CHALLENGER and (inf if value is None else value) < (ours or 0.0)]
    return f" Not beaten: {', '.join(better)}." if better else ""


def remarks(facts: Facts) -> Iterator[str]:
    """Remarks on the table of metrics: the rows that decided, models not beaten, the worst calibration."""
    e = facts.evaluation
    if facts.evidence:
        yield from _evidence(facts.evidence)
    if e.loss in e.metrics.get(CHALLENGER, {}) and (sentence := _unbeaten(e)):
        yield f"By {e.loss.replace('_', '-')}:{sentence.lower()}"
    if facts.calibration:
        worst = max(facts.calibration, key=lambda row: abs(row.observed - row.predicted))
        yield (
            f"Calibration is worst where the prediction is {share(worst.predicted)}: {share(worst.observed)} came true "
            f"({worst.rows:,} rows)."
        )


def _evidence(evidence: EvidenceRecord) -> Iterator[str]:
    """The rows and earlier attempts that a decision counted, and what the challenger had to prove."""
    cuts, earlier = len(evidence.folds) + 1, len(evidence.earlier)
    rows = f"{evidence.rows:,} rows from {day(evidence.start)} to {day(evidence.end)}"
    judged = f"the recipe was judged at {cuts} cut-offs" if cuts > 1 else "the gate window is all there is"
    older = f", older rows come from {earlier} earlier attempt{'' if earlier == 1 else 's'}" if earlier else ""
    yield f"Evidence: {rows}; {judged}{older}."
    if evidence.against is not None:
        burden = "a routine retrain, the same kind of model on newer data"
        if evidence.burden == "change":
            burden = f"a change of {', '.join(evidence.changed)}: its worse bound has to be within the margin, too"
        yield f"Attempt {evidence.attempt} against this champion, {burden}."
    if evidence.contender != CHALLENGER:
        name = "simple model" if evidence.contender == "simple" else "prior"
        yield f"The {name} takes the challenger's place, because its loss is lower on these rows."
    if evidence.missing:
        yield f"Missing: {evidence.missing}."


def gap(facts: Facts) -> str:
    """Why rows are in no window: their labels were not known when the gate window began."""
    if day(facts.fitted.judged.trained_until) >= day(facts.gate.start):
        return ""
    return "Rows before the gate window are in no window if their labels were not known when it began."


def worse(e: Measured) -> str:
    """The slices in which it is worse."""
    if not e.slices:
        return "Not known: no slices are declared (`evaluate.slices`), or none were measured."
    parts = []
    if e.worse.than_average:
        average = cell(e.metrics.get(CHALLENGER, {}).get(e.loss))
        parts.append(
            f"Its loss is above its average, with its whole {confidence(e.slices)} interval, for "
            f"{_named(e.worse.than_average)}, against {average} on all rows"
        )
    if e.worse.than_champion:
        parts.append(
            "its loss is above the champion's, with the whole interval of the difference, for "
            f"{_named(e.worse.than_champion)}"
        )
    if not parts:
        parts.append(f"No slice ({len(e.slices)} were measured), by their intervals")
    if e.worse.too_small:
        parts.append(f"{len(e.worse.too_small)} of {len(e.slices)} slices have too few rows")
    return "; ".join(parts) + "."


def _named(slices: Sequence[Slice], most: int = 6) -> str:
    more = f" and {len(slices) - most} more" if len(slices) > most else ""
    return ", ".join(f"{s.slice} ({cell(s.challenger)})" for s in slices[:most]) + more


def requested(decision: DecisionFacts) -> str:
    """The reason of the training, and the person or program that requested it."""
    trigger, actor = decision.trigger, decision.actor
    parts = [f"reason: {trigger.reason}"]
    if trigger.kind == "request":
        parts.append(f"requested by {decision.asked_by}")
    else:
        parts.append(f"no person requested it: {_STARTED_BY[trigger.kind]}")
    if trigger.event:
        parts.append(f"event {trigger.event.topic} {trigger.event.id}")
    if diagnosis := trigger.diagnosis:
        parts.append(f"diagnosis of {day(diagnosis.start)} to {day(diagnosis.end)}: {diagnosis.name}")
    parts.append(f"run under the account {actor.account} by way of {actor.via}")
    return "; ".join(parts) + "."


def approved(decision: DecisionFacts) -> str:
    """The person who approved, or the gates."""
    by = decision.approver
    if by is None:
        ended = decision.rollout.ended if decision.rollout else None
        how = _ROLLOUT_ENDED[ended] if ended else _BY_GATES.get(decision.outcome, f"Nobody: {decision.outcome}")
        return f"{how}; no person decided (ledger entry {decision.sequence})."
    sentence = f"{by.name}, {minute(by.decided_at)} UTC: {by.why or 'no remark'} (ledger entry {decision.sequence})."
    if by.four_eyes and by.four_eyes.demanded:
        who = f"{by.four_eyes.asked_by} requested it" if by.four_eyes.asked_by else "no person requested it"
        sentence += f" Four eyes were demanded; {who}."
    return sentence


def _rebuild(rebuild: Rebuild) -> str:
    if rebuild.ready:
        last = rebuild.last
        done = f"rebuilt on {day(last.at)}: {last.message}" if last else "not rebuilt here so far"
        return f"Yes, everything is here and unchanged ({rebuild.command}); {done}."
    lacking = ", ".join(n.what for n in rebuild.needs if not n.met)
    return f"Not with certainty. Missing or changed: {lacking} ({rebuild.command})."


def features(config: Plain) -> str:
    """The features of a version, from its section of the config."""
    listed = [f"{kind} {', '.join(config[kind])}" for kind in ("numeric", "categorical") if config.get(kind)]
    listed += [f"{', '.join(parts)} of {column}" for column, parts in config.get("calendar", {}).items()]
    for h in config.get("history", []):
        keys = ", ".join(" × ".join(by) if isinstance(by, list) else by for by in h["by"])
        listed.append(f"history {h['name']} ({h['aggregate']} of {h['of']}) by {keys} over {', '.join(h['windows'])}")
    if config.get("custom"):
        listed.append(f"those of {config['custom']}")
    return "; ".join(listed) + "."


def states(inputs: Sequence[ReadInput]) -> str:
    """How many revisions are unchanged, changed and gone."""
    counted = [i.state for i in inputs]
    return ", ".join(f"{counted.count(s)} {s}" for s in ("right", "changed", "gone") if s in counted) or "none recorded"


def validation(result: Validation) -> str:
    """How many batches passed, and how many rows were set aside."""
    passed = sum(b.status == "pass" for b in result.batches)
    aside = sum(b.quarantined for b in result.batches)
    return (
        f"{passed} of {len(result.batches)} batches passed all checks of the data; {aside:,} rows were set "
        "aside in quarantine and not used."
    )


def figures(named: Mapping[str, object], before: str = "") -> str:
    """A check's figures in a line, without lists: those are in the JSON."""
    listed = []
    for name, value in named.items():
        if isinstance(value, Mapping):
            listed.append(figures(value, f"{name}: "))
        elif value is not None and not isinstance(value, list):
            listed.append(f"{before}{name}".replace("_", " ") + f" {plain(value)}")
    return ", ".join(filter(None, listed))


def plain(value: object) -> str:
    """A value of any kind."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return figure(value)
    return value[:16].replace("T", " ") if isinstance(value, str) and "T00:" in value else str(value)


def count(value: int | None) -> str:
    """A number of rows."""
    return "–" if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def packages(code: Mapping[str, str | int]) -> str:
    """The versions of the main packages."""
    named = {k.removeprefix("version."): v for k, v in code.items() if k.startswith("version.")}
    return ", ".join(f"{name} {version}" for name, version in named.items() if name != "python")


def licences(counted: Mapping[str, int], most: int = 6) -> str:
    """The most frequent licences."""
    ordered = sorted(counted.items(), key=lambda item: -item[1])
    rest = sum(n for _, n in ordered[most:])
    return ", ".join(f"{name} {n}" for name, n in ordered[:most]) + (f", others {rest}" if rest else "")
