"""Changes of a rollout: the next step, the end, and what a person may do. `rollouts` says which one is under way.

Each change is one ledger entry with a compare-and-set, see `rollouts`. A person can pause a rollout (it is still rolled
back when it exceeds a limit), resume it, take it a step further without waiting, or end it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from trueup.config.durations import write_duration
from trueup.domain.events import Payload, RolloutAdvanced, RolloutEnded, RolloutPaused, RolloutResumed
from trueup.domain.judging.rollout import Judged, step_words
from trueup.domain.types import Verdict
from trueup.errors import AlreadyDecided, RegistryUnavailable, StaleDecision, UsageError
from trueup.governance import approval
from trueup.governance.alias import align
from trueup.governance.approval import named, person, reasoned, standing
from trueup.governance.decision_record import circumstances, epochs
from trueup.governance.rollouts import (
    ADVANCED,
    PAUSED,
    RESUMED,
    UnderWay,
    all_under_way,
    require_under_way,
    share_at,
    state_of,
)
from trueup.ledger.entries import Decision, Entry, Event, Promotion, of_decision
from trueup.ledger.record import Approver, Record, RolloutState
from trueup.model import Model

Act = Literal["pause", "resume", "advance", "abort"]
Ended = Literal["promoted", "rolled_back", "aborted", "inconclusive", "stale"]
_KIND: dict[Ended, Literal["promoted", "rejected", "held"]] = {
    "promoted": "promoted",
    "rolled_back": "rejected",
    "aborted": "rejected",
    "inconclusive": "held",
    "stale": "held",
}
_PAYLOADS = {ADVANCED: RolloutAdvanced, PAUSED: RolloutPaused, RESUMED: RolloutResumed}


def settle(model: Model) -> None:
    """End every rollout that cannot go on: its champion was replaced, or an older one is under way.

    Doing it twice changes nothing.
    """
    champion = model.home.ledger.champion(model.config.model)
    epoch = champion.epoch if champion else 0
    for number, current in enumerate(all_under_way(model)):
        if epoch != current.state.expected_epoch:
            _end(model, current, "stale", [_stale(current, epoch)])
        elif number:
            _end(model, current, "stale", ["another rollout had begun before; judge again when it has ended"])


def advance(model: Model, current: UnderWay, judged: Judged) -> Entry:
    """Take a rollout to its next step, or make the challenger the champion after the last one."""
    return _forward(model, current, list(judged.reasons), judged.verdicts)


def take_back(model: Model, current: UnderWay, judged: Judged) -> Entry:
    """End a rollout because a limit was exceeded: the challenger is rejected, the champion stays."""
    where = step_words(current.config, current.step)
    reasons = [f"rolled back in {where}: {reason}" for reason in judged.reasons]
    return _end(model, current, "rolled_back", reasons, judged.verdicts)


def give_up(model: Model, current: UnderWay, judged: Judged) -> Entry:
    """End a rollout at its deadline without a result: the champion stays."""
    waited = (
        f"no result within {write_duration(current.config.deadline)}, in {step_words(current.config, current.step)}"
    )
    paused = ["it was paused"] if current.state.paused else []
    return _end(model, current, "inconclusive", [waited, *paused, *judged.reasons], judged.verdicts)


def pause(model: Model, by: str, why: str) -> Entry:
    """Stop a rollout from advancing. Raises UsageError without one, or if it is paused."""
    return _set_paused(model, by, why, paused=True)


def resume(model: Model, by: str, why: str) -> Entry:
    """Let a paused rollout go on. Raises UsageError without one, or if it is not paused."""
    return _set_paused(model, by, why, paused=False)


def advance_by_hand(model: Model, by: str, why: str, at_step: int | None = None) -> Entry:
    """Take a rollout a step further without waiting for more rows; from the last step the challenger becomes champion.

    `at_step` is the step at which the person saw it: at another one nothing is done. Raises UsageError without a
    rollout, AlreadyDecided when another change was faster, StaleDecision when the champion changed meanwhile.
    """
    by, why, current = named(by), reasoned(why), _settled(model)
    if at_step is not None and at_step != current.step:
        raise AlreadyDecided(
            f"{model.config.model}: the rollout of {current.words} is at step {current.step}, not {at_step}; nothing was "
            f"changed; see `trueup rollout status {model.config.model}`, and decide again"
        )
    approver = person(model.home, by, why)
    return _forward(model, current, [f"advanced by {by}: {why}"], (), approver)


def abort(model: Model, by: str, why: str) -> Entry:
    """End a rollout: the challenger is rejected, the champion stays. Raises UsageError, AlreadyDecided."""
    by, why, current = named(by), reasoned(why), _settled(model)
    where = step_words(current.config, current.step)
    return _end(model, current, "aborted", [f"ended by {by} in {where}: {why}"], (), person(model.home, by, why))


def act(model: Model, action: Act, by: str, why: str, at_step: int | None = None) -> Entry:
    """Do what a person asks for by name. Raises UsageError for `at_step` with another action than `advance`, too."""
    if action == "advance":
        return advance_by_hand(model, by, why, at_step)
    if at_step is not None:
        raise UsageError(f"at_step is for advance, and the action is {action}; leave at_step empty")
    does = {"pause": pause, "resume": resume, "abort": abort}
    return does[action](model, by, why)


def _settled(model: Model) -> UnderWay:
    settle(model)
    return require_under_way(model)


def _set_paused(model: Model, by: str, why: str, *, paused: bool) -> Entry:
    by, why, current = named(by), reasoned(why), _settled(model)
    if current.state.paused is paused:
        already = "is paused already" if paused else "is not paused"
        raise UsageError(f"{model.config.model}: the rollout of {current.words} {already}; nothing was changed")
    kind, word = (PAUSED, "paused") if paused else (RESUMED, "resumed")
    state = _next(current, paused=paused)
    return _append(model, current, kind, [f"{word} by {by}: {why}"], state, person(model.home, by, why))


def _forward(
    model: Model,
    current: UnderWay,
    reasons: list[str],
    verdicts: tuple[Verdict, ...],
    approver: Approver | None = None,
) -> Entry:
    if current.step == len(current.config.canary):
        return _promote(model, current, reasons, verdicts, approver)
    state = _next(current, step=current.step + 1, verdicts=verdicts)
    into = f"goes on to {step_words(current.config, state.step)}"
    return _append(model, current, ADVANCED, [into, *reasons], state, approver)


def _promote(
    model: Model,
    current: UnderWay,
    reasons: list[str],
    verdicts: tuple[Verdict, ...],
    approver: Approver | None,
) -> Entry:
    """Make the challenger the champion. Raises StaleDecision, after it was recorded, and UntrustedModel."""
    fitted = current.fitted
    model.home.registry.load(fitted.uri, fitted.manifest_digest)
    all_reasons = [*current.start.body.reasons, "its rollout has ended", *reasons]
    try:
        entry = _end(model, current, "promoted", all_reasons, verdicts, approver)
    except StaleDecision:
        settle(model)
        raise
    approval.settle(model)
    align(model)
    return entry


def _end(
    model: Model,
    current: UnderWay,
    how: Ended,
    reasons: list[str],
    verdicts: tuple[Verdict, ...] = (),
    approver: Approver | None = None,
) -> Entry:
    state = _next(current, ended=how, **({"verdicts": verdicts} if verdicts else {}))
    entry = _append(model, current, _KIND[how], reasons, state, approver)
    tags = {"trueup.outcome": entry.kind, "trueup.ledger_entry": entry.seq}
    with suppress(RegistryUnavailable):  # a mark for people who look at the run
        model.home.tracking.log(current.start.challenge.judged.run_id, tags=tags)
    return entry


def _next(current: UnderWay, **changed: Any) -> RolloutState:
    """The state after the present one."""
    own = {"change": current.state.change + 1, "start": current.start.seq, "verdicts": ()}
    return current.state.model_copy(update={**own, **changed})


def _append(
    model: Model, current: UnderWay, kind: str, reasons: list[str], state: RolloutState, approver: Approver | None
) -> Entry:
    """Record a change. Raises AlreadyDecided when another one was recorded first."""
    expected = state.expected_epoch
    body = current.start.body if state.ended else circumstances(model)
    body |= Record(outcome=kind, reasons=reasons, rollout=state, epoch=epochs(expected, promoted=kind == "promoted"))
    if approver is not None:
        body |= Record(approver=approver)
    identity = f"{current.start.decision_id}:rollout:{state.change}"
    moment = max(standing(model), current.start.as_of)
    promotion = None
    if kind == "promoted":
        promotion = Promotion(current.fitted.version, current.fitted.manifest_digest, expected)
    payload = _payload(kind, current, state, identity, reasons, {"model": model.config.model, "as_of": moment})
    decided = of_decision(kind, identity, model.config.model, moment, state.version, reasons)
    decision = Decision(identity, model.config.model, kind, moment, body, promotion, (*decided, Event.of(payload)))
    entry = model.home.ledger.append(decision)
    other, who = state_of(entry), entry.body.approver
    same = (other.step, other.paused, other.ended) == (state.step, state.paused, state.ended)
    if not same or (approver and (who is None or who.name != approver.name)):
        raise AlreadyDecided(
            f"{model.config.model}: another change of this rollout was recorded first (ledger entry {entry.seq}, "
            f"{entry.kind.replace('_', ' ')}): {entry.body.reasons[0]}; nothing was changed; "
            f"see `trueup rollout status {model.config.model}`, and decide again"
        )
    return entry


def _payload(
    kind: str, current: UnderWay, state: RolloutState, identity: str, reasons: list[str], about: dict[str, Any]
) -> Payload:
    facts = {**about, "decision": identity, "version": state.version, "reasons": reasons, "step": state.step}
    facts |= {"share": share_at(current.config, state.step)}
    if state.ended is None:
        return _PAYLOADS[kind].model_validate(facts)
    verdict = Judged("roll back", (), state.verdicts).culprit if state.ended == "rolled_back" else None
    figures = verdict.figures if verdict else {}
    counts = {k: v for k, v in figures.items() if isinstance(v, int | float) and k not in {"figure", "limit"}}
    return RolloutEnded(
        **facts,
        outcome=state.ended,
        rule=verdict.check if verdict else None,
        figure=figures.get("figure"),
        limit=figures.get("limit"),
        counts=counts,
    )


def _stale(current: UnderWay, epoch: int) -> str:
    return (
        f"stale: it was tried beside the champion of epoch {current.state.expected_epoch}, and since then the champion "
        f"changed (epoch {epoch}); judge again: trueup retrain {current.start.model}"
    )
