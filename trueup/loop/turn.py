"""The loop itself: the order of the stages. Flows, the command line and replay all use it.

`cycle` and `challenge` take `do` with one callable per stage: this package's functions, or the Prefect tasks that wrap
them. So a flow and a run without Prefect cannot differ.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from types import NoneType
from typing import Protocol

from trueup.crash import reach
from trueup.domain.learning.training_windows import Hold, Plan
from trueup.domain.monitoring.diagnosis import DATA_BROKEN, DECAYED, SHIFTED, STALE, UNKNOWN
from trueup.domain.types import Batch, Reason, Retrain, Verdict, Window
from trueup.errors import Busy, NoLabels, NotEnoughData, StaleDecision, WorkError
from trueup.governance.approval import upkeep
from trueup.governance.probation import carry_out
from trueup.governance.quarantine import awaiting_score
from trueup.handoffs import (
    Attempt,
    Candidate,
    Checked,
    Cycle,
    Decided,
    Drained,
    Evaluation,
    Exported,
    Observed,
    Refitted,
    Scored,
    Spent,
    Trained,
)
from trueup.ledger.entries import Event
from trueup.loop.ahead import predicting_ahead
from trueup.loop.announce import announce
from trueup.loop.decide import judge_and_decide
from trueup.loop.following.followed import concluded, seconds_of
from trueup.loop.following.listeners import followed
from trueup.loop.may_start import (
    RUNNING,
    attempt_digest,
    failed,
    held_back,
    held_back_with,
    refuse,
    waits_for_rollout,
)
from trueup.loop.reconcile import close_dead_runs
from trueup.loop.resume import remember, unfinished
from trueup.loop.triggers import answered, due, retrain_event
from trueup.model import RETRAIN, RUN, SILENT, Model
from trueup.online.drain import drain
from trueup.online.publish import publish_after_turn
from trueup.online.rollout import check
from trueup.stages.monitoring.monitor import to_watch_again
from trueup.stages.monitoring.unusual import not_settled
from trueup.stages.promote import recorded_decision

ASKING: dict[str, Reason] = {DECAYED: "decayed", STALE: "stale", SHIFTED: "shifted"}
_WITHOUT_LABELS = {STALE, SHIFTED}


class Steps(Protocol):
    """One callable per stage, in the order of the loop."""

    def ingest(self, model: Model, as_of: datetime) -> list[Batch]: ...
    def validate(self, model: Model, batch: Batch, as_of: datetime) -> Checked: ...
    def score(self, model: Model, checked: Checked, as_of: datetime) -> Scored: ...
    def monitor(self, model: Model, checked: Checked, as_of: datetime) -> Observed: ...
    def plan(self, model: Model, as_of: datetime) -> Plan | Hold: ...
    def train(self, model: Model, chosen: Plan, as_of: datetime) -> Trained: ...
    def evaluate(self, model: Model, trained: Trained, as_of: datetime) -> Evaluation: ...
    def register(self, model: Model, trained: Trained) -> Candidate: ...
    def judge(self, model: Model, trained: Trained, evaluation: Evaluation) -> list[Verdict]: ...
    def export(self, model: Model, judged: Trained, evaluation: Evaluation) -> Exported: ...
    def refit(self, model: Model, judged: Trained, as_of: datetime) -> Refitted: ...
    def promote(self, model: Model, attempt: Attempt) -> Decided: ...


@dataclass(frozen=True)
class State:
    """The facts that decide the next action."""

    has_champion: bool
    findings: tuple[str, ...]  # about the newest batch, its diagnosis first; empty if nothing new was monitored
    asking: Collection[str] = (DECAYED, STALE)  # those that start a retrain
    due: Reason | None = None  # another trigger: the calendar, or the number of new labels


def next_action(state: State) -> Reason | None:
    """Return the reason to retrain now, or None.

    >>> next_action(State(has_champion=True, findings=("shifted",))) is None
    True
    >>> next_action(State(has_champion=True, findings=("stale", "shifted")))
    'stale'
    """
    diagnosis = state.findings[0] if state.findings else ""
    if diagnosis == DATA_BROKEN:
        return None
    if not state.has_champion:
        return "first"
    # Age is known without labels, and counts also for a model with too few labels in each batch.
    findings = [f for f in state.findings if diagnosis != UNKNOWN or f in _WITHOUT_LABELS]
    return next((ASKING[f] for f in findings if f in ASKING and f in state.asking), state.due)


def cycle(do: Steps, model: Model, as_of: datetime, retrain: Retrain = "inline", wait: bool = True) -> Cycle:
    """One turn of the loop at `as_of`: ingest, validate, score, monitor, and retrain if the diagnosis asks for it.

    Processes every new batch, oldest first. A second run at the same `as_of` changes nothing and returns the recorded
    result. Only rows that were released from quarantine since then get their predictions, and batches with new labels
    are monitored again. The newest batch with a conclusive diagnosis decides.

    One turn at a time for each model: a second one, which Prefect's limit may let through after its server was killed,
    waits and finds the batches done. Raises Busy if the other one continues for hours, without `wait` at once.
    """
    with followed(do, model, "run", as_of) as do:
        with model.home.handling(model.config.model, wait) as alone:
            if not alone:
                since = " has been at work for hours; end it" if wait else " is at work; wait for its end"
                raise Busy(f"{model.config.model}: another run{since}, and run again")
            done = concluded(do, _cycle(do, model, as_of, retrain))
        publish_after_turn(model)
    return done


def _cycle(do: Steps, model: Model, as_of: datetime, retrain: Retrain) -> Cycle:
    upkeep(model)
    carry_out(model)
    check(model, as_of)
    batches = do.ingest(model, as_of)
    every = _validated(do, model, batches, as_of)
    drained = _drained(model)
    waiting = _unhandled(model, every)
    late = awaiting_score(model, batches)
    released = _scored(do, model, [c for c in every if c.batch in late and c not in waiting], as_of)
    matured = to_watch_again(model, batches, as_of)
    if retrain == "inline":
        matured += _unanswered(model, batches, as_of)
    checked = tuple(c for c in every if c in waiting or c.batch in matured)
    if not checked:
        return replace(_recorded(model, every, as_of), released=released, drained=_in_all(drained, released))
    scored = _scored(do, model, waiting, as_of)
    begun = _begun(model, waiting, as_of)
    observed = tuple(do.monitor(model, c, begun.get(c.batch.window, as_of)) for c in checked)
    decisive = _decisive(model, observed)
    has_champion, findings = model.champion() is not None, decisive.findings if decisive else ()
    action = next_action(State(has_champion, findings, model.config.retrain.findings, due(model, as_of)))
    if any(o.rolled_back for o in observed):
        action = None  # the findings are about the champion that was rolled back
    decided, request, problem = _decided_before(model, as_of), None, None
    # A first champion is always made here, because no event can announce it.
    if action is not None and (retrain == "inline" or (retrain == "event" and action == "first")):
        try:
            decided = challenge(do, model, as_of, action, in_loop=True)
        except NoLabels as error:  # the batches are validated, so they count as handled
            problem = str(error)
            decided = do.promote(model, Attempt(action, as_of, hold=problem, in_loop=True, asked_at=model.home.now()))
    elif action is not None and retrain == "event":
        request = _request(model, action, checked, decisive, as_of)
    # Before the batches count as handled, so that a crash in between repeats the same events.
    announce(model, checked, observed, as_of, request)
    reach("run.announced")
    drained = _in_all(drained, released + scored)
    done = Cycle(
        model.config.model, as_of, checked, scored, observed, decided, released, problem, drained, seconds_of(do)
    )
    _record(model, done)
    return done


def _scored(do: Steps, model: Model, checked: Sequence[Checked], as_of: datetime) -> tuple[Scored, ...]:
    """Score batches, oldest first."""
    with predicting_ahead(model, checked, as_of):
        return tuple(do.score(model, c, as_of) for c in checked)


def challenge(do: Steps, model: Model, as_of: datetime, reason: Reason, in_loop: bool = False) -> Decided:
    """Train a challenger, judge it against the champion on rows neither has seen, and promote, hold or reject it.

    `in_loop` means that the run itself found the reason. One at a time for each model; retrains that no person started
    are subject to cooldown, budget and other limits, see `may_start`.
    """
    with followed(do, model, "retrain", as_of) as do:
        return concluded(do, _challenge(do, model, as_of, reason, in_loop))


def _challenge(do: Steps, model: Model, as_of: datetime, reason: Reason, in_loop: bool) -> Decided:
    upkeep(model)
    carry_out(model)
    check(model, as_of)
    if (decided := recorded_decision(model, reason, as_of)) is not None:
        return decided
    attempt = Attempt(reason, as_of, in_loop=in_loop, asked_at=model.home.now())
    with model.home.retraining(model.config.model) as alone:
        if not alone:
            return refuse(model, attempt, RUNNING)
        if (decided := recorded_decision(model, reason, as_of)) is not None:  # by another, just now
            return decided
        if (refusal := waits_for_rollout(model) or held_back(model, reason, as_of)) is not None:
            return refuse(model, attempt, refusal)
        chosen = do.plan(model, as_of)
        if isinstance(chosen, Hold):
            return do.promote(model, replace(attempt, hold=chosen.reason))
        digest = attempt_digest(model, chosen, as_of)
        if (refusal := held_back_with(model, reason, chosen, digest)) is not None:
            return refuse(model, attempt, refusal)
        if (why := not_settled(model, reason, (chosen.train, chosen.gate), as_of)) is not None:
            return do.promote(model, replace(attempt, hold=why))
        return _try(do, model, replace(attempt, digest=digest), chosen)


def _try(do: Steps, model: Model, attempt: Attempt, chosen: Plan) -> Decided:
    as_of = attempt.as_of
    close_dead_runs(model)
    try:
        if (trained := unfinished(model, attempt)) is None:
            trained = do.train(model, chosen, as_of)
            remember(model, attempt, trained)
        return judge_and_decide(do, model, attempt, trained)
    except NotEnoughData as few:
        return do.promote(model, replace(attempt, hold=str(few)))
    except StaleDecision:
        raise  # another decision was faster; the challenger is not at fault
    except Exception as error:
        with suppress(WorkError):  # the first error is the cause
            failed(model, attempt, chosen, error)
        raise


def up_to_date(do: Steps, model: Model, as_of: datetime) -> list[Checked]:
    """Ingest and validate all batches up to `as_of`."""
    return _validated(do, model, do.ingest(model, as_of), as_of)


def retrain(do: Steps, model: Model, as_of: datetime, reason: Reason) -> Decided:
    """Bring the data up to `as_of`, then challenge the champion."""
    with followed(do, model, "retrain", as_of) as do:
        newest = up_to_date(do, model, as_of)[-1].batch
        decided = challenge(do, model, as_of, reason)
        if decided.sequence is not None:
            spent = Spent(seconds_of(do))
            model.home.store.record(model.config.model, RETRAIN, newest.window, decided.sequence, as_of, spent)
        publish_after_turn(model)
    return decided


def score_newest(do: Steps, model: Model, as_of: datetime) -> Scored:
    """Bring the data up to `as_of`, and score the newest batch."""
    with followed(do, model, "score", as_of) as do:
        checked = up_to_date(do, model, as_of)
        _drained(model)
        scored: Scored = do.score(model, checked[-1], as_of)
        return concluded(do, scored)


def monitor_newest(do: Steps, model: Model, as_of: datetime) -> Observed:
    """Bring the data up to `as_of`, monitor the newest batch and those with new labels, and return the deciding one.

    The receivers of its event start a retrain.
    """
    with followed(do, model, "monitor", as_of) as do:
        return concluded(do, _monitor_newest(do, model, as_of))


def _monitor_newest(do: Steps, model: Model, as_of: datetime) -> Observed:
    upkeep(model)
    carry_out(model)
    check(model, as_of)
    batches = do.ingest(model, as_of)
    every = _validated(do, model, batches, as_of)
    matured = to_watch_again(model, batches, as_of) + _unanswered(model, batches, as_of)
    checked = [c for c in every if c.batch in matured or c is every[-1]]
    observed = [do.monitor(model, c, as_of) for c in checked]
    decisive = _decisive(model, observed)
    unanswered = {b.window for b in _unanswered(model, batches, as_of)}
    open_request = decisive is not None and decisive.window in unanswered
    action = (
        next_action(State(True, decisive.findings, model.config.retrain.findings))
        if decisive and open_request
        else None
    )
    announce(model, checked, observed, as_of, _request(model, action, checked, decisive, as_of))
    publish_after_turn(model)  # the probation may have rolled the champion back
    return decisive or observed[-1]


def _unanswered(model: Model, batches: list[Batch], as_of: datetime) -> list[Batch]:
    """The batch that decides, if it requested a retrain and no decision followed; it is monitored once more."""
    look, first = model.decisive_look(as_of)
    if look is None or next_action(State(True, look.body.findings, model.config.retrain.findings)) is None:
        return []
    decided = answered(model, look, first)
    return [] if decided else [b for b in batches if (b.window, b.landed) == (look.window, look.revision)]


def _request(
    model: Model,
    action: Reason | None,
    checked: Sequence[Checked],
    decisive: Observed | None,
    as_of: datetime,
) -> Event | None:
    """The event that requests a retrain because of the deciding batch."""
    if action is None or decisive is None:
        return None
    about = next(c for c in checked if c.batch.window == decisive.window)
    return retrain_event(model, action, about, decisive, as_of)


def _begun(model: Model, unhandled: Sequence[Checked], as_of: datetime) -> dict[Window, datetime]:
    """`as_of` of each monitoring result of the current champion that an interrupted run left behind.

    `monitor` called with it returns the stored result, unless labels were missing and may have arrived since.
    """
    looks = model.last_looks()
    pairs = ((c, looks.get(c.batch.window)) for c in unhandled)
    return {
        c.batch.window: look.as_of
        for c, look in pairs
        if look
        and (look.revision, look.basis) == (c.batch.landed, c.basis)
        and look.as_of < as_of
        and not look.body.waits
    }


def _decisive(model: Model, observed: Sequence[Observed]) -> Observed | None:
    """The batch just monitored that decides: the newest one with a conclusive diagnosis.

    Returns None if a newer batch was monitored before with a better-known result. Without a conclusive one it is the
    newest, because the champion's age is known without labels. A broken batch says nothing about the champion, so it
    decides only if no other batch was monitored.
    """
    conclusive_before = [w for w, look in model.last_looks().items() if look.body.diagnosis not in SILENT]
    conclusive = [o for o in observed if o.diagnosis not in SILENT]
    sound = [o for o in observed if o.diagnosis != DATA_BROKEN]
    latest = max((conclusive or sound or observed), key=lambda o: o.window)
    return None if any(window > latest.window for window in conclusive_before) else latest


def _drained(model: Model) -> Drained | None:
    """Store what servers predicted, before a batch is scored: the first prediction served counts. None without `serve`."""
    return drain(model) if model.config.serve is not None else None


def _in_all(drained: Drained | None, scored: Sequence[Scored]) -> Drained | None:
    """The counts of a drain, and of those while batches were scored."""
    meanwhile = [one.drained for one in scored if one.drained is not None]
    return drained if drained is None else sum(meanwhile, drained)


def _validated(do: Steps, model: Model, batches: list[Batch], as_of: datetime) -> list[Checked]:
    """Validate all batches by the current rules; only new judgements are made."""
    earlier = model.validations(batches)
    return [earlier.get(b.window) or do.validate(model, b, as_of) for b in batches]


def _unhandled(model: Model, checked: list[Checked]) -> list[Checked]:
    """Batches that no run has completed: new ones, new revisions, and those with another validation now."""
    handled = {(r.window, r.revision, r.basis) for r in model.home.store.results(model.config.model, RUN, NoneType)}
    return [c for c in checked if (c.batch.window, c.batch.landed, c.basis) not in handled]


def _decided_before(model: Model, as_of: datetime) -> Decided:
    """The first promotion, if a crash came between it and the end of its run; otherwise no decision."""
    current = model.champion()
    if current is None or current.epoch != 1 or current.promoted_as_of != as_of:
        return Decided("none", ())
    return recorded_decision(model, "first", as_of) or Decided("none", ())


def _record(model: Model, done: Cycle) -> None:
    """Mark the batches as handled, the newest last: a crash in between only repeats the run."""
    for checked in done.batches:
        batch = checked.batch
        model.home.store.record(model.config.model, RUN, batch.window, batch.landed, done.as_of, done, checked.basis)


def _recorded(model: Model, checked: list[Checked], as_of: datetime) -> Cycle:
    """The last run up to `as_of` that handled the present batches; for an earlier moment, the newest batch's."""
    there = {(c.batch.window, c.batch.landed, c.basis) for c in checked}
    handled = model.home.store.results(model.config.model, RUN, NoneType)
    same_batches = [r for r in handled if (r.window, r.revision, r.basis) in there]
    runs = [r for r in same_batches if r.as_of <= as_of] or [
        r for r in same_batches if r.window == checked[-1].batch.window
    ]
    last = sorted(runs, key=lambda r: (r.as_of, r.window))[-1]  # of equal ones the last recorded
    of_window = model.home.store.results(model.config.model, RUN, Cycle, last.window)
    same = [r for r in of_window if (r.revision, r.as_of, r.basis) == (last.revision, last.as_of, last.basis)]
    return same[-1].body
