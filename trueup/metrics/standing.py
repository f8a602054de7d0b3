"""What the ledger says of one model: its champion, its counts, and what waits for a person."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from trueup.domain.retraining.limits import CLEARED, Step, rejections
from trueup.governance.rollouts import ROLLOUT
from trueup.metrics.seen import Line, SeenEvaluation

_PENDING, _CLOSED = "pending", ":closed"  # the kind of an open approval, and the end of the id that closes it


@dataclass(frozen=True)
class Serving:
    """The champion: its version and epoch, when it was promoted (wall clock, UTC), and its figures at the gate."""

    version: int
    epoch: int
    promoted_at: datetime
    evaluation: SeenEvaluation | None


@dataclass
class Standing:
    """The entries of one model, oldest first, and what follows from them."""

    lines: list[Line] = field(default_factory=list)

    @property
    def outcomes(self) -> Counter[str]:
        """The number of decisions by outcome."""
        return Counter(line.kind for line in self.lines)

    @property
    def serving(self) -> Serving | None:
        """The champion, None before the first promotion."""
        for line in reversed(self.lines):
            if (p := line.body.promotion) is not None:
                return Serving(p.version, p.epoch, line.recorded_at, line.body.evaluation)
        return None

    def open_approval(self, now: datetime) -> Line | None:
        """The challenger that waits for a person and can still be decided: the newest, before it expires."""
        closed = {line.decision_id for line in self.lines}
        waiting = [e for e in self.lines if e.kind == _PENDING and f"{e.decision_id}{_CLOSED}" not in closed]
        if not waiting or (terms := waiting[-1].body.approval) is None:
            return None
        epoch = 0 if (serving := self.serving) is None else serving.epoch
        expired = now >= waiting[-1].recorded_at + timedelta(seconds=terms.expires_after_seconds)
        return None if expired or epoch != terms.expected_epoch else waiting[-1]

    @property
    def rollout_step(self) -> int:
        """The step of the rollout under way, 0 is the shadow; -1 without one."""
        newest = {line.seq: line for line in self.lines if line.kind == ROLLOUT}
        for line in self.lines:
            if (state := line.body.rollout) is not None and state.start in newest:
                newest[state.start] = line
        states = (line.body.rollout for line in newest.values())
        return next((s.step for s in states if s is not None and s.ended is None), -1)

    @property
    def rejections(self) -> int:
        """The challengers that failed in a row. What another home sent counts only if it was promoted."""
        own = [e for e in self.lines if e.body.received is None or e.body.promotion]
        return rejections([Step(e.kind, e.as_of) for e in own])

    @property
    def stopped(self) -> bool:
        """Whether retrains were refused after too many rejections, and nothing followed."""
        refused = max((e.seq for e in self.lines if e.body.rule == "rejections"), default=0)
        after = max((e.seq for e in self.lines if e.body.model is not None or e.kind == CLEARED), default=0)
        return refused > after
