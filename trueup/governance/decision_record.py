"""The record of a decision: who asked and why, about which model, on what data, by which rules, made by which code.

These are the parts; `stages.promote.promote` adds verdicts and reasons and writes the entry. A refusal is recorded as fully as a promotion. Records from before a part was kept lack it, so readers ask for every part
with `get`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trueup.adapters.git import code_facts
from trueup.config.durations import write_duration
from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import config_digest, digest_of, policy_digest
from trueup.domain.data.types import Window
from trueup.domain.events import ModelDecayed, ModelStale, interval
from trueup.domain.judging.metrics import loss_name
from trueup.domain.learning.training_windows import reference_window
from trueup.domain.records import to_plain
from trueup.handoffs import Attempt, Candidate, Evaluation, Input, Trained, Weighed
from trueup.home import Home
from trueup.model import Champion, Model

REQUEST = "request"  # the kind of a trigger behind which a person stands
_ASKED_BY = {"automation": "event", "schedule": "schedule", "person": REQUEST, "process": REQUEST}
_ASKING = {"decayed": ModelDecayed.topic, "stale": ModelStale.topic}


def circumstances(model: Model, asked_by: str | None = None) -> dict[str, Any]:
    """What every record says: who started it, the rules and the code in force, and what people answer for.

    `asked_by` is who asked, where that is known to be another than who called.
    """
    return {
        "actor": model.home.actor.to_dict() | ({"name": asked_by} if asked_by else {}),
        "config_digest": config_digest(model.config),
        "policy_digest": policy_digest(model.config),
        "code": {**code_facts(model.home.configs), "seed": model.config.train.seed},
        "governance": {"about": model.config.about, **model.config.governance.model_dump(mode="json")},
        "retention": model.config.retention.model_dump(mode="json"),
    }


def trigger(model: Model, asked: Attempt) -> dict[str, Any]:
    """Why a retrain was asked for: by the run itself (`loop`), an event, a schedule or somebody's request.

    With the diagnosis that stood then, and the event that told of it, where there are such.
    """
    look, _ = model.decisive_look(asked.as_of)
    found: dict[str, Any] = {
        "reason": asked.reason,
        "kind": "loop" if asked.in_loop else _ASKED_BY[model.home.actor.kind],
        "as_of": asked.as_of,
        "asked_at": asked.asked_at,
        "event": None,
        "diagnosis": None,
    }
    if look is None:
        return found
    told = [
        message
        for message in model.home.ledger.announced(model.config.model, _ASKING.get(asked.reason, ""))
        if message.payload["batch"] == interval(look.window)
    ]
    if told:
        found["event"] = {"id": told[-1].event_id, "topic": told[-1].topic, "announced_at": told[-1].created_at}
    found["diagnosis"] = {
        "name": look.body.diagnosis,
        "reasons": look.body.reasons,
        **look.window.to_dict(),
        "as_of": look.as_of,
    }
    return found


def previous(current: Champion | None) -> dict[str, Any] | None:
    """The champion that a decision found in office."""
    if current is None:
        return None
    return {"version": current.version, "manifest_digest": current.manifest_digest, "epoch": current.epoch}


def epochs(expected: int, promoted: bool) -> dict[str, int]:
    """The epoch of the champion that was judged against, and the one that the decision leads to."""
    return {"expected": expected, "resulting": expected + promoted}


def evidence(model: Model, attempt: Attempt, served: Candidate | None) -> dict[str, Any]:
    """What a challenger was made of and how it was judged; nothing where none was trained."""
    if attempt.trained is None or attempt.evaluation is None or attempt.judged is None:
        return {}
    refitted = attempt.refitted.trained if attempt.refitted and served and served.role == "refitted" else None
    trained, judged = refitted or attempt.trained, attempt.judged
    return {
        "model": _model(model, trained, attempt.evaluation, (served or judged).version),
        "judged": _made(model.home, attempt.trained, judged.version),
        "refit": None if attempt.refitted is None else attempt.refitted.verdict.to_dict(),
        "gate": attempt.trained.gate.to_dict(),
        "attempt": attempt.digest,
        "inputs": [{k: v for k, v in to_plain(i).items() if v is not None} for i in attempt.trained.inputs],
        "data": _data(model.config, attempt, attempt.trained, attempt.evaluation),
        "validation": _validation(model, attempt.trained.inputs),
        "search": to_plain(attempt.trained.search),
        "evaluation": _evaluation(model, attempt.evaluation),
        "evidence": _weighed(model, attempt.evaluation.weighed),
    }


def _weighed(model: Model, found: Weighed) -> dict[str, Any]:
    """Which rows and earlier attempts counted, against which champion, and what had to be proved."""
    return {
        "against": found.against,
        "loss": loss_name(model.config.task),
        "path": found.path,
        "digest": model.home.store.evaluation_digest(found.path),
        "block": model.config.evaluate.block.total_seconds(),
        "start": found.start.isoformat(),
        "end": found.end.isoformat(),
        "rows": found.rows,
        "folds": [{"start": start.isoformat(), "trained_until": until.isoformat()} for start, until in found.folds],
        "earlier": list(found.earlier),
        "attempt": found.attempt,
        "burden": found.burden,
        "changed": list(found.changed),
        "contender": found.contender,
        "missing": found.missing,
    }


def _model(model: Model, trained: Trained, evaluation: Evaluation, version: int) -> dict[str, Any]:
    from trueup.adapters.mlflow.model_files import FORMAT

    return {
        "name": model.config.registered_name,
        "format": FORMAT,
        "recipe": to_plain(trained.recipe),
        "features": model.config.features.model_dump(mode="json"),
        "method": evaluation.weighed.method,
        **_made(model.home, trained, version),
    }


def _made(home: Home, trained: Trained, version: int) -> dict[str, Any]:
    """A fitted model: its files, and the rows that it was fitted on."""
    return {
        "version": version,
        "uri": trained.uri,
        "manifest_digest": trained.manifest_digest,
        "run_id": trained.run_id,
        "baseline_path": trained.baseline_path,
        "baseline_digest": home.store.evaluation_digest(trained.baseline_path),
        "trained_from": trained.train.start.isoformat(),
        "trained_until": trained.trained_until.isoformat(),
        "rows": trained.rows,
        "data_digest": trained.data_digest,
        "gone": list(trained.gone),
    }


def _data(config: ModelConfig, attempt: Attempt, trained: Trained, evaluation: Evaluation) -> dict[str, Any]:
    """The windows that the challenger was trained and judged on and compared over, each with count and digest."""
    label, delay = config.ingest.label, config.ingest.label.known_after
    reference = reference_window(trained.gate.start, config.monitor.decay)
    overlap = next((v.to_dict() for v in attempt.verdicts if v.check == "overlap"), None)
    return {
        "training": {**trained.train.to_dict(), "rows": trained.rows, "digest": _digest(trained.inputs, trained.train)},
        "gate": {**trained.gate.to_dict(), "rows": evaluation.rows, "digest": _digest(trained.inputs, trained.gate)},
        "reference": {
            **reference.to_dict(),
            "rows": evaluation.reference_rows,
            "digest": _digest(trained.inputs, reference),
        },
        "overlap": overlap,
        "label": {
            "column": label.column,
            "known_after": None if delay is None else write_duration(delay),
            "known_at": label.known_at,
        },
    }


def _digest(inputs: Iterable[Input], window: Window) -> str:
    """Digest of the revisions of rows and labels that have a part in a window."""
    spans = [(Window(i.start, i.end), i.dataset, i.sha256) for i in inputs]
    return digest_of(sorted([dataset, sha256] for span, dataset, sha256 in spans if span.overlaps(window)))


def _validation(model: Model, inputs: Iterable[Input]) -> dict[str, Any]:
    """How each batch that was read had been judged, and a digest over these judgements in full."""
    found = model.validation_results(dict)
    named = {(i.start.isoformat(), i.end.isoformat(), i.revision) for i in inputs}
    judged = {
        (window.start.isoformat(), window.end.isoformat(), revision): body for (window, revision), body in found.items()
    }
    batches = [
        {"start": start, "end": end, "revision": revision}
        | {name: body[name] for name in ("status", "quarantined")}
        | {"digest": digest_of(body)}
        for (start, end, revision), body in sorted(judged.items())
        if (start, end, revision) in named
    ]
    return {"digest": digest_of([b["digest"] for b in batches]), "batches": batches}


def _evaluation(model: Model, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "loss": loss_name(model.config.task),
        "rows": evaluation.rows,
        "path": evaluation.path,
        "digest": model.home.store.evaluation_digest(evaluation.path),
        "sample_path": evaluation.sample_path,
        "sample_digest": model.home.store.evaluation_digest(evaluation.sample_path),
        "predicted": evaluation.predicted,
        "classes": evaluation.classes,
        "schema": to_plain(evaluation.schema),
        "metrics": evaluation.metrics,
        "intervals": to_plain(evaluation.intervals),
        "skill": to_plain(evaluation.skill),
        "slices": evaluation.slices,
        "ablation": evaluation.ablation,
    }
