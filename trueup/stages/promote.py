"""Promote: judge the challenger by the gates, write the decision to the ledger, then move the alias."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trueup.config.schema import ModelConfig
from trueup.domain.digest import config_digest
from trueup.domain.gates import CHALLENGER, CHAMPION, NO_CHAMPION, Case
from trueup.domain.gates import judge as judge_case
from trueup.domain.types import EVENT_TIME, LABEL, Status, Verdict, Window, overall
from trueup.ledger.entries import Decision, Entry, Event, Promotion
from trueup.stages.champion import Champion, champion
from trueup.stages.ports import Ports
from trueup.stages.references import (
    Attempt,
    Candidate,
    Decided,
    Evaluation,
    Outcome,
    Reason,
    Trained,
    prediction_of,
)
from trueup.stages.report import show_run
from trueup.stages.validate import usable_batches

# A pass of these is a precondition, not a reason to promote.
_SILENT_PASSES = {"overlap", "rows", "finite", "identical"}
_OUTCOMES: dict[Status, Outcome] = {
    Status.PASS: "promoted",
    Status.FAIL: "rejected",
    Status.INCONCLUSIVE: "held",
}


def judge(config: ModelConfig, ports: Ports, trained: Trained, evaluation: Evaluation) -> list[Verdict]:
    """Put the gate rows before the configured gates."""
    frame = ports.store.read_evaluation(evaluation.path)
    current = champion(config, ports)
    case = Case(
        task=config.task,
        y=frame[LABEL].to_numpy(),
        event_time=frame[EVENT_TIME].to_numpy(),
        predictions={role: prediction_of(frame, role, evaluation.classes) for role in evaluation.predicted},
        trained_until={CHALLENGER: trained.trained_until} | ({CHAMPION: current.trained_until} if current else {}),
        metrics=evaluation.metrics.get(CHALLENGER, {}),
        evaluate=config.evaluate,
        slices=frame[config.evaluate.slices],
        classes=evaluation.classes,
        seed=config.train.seed,
    )
    return judge_case(config.promote.gates, case)


def promote(config: ModelConfig, ports: Ports, attempt: Attempt) -> Decided:
    """Write the decision, with a compare-and-set of the champion's epoch when it promotes; then set the alias.

    The same attempt again gives the recorded decision. Raises StaleDecision when the champion changed meanwhile.
    """
    current = champion(config, ports)
    outcome, reasons = _outcome(attempt)
    served = _served(attempt) if outcome == "promoted" else None
    entry = ports.ledger.append(
        Decision(
            decision_id=_decision_id(config, ports, attempt.reason, attempt.as_of, outcome),
            model=config.model,
            kind=outcome,
            as_of=attempt.as_of,
            body=_body(config, attempt, current, outcome, reasons, served),
            promotion=None
            if served is None
            else Promotion(served.version, served.manifest_digest, current.epoch if current else 0),
            events=_events(config, attempt, outcome, reasons, served),
        )
    )
    align(config, ports)
    if attempt.trained is not None:
        run_id = attempt.trained.run_id
        ports.tracking.log(run_id, tags={"trueup.outcome": outcome, "trueup.ledger_entry": entry.seq})
        ports.tracking.finish(run_id)
        show_run(config, ports, attempt, entry)
    return decided(entry)


def align(config: ModelConfig, ports: Ports) -> None:
    """Set the registry's alias to what the ledger says, by reading the ledger again. Doing it twice changes nothing."""
    current = champion(config, ports)
    if current is not None and not ports.registry.alias_agrees(config.registered_name, current.version):
        ports.registry.set_champion_alias(config.registered_name, current.version)


def recorded_decision(config: ModelConfig, ports: Ports, reason: Reason, as_of: datetime) -> Decided | None:
    """The decision on the same retrain, if there was one: same model, reason and newest batch, same config.

    A hold does not count: labels may have arrived since.
    """
    entry = ports.ledger.find(_decision_id(config, ports, reason, as_of))
    return None if entry is None else decided(entry)


def _decision_id(config: ModelConfig, ports: Ports, reason: Reason, as_of: datetime, outcome: str = "") -> str:
    newest = usable_batches(config, ports, as_of)[-1:]
    batch = f"{newest[0].window.start.isoformat()}:r{newest[0].rows.revision}" if newest else "no batch"
    hold = f":held:{as_of.isoformat()}" if outcome == "held" else ""
    return f"{config.model}:{reason}:{batch}:{config_digest(config)[:16]}{hold}"


def decided(entry: Entry) -> Decided:
    """A recorded decision, as the flows hand it on."""
    body = entry.body
    return Decided(
        outcome=entry.kind,  # type: ignore[arg-type]  # the ledger's word is one of ours
        reasons=tuple(body["reasons"]),
        version=body["model"]["version"] if body.get("model") else None,
        sequence=entry.seq,
        verdicts=tuple(
            Verdict(v["check"], Status(v["status"]), tuple(v["reasons"]), v["figures"]) for v in body["verdicts"]
        ),
    )


def _outcome(attempt: Attempt) -> tuple[Outcome, list[str]]:
    """What the verdicts come to, and the reasons that count for it."""
    if attempt.hold is not None:
        return "held", [attempt.hold]
    status = overall(attempt.verdicts)
    telling = [v for v in attempt.verdicts if v.status is status and not (v.ok and v.check in _SILENT_PASSES)]
    reasons = [r for v in telling for r in v.reasons if r != NO_CHAMPION]
    if attempt.refitted is not None and not attempt.refitted.verdict.ok:
        reasons += [
            f"the judged model is promoted, not the refitted one: {r}" for r in attempt.refitted.verdict.reasons
        ]
    return _OUTCOMES[status], reasons


def _served(attempt: Attempt) -> Candidate:
    """The version that would serve: the refitted one where there is one that passed."""
    assert attempt.judged is not None
    if attempt.refitted is not None and attempt.refitted.candidate is not None:
        return attempt.refitted.candidate
    return attempt.judged


def _body(
    config: ModelConfig,
    attempt: Attempt,
    current: Champion | None,
    outcome: Outcome,
    reasons: list[str],
    served: Candidate | None,
) -> dict[str, Any]:
    """The record: what was decided, on what evidence, about which model."""
    body: dict[str, Any] = {
        "outcome": outcome,
        "reasons": reasons,
        "trigger": {"reason": attempt.reason},
        "verdicts": [v.to_dict() for v in attempt.verdicts],
        "previous": None
        if current is None
        else {"version": current.version, "manifest_digest": current.manifest_digest},
        "config_digest": config_digest(config),
    }
    if attempt.trained is None or attempt.evaluation is None or attempt.judged is None:
        return body
    trained = attempt.refitted.trained if attempt.refitted and served and served.role == "refitted" else attempt.trained
    version = (served or attempt.judged).version
    return body | {
        "model": {
            "name": config.registered_name,
            "version": version,
            "uri": trained.uri,
            "manifest_digest": trained.manifest_digest,
            "recipe": trained.recipe,
            "trained_from": trained.train.start.isoformat(),
            "trained_until": trained.trained_until.isoformat(),
            "rows": trained.rows,
            "data_digest": trained.data_digest,
            "run_id": trained.run_id,
            "baseline_path": trained.baseline_path,
        },
        "judged": {"version": attempt.judged.version, "manifest_digest": attempt.judged.manifest_digest},
        "refit": None if attempt.refitted is None else attempt.refitted.verdict.to_dict(),
        "gate": _plain(attempt.trained.gate),
        "search": attempt.trained.search,
        "evaluation": {
            "rows": attempt.evaluation.rows,
            "path": attempt.evaluation.path,
            "metrics": attempt.evaluation.metrics,
            "intervals": attempt.evaluation.intervals,
            "skill": attempt.evaluation.skill,
        },
    }


def _plain(window: Window) -> dict[str, str]:
    return {"start": window.start.isoformat(), "end": window.end.isoformat()}


def _events(
    config: ModelConfig, attempt: Attempt, outcome: Outcome, reasons: list[str], served: Candidate | None
) -> tuple[Event, ...]:
    """What others are told: promotions and rejections. Holds change nothing."""
    if outcome not in {"promoted", "rejected"}:
        return ()
    payload = {
        "model": config.model,
        "as_of": attempt.as_of.isoformat(),
        "version": served.version if served else None,
        "reasons": reasons,
    }
    return (Event(f"trueup.model.{outcome}", payload),)
