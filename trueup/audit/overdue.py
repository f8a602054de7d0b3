"""Audits the models: approvals that wait or expired, and models that are no longer retrained."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from trueup.audit.finding import Finding, Unchecked
from trueup.config.durations import later, write_duration
from trueup.domain.retraining.limits import CLEARED
from trueup.governance.approval import expires_at, undecided
from trueup.ledger.entries import Entry
from trueup.model import Model

APPROVALS, RETRAINS = "approvals", "retrains"
_EXPIRED: Final = "expired"  # how an approval closed that nobody decided
_MISSED: Final = 2  # intervals without a retrain


def approvals(model: Model) -> Iterator[Finding]:
    """Approvals that wait for a person, and the last one if it expired and nothing followed."""
    name = model.config.model
    for entry, late in undecided(model):
        waits = f"version {entry.body.version} has waited for approval since {entry.recorded_at:%Y-%m-%d %H:%M} UTC"
        if late is None:
            until = expires_at(entry)
            step = f"trueup approve {entry.seq} --by NAME, or trueup reject {entry.seq} --by NAME --why TEXT"
            yield Finding(
                APPROVALS, f"{waits} (entry {entry.seq}); it expires at {until:%Y-%m-%d %H:%M} UTC", step, name
            )
        else:
            yield Finding(APPROVALS, f"{waits} (entry {entry.seq}), and is too late: {late[1]}", _again(name), name)
    trained = [e for e in model.home.ledger.entries(name) if e.body.model is not None]
    last = trained[-1] if trained else None
    if last is not None and last.body.approval is not None and last.body.approval.closed == _EXPIRED:
        when = f"{last.recorded_at:%Y-%m-%d}"
        what = f"the approval of version {last.body.version} expired (entry {last.seq} of {when}), and nothing followed"
        yield Finding(APPROVALS, what, _again(name), name)


def stopped(model: Model) -> Iterator[Finding]:
    """Whether retrains were refused after too many rejections, and nothing followed."""
    name, entries = model.config.model, model.home.ledger.entries(model.config.model)
    refused = [e.seq for e in entries if e.body.rule == "rejections"]
    after = [e.seq for e in entries if e.body.model is not None or e.kind == CLEARED]
    if refused and refused[-1] > max(after, default=0):
        reason = next(e.body.reasons[0] for e in entries if e.seq == refused[-1])
        yield Finding(RETRAINS, f"{reason} (entry {refused[-1]})", f"trueup clear {name} --by NAME", name)


def retrains(model: Model) -> Finding | Unchecked | None:
    """Whether a model is no longer retrained; None if it is.

    By the wall clock, the newest model that was trained or received must not be older than `retrain.overdue_after`, by default
    twice `retrain.every` or `monitor.stale_after`.
    """
    name = model.config.model
    if model.champion() is None:
        return Unchecked(RETRAINS, f"{name} has no champion yet; see `trueup check {name} --rehearse`", name)
    newest = _newest(model.home.ledger.entries(name))
    config = model.config.retrain
    spans = [s for s in (config.every, model.config.monitor.stale_after) if s is not None]
    if config.overdue_after is None and not spans:
        why = "no config says how often it is retrained; set retrain.overdue_after"
        return Unchecked(RETRAINS, f"{name}: {why}", name)
    if config.overdue_after is not None:
        due, told = (
            later(newest, config.overdue_after),
            f"retrain.overdue_after is {write_duration(config.overdue_after)}",
        )
    else:
        due, span = min((_after(newest, span, _MISSED), span) for span in spans)
        told = f"it should be every {write_duration(span)}"
    if model.home.now() < due:
        return None
    step = f"trueup status {name}, then trueup run {name}; are its deployments running?"
    return Finding(RETRAINS, f"no model was trained since {newest:%Y-%m-%d %H:%M} UTC; {told}", step, name)


def _after(moment: datetime, span: timedelta, times: int) -> datetime:
    for _ in range(times):
        moment = later(moment, span)
    return moment


def _newest(entries: list[Entry]) -> datetime:
    """When the newest model was first decided on: later entries about it only repeat it."""
    first = dict[str, datetime]()
    for entry in entries:
        if entry.body.model is not None:
            first.setdefault(entry.body.model.run_id, entry.recorded_at)
    return max(first.values())


def _again(name: str) -> str:
    return f"trueup retrain {name}"
