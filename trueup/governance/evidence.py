"""Evidence: what decisions rest on, by name, and which decisions are still kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trueup.adapters.store import Store
from trueup.governance.approval import open_approvals
from trueup.governance.ledger_queries import versions_of
from trueup.governance.rollback import last_good
from trueup.handoffs import baseline_name, sample_name
from trueup.ledger.entries import PROMOTION, Entry
from trueup.model import Model

_SLACK = timedelta(days=1)  # between a retrain's first look at the data and its record


@dataclass(frozen=True)
class Evidence:
    """What the entries of a model name."""

    runs: frozenset[str] = frozenset()  # of MLflow
    versions: frozenset[int] = frozenset()
    evaluations: frozenset[str] = frozenset()  # paths relative to the home
    texts: frozenset[str] = frozenset()  # digests of configs and of functions beside them
    judged_at: tuple[datetime, ...] = ()  # when decisions were recorded that had looked at data

    def may_rest_on(self, landed_at: datetime, superseded_at: datetime) -> bool:
        """Whether a revision that was the newest between two moments may have been looked at for a decision."""
        return any(landed_at - _SLACK <= moment <= superseded_at + _SLACK for moment in self.judged_at)


def named(entries: Iterable[Entry]) -> Evidence:
    """All that entries name."""
    runs, versions, evaluations, moments = set[str](), set[int](), set[str](), list[datetime]()
    texts = set[str]()
    for entry in entries:
        body: dict[str, Any] = entry.body
        model, judged = body.get("model"), body.get("judged")
        for part in (model, judged, body.get("previous"), body.get(PROMOTION)):
            if part:
                versions.add(int(part["version"]))
        if not model:
            continue
        moments.append(entry.recorded_at)
        texts |= {digest for digest in (body.get("recorded") or {}).values() if digest}
        runs.add(model["run_id"])
        evaluations |= {model["baseline_path"], Store.evaluation_path(sample_name(model["run_id"]))}
        if judged:  # the refitted model's baseline is another than that of the one that was judged
            evaluations.add(Store.evaluation_path(baseline_name(judged["manifest_digest"])))
        if evaluation := body.get("evaluation"):
            evaluations.add(evaluation["path"])
        if evidence := body.get("evidence"):
            evaluations.add(evidence["path"])
    return Evidence(frozenset(runs), frozenset(versions), frozenset(evaluations), frozenset(texts), tuple(moments))


def kept(model: Model) -> Evidence:
    """What must be kept of a model: what is named within `retention.decisions`, or needed whatever its age.

    That is the champion in office, the last good one, and what waits for an approval. Entries that took over what an
    earlier one recorded, such as a rollback, keep that one too.
    """
    entries = {entry.seq: entry for entry in model.home.ledger.entries(model.config.model)}
    oldest = model.home.now() - model.config.retention.decisions
    wanted = {seq for seq, entry in entries.items() if entry.recorded_at >= oldest}
    wanted |= {entry.seq for entry in open_approvals(model)}
    current = model.home.ledger.champion(model.config.model)
    needed = {v for v in (current.version if current else None, last_good(model)) if v is not None}
    wanted |= {seq for seq, entry in entries.items() if needed & versions_of(entry)}
    while more := {seq for each in wanted for seq in _rests_on(entries[each]) if seq in entries} - wanted:
        wanted |= more
    return named(entries[seq] for seq in sorted(wanted))


def _rests_on(entry: Entry) -> set[int]:
    """Entries whose record an entry took over."""
    approval = entry.body.get("approval") or {}
    return {seq for seq in (entry.body.get("evidence_of"), approval.get("pending")) if seq is not None}
