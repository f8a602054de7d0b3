"""Evidence: the runs, versions and files that decisions name, and those that must still be kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from trueup.adapters.store import Store
from trueup.governance.approval import open_approvals
from trueup.governance.ledger_queries import versions_of
from trueup.governance.rollback import last_good
from trueup.governance.rollouts import all_under_way
from trueup.handoffs import baseline_name, sample_name
from trueup.ledger.entries import Entry
from trueup.model import Model

_SLACK = timedelta(days=1)  # between a retrain's first look at the data and its record


@dataclass(frozen=True)
class Evidence:
    """The files and runs that the entries of a model name."""

    runs: frozenset[str] = frozenset()  # of MLflow
    versions: frozenset[int] = frozenset()
    evaluations: frozenset[str] = frozenset()  # paths relative to the home
    texts: frozenset[str] = frozenset()  # digests of configs and of functions beside them
    judged_at: tuple[datetime, ...] = ()  # when decisions about data were recorded

    def may_rest_on(self, landed_at: datetime, superseded_at: datetime) -> bool:
        """Whether a decision may have read a revision that was the newest between two moments."""
        return any(landed_at - _SLACK <= moment <= superseded_at + _SLACK for moment in self.judged_at)


def named(entries: Iterable[Entry]) -> Evidence:
    """Everything that entries name."""
    runs, versions, evaluations, moments = set[str](), set[int](), set[str](), list[datetime]()
    texts = set[str]()
    for entry in entries:
        body = entry.body
        versions |= {p.version for p in (body.model, body.judged, body.previous, body.promotion) if p}
        if (model := body.model) is None:
            continue
        moments.append(entry.recorded_at)
        texts |= {digest for digest in body.recorded.values() if digest}
        runs.add(model.run_id)
        evaluations |= {model.baseline_path, Store.evaluation_path(sample_name(model.run_id))}
        if body.judged:  # the refitted model's baseline is another than that of the one that was judged
            evaluations.add(Store.evaluation_path(baseline_name(body.judged.manifest_digest)))
        evaluations |= {part.path for part in (body.evaluation, body.evidence) if part}
    return Evidence(frozenset(runs), frozenset(versions), frozenset(evaluations), frozenset(texts), tuple(moments))


def kept(model: Model) -> Evidence:
    """The evidence that must be kept of a model: named by entries within `retention.decisions`, or needed at any age.

    The latter is the champion, the last good one, open approvals, and rollouts under way. An entry that carries over an
    earlier one's record, such as a rollback, keeps that one, too.
    """
    entries = {entry.seq: entry for entry in model.home.ledger.entries(model.config.model)}
    oldest = model.home.now() - model.config.retention.decisions
    wanted = {seq for seq, entry in entries.items() if entry.recorded_at >= oldest}
    wanted |= {entry.seq for entry in open_approvals(model)} | {r.start.seq for r in all_under_way(model)}
    current = model.home.ledger.champion(model.config.model)
    needed = {v for v in (current.version if current else None, last_good(model)) if v is not None}
    wanted |= {seq for seq, entry in entries.items() if needed & versions_of(entry)}
    while more := {seq for each in wanted for seq in _rests_on(entries[each]) if seq in entries} - wanted:
        wanted |= more
    return named(entries[seq] for seq in sorted(wanted))


def _rests_on(entry: Entry) -> set[int]:
    """The entries that an entry carries over."""
    approval, rollout = entry.body.approval, entry.body.rollout
    carried = (entry.body.evidence_of, approval.pending if approval else None, rollout.start if rollout else None)
    return {seq for seq in carried if seq is not None}
