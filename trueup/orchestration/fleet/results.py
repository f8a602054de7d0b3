"""The results of a fleet's turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trueup.errors import Busy, TrueupError

if TYPE_CHECKING:
    from trueup.handoffs import Cycle

NOTHING_NEW, MONITORED, BROKEN, BUSY, FAILED, NOT_RUN = (
    "nothing_new",
    "monitored",
    "broken",
    "busy",
    "failed",
    "not_run",
)


@dataclass(frozen=True)
class Turned:
    """The end of one model's turn.

    `outcome` is the decision's (such as promoted or held), or without a decision `monitored` or `nothing_new`; `broken`
    for a broken batch, `busy` while another run is at work, `failed`, or `not_run` after an interruption.
    """

    model: str
    outcome: str
    seconds: float = 0.0
    message: str = ""
    exit_code: int = 0

    @classmethod
    def of(cls, done: Cycle, worked: bool, seconds: float) -> Turned:
        """The end of a turn, which `worked` unless there was nothing new."""
        if done.problem is not None and worked:
            return cls(done.model, FAILED, seconds, done.problem, 1)
        if done.broken and worked:
            reasons = dict.fromkeys(reason for c in done.batches if not c.usable for reason in c.reasons)
            return cls(done.model, BROKEN, seconds, "; ".join(reasons), 1)
        if not worked:
            return cls(done.model, NOTHING_NEW, seconds)
        if done.decided.outcome == "none":
            diagnoses = [f"{o.window}: {o.diagnosis}" for o in done.observed[-1:]]
            return cls(done.model, MONITORED, seconds, "; ".join(diagnoses))
        version = f"version {done.decided.version}: " if done.decided.version else ""
        return cls(done.model, done.decided.outcome, seconds, version + "; ".join(done.decided.reasons))

    @classmethod
    def failed(cls, model: str, error: TrueupError, seconds: float = 0.0) -> Turned:
        """The end of a turn that raised an error. A busy model is no failure, because the other run does its work."""
        if isinstance(error, Busy):
            return cls(model, BUSY, seconds, str(error))
        return cls(model, FAILED, seconds, str(error), error.exit_code)


@dataclass(frozen=True)
class Fleet:
    """The turns of all chosen models, in the order in which they were to run."""

    models: tuple[Turned, ...]
    counts: dict[str, int]  # models by outcome
    seconds: float
    exit_code: int  # the worst of the models

    @classmethod
    def of(cls, turns: Iterable[Turned], seconds: float) -> Fleet:
        """The summary of turns."""
        listed = tuple(turns)
        counts = dict(Counter(turn.outcome for turn in listed).most_common())
        return cls(listed, counts, seconds, max((turn.exit_code for turn in listed), default=0))
