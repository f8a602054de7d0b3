"""Promote: judges the challenger by the gates, writes the decision to the ledger, then moves the alias.

With `promote.mode: approval` a challenger that passed is recorded as pending, and a person decides: see `approval`. With
`promote.rollout` it meets online traffic before it becomes the champion: see `governance.rollout`.
"""

from __future__ import annotations

from datetime import datetime

from trueup.domain.data.digest import config_digest
from trueup.domain.judging import gates
from trueup.domain.judging.evidence import Evidence
from trueup.domain.judging.gates import CHALLENGER, CHAMPION, NO_CHAMPION, Case
from trueup.domain.judging.gates.worth import Features
from trueup.domain.types import EVENT_TIME, LABEL, Proposed, Reason, Status, Verdict, overall
from trueup.errors import StaleDecision
from trueup.governance.alias import align
from trueup.governance.approval import PENDING, decided, final, settle, terms
from trueup.governance.decision_record import circumstances, epochs, evidence, previous, trigger
from trueup.governance.recorded_inputs import keep
from trueup.governance.rollouts import ROLLOUT, first_state, rules_for
from trueup.handoffs import Attempt, Candidate, Decided, Evaluation, Outcome, Trained, prediction_of
from trueup.ledger.elsewhere import Elsewhere
from trueup.ledger.entries import Decision, Entry, Promotion, of_decision
from trueup.ledger.record import Record
from trueup.model import Champion, Model
from trueup.reporting.jobs import show_retrain
from trueup.stages.clean_process import reproduced

_OUTCOMES: dict[Status, Outcome] = {
    Status.PASS: "promoted",
    Status.FAIL: "rejected",
    Status.INCONCLUSIVE: "held",
}


def judge(model: Model, trained: Trained, evaluation: Evaluation) -> list[Verdict]:
    """Check that the registered files reproduce the recorded predictions, then run the configured gates."""
    same = reproduced(model, trained, (evaluation.sample_path, CHALLENGER, evaluation.classes))
    if not same.ok:
        return [same]
    frame = model.home.store.read_evaluation(evaluation.path)
    current, weighed = model.champion(), evaluation.weighed
    case = Case(
        task=model.config.task,
        y=frame[LABEL].to_numpy(),
        event_time=frame[EVENT_TIME].to_numpy(),
        predictions={role: prediction_of(frame, role, evaluation.classes) for role in evaluation.predicted},
        trained_until={CHALLENGER: trained.trained_until} | ({CHAMPION: current.trained_until} if current else {}),
        metrics=evaluation.metrics.get(CHALLENGER, {}),
        evaluate=model.config.evaluate,
        slices=frame[model.config.evaluate.slices],
        groups=frame[model.config.group_columns],
        behaviour=evaluation.behaviour,
        budget=evaluation.budget,
        ablation=evaluation.ablation,
        classes=evaluation.classes,
        seed=model.config.train.seed,
        without_champion=evaluation.without_champion or NO_CHAMPION,
        walked=Evidence.from_frame(
            model.home.store.read_evaluation(weighed.path), model.config.evaluate.block, weighed.earlier
        ),
        folds=weighed.folds,
        burden=weighed.burden,
        attempt=weighed.attempt,
        contender=weighed.contender,
    )
    # The features of a received model were measured where it was trained: its training rows are there.
    chosen = [g for g in model.config.promote.gates if trained.received is None or not isinstance(g, Features)]
    return [same, *gates.judge(chosen, case)]


def promote(model: Model, attempt: Attempt) -> Decided:
    """Write the decision, with a compare-and-set of the champion's epoch if it promotes; then set the alias.

    The same attempt again returns the recorded decision. Raises StaleDecision if the champion changed meanwhile.
    """
    current = model.champion()
    outcome, reasons = _outcome(model, attempt)
    served = _served(attempt) if outcome == "promoted" else None
    epoch = _judged_epoch(attempt, current)
    rules = rules_for(model.config, epoch)
    if outcome == "promoted" and (model.config.promote.mode == "approval" or rules is not None):
        outcome = PENDING if model.config.promote.mode == "approval" else ROLLOUT
        if epoch != (current.epoch if current else 0):
            raise StaleDecision(
                f"{model.config.model}: the champion changed while this was decided; nothing was proposed; "
                f"judge again: trueup retrain {model.config.model}"
            )
    identity = _decision_id(model, attempt.reason, attempt.as_of, outcome, attempt.received)
    proposed = served or attempt.judged
    version = proposed.version if proposed else None
    body = circumstances(model) | Record(
        outcome=outcome,
        reasons=reasons,
        trigger=trigger(model, attempt),
        verdicts=attempt.verdicts,
        previous=previous(current),
        epoch=epochs(epoch, promoted=outcome == "promoted"),
    )
    body |= evidence(model, attempt, served)
    if attempt.received:
        body |= Record(received=attempt.received)
    if attempt.trained:
        body |= Record(recorded=keep(model))
    if outcome == PENDING and attempt.judged:
        body |= terms(model.config, epoch, attempt.judged.run_id)
    if outcome == ROLLOUT and rules and served:
        body |= first_state(rules, served.version, epoch)
    entry = model.home.ledger.append(
        Decision(
            decision_id=identity,
            model=model.config.model,
            kind=outcome,
            as_of=attempt.as_of,
            body=body,
            promotion=None
            if served is None or outcome != "promoted"
            else Promotion(served.version, served.manifest_digest, epoch),
            events=of_decision(outcome, identity, model.config.model, attempt.as_of, version, reasons),
        )
    )
    settle(model)  # a newer proposal replaces an older one
    align(model)
    if attempt.trained is not None:
        run_id = attempt.trained.run_id
        form = {"trueup.export": overall(attempt.exported.verdicts).value} if attempt.exported else {}
        model.home.tracking.log(run_id, tags={"trueup.outcome": outcome, "trueup.ledger_entry": entry.seq, **form})
        model.home.tracking.finish(run_id)
        show_retrain(model, entry)
    return decided(entry)


def _judged_epoch(attempt: Attempt, current: Champion | None) -> int:
    """The epoch of the champion that the challenger was compared with, even if another one serves now."""
    judged = attempt.evaluation.champion_epoch if attempt.evaluation else None
    return judged if judged is not None else (current.epoch if current else 0)


def recorded_decision(model: Model, reason: Reason, as_of: datetime) -> Decided | None:
    """The decision on the same retrain, if there is one: same model, reason and newest batch, same config.

    A hold does not count, because labels may have arrived since. A pending one and a rollout are resolved to their
    outcome, if there is one.
    """
    entry = model.home.ledger.find(_decision_id(model, reason, as_of))
    if entry is None:
        return None
    return decided(final(model.home, entry))


def received_decision(model: Model, received: Elsewhere) -> Entry | None:
    """The entry of the decision on a bundle that was received, resolved as by `recorded_decision`; a hold does not count."""
    entry = model.home.ledger.find(_subject(model, "received", datetime.max, received))
    found = None if entry is None else final(model.home, entry)
    return None if found is None or found.kind == "held" else found


def _subject(model: Model, reason: Proposed, as_of: datetime, received: Elsewhere | None) -> str:
    """What a decision is about: a retrain on the newest batch, or a bundle."""
    about = batch_key(model, as_of) if received is None else received.bundle
    return f"{model.config.model}:{reason}:{about}"


def _decision_id(
    model: Model, reason: Proposed, as_of: datetime, outcome: str = "", received: Elsewhere | None = None
) -> str:
    identity = plain = _subject(model, reason, as_of, received)
    if outcome == "held":
        return f"{plain}:held:{as_of.isoformat()}"
    tries = 1
    while (entry := model.home.ledger.find(identity)) and final(model.home, entry).kind == "held":
        tries += (
            1  # after an expired or overtaken proposal, or a rollout without a result, the same may be proposed again
        )
        identity = f"{plain}:{tries}"
    return identity


def batch_key(model: Model, as_of: datetime) -> str:
    """The newest usable batch, with its revision and the config: the subject of a decision about a retrain."""
    newest = model.usable_batches(as_of)[-1:]
    batch = f"{newest[0].window.start.isoformat()}:r{newest[0].rows.revision}" if newest else "no batch"
    return f"{batch}:{config_digest(model.config)[:16]}"


def _outcome(model: Model, attempt: Attempt) -> tuple[Outcome, list[str]]:
    if attempt.hold is not None:
        return "held", [attempt.hold]
    status = overall(attempt.verdicts)
    configured = model.config.promote.gates
    deciding = [v for v in attempt.verdicts if v.status is status and not (v.ok and gates.silent(v.check, configured))]
    alone = attempt.evaluation.without_champion if attempt.evaluation else ""
    reasons = [r for v in deciding for r in v.reasons if r not in {NO_CHAMPION, alone}] + ([alone] if alone else [])
    if attempt.refitted is not None and not attempt.refitted.verdict.ok:
        reasons += [
            f"the judged model is promoted, not the refitted one: {r}" for r in attempt.refitted.verdict.reasons
        ]
    gone = attempt.trained.gone if attempt.trained else ()
    reasons += [f"{name} has had no value for some batches, and the challenger does without it" for name in gone]
    return _OUTCOMES[status], reasons


def _served(attempt: Attempt) -> Candidate:
    """The version that would serve: the refitted one if it passed."""
    assert attempt.judged is not None
    if attempt.refitted is not None and attempt.refitted.candidate is not None:
        return attempt.refitted.candidate
    return attempt.judged
