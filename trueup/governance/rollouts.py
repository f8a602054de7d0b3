"""Rollouts in the ledger: which one is under way, at which step, and how one begins.

A challenger that passed begins a rollout with an entry of kind `rollout`, which has its whole record. Every later entry
of the rollout has an id made of the start's id and its own number. The ledger admits one entry an id, so of two changes
at once one wins, and nothing follows the end. `rollout` makes the changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from trueup.config.schema import ModelConfig
from trueup.config.sections.promotion import RolloutConfig
from trueup.domain.judging.rollout import step_words
from trueup.domain.types import Status
from trueup.errors import LedgerError, UsageError
from trueup.home import Home
from trueup.ledger.entries import ChampionRecord, Entry
from trueup.ledger.record import Fitted, Record, RolloutState
from trueup.model import Champion, Model, champion_of

ROLLOUT: Final = "rollout"  # the kind of the entry with which one begins
ADVANCED, PAUSED, RESUMED = "rollout_advanced", "rollout_paused", "rollout_resumed"
_ENDS: Final = frozenset({"promoted", "rejected", "held"})
CHANGES: Final = frozenset({ADVANCED, PAUSED, RESUMED})  # kinds of entries between its start and its end


@dataclass(frozen=True)
class UnderWay:
    """A rollout that has not ended: its first entry and its newest one."""

    start: Entry
    newest: Entry

    @property
    def state(self) -> RolloutState:
        """The newest recorded state."""
        return state_of(self.newest)

    @cached_property
    def config(self) -> RolloutConfig:
        """The rules with which it began: a later change of the config is for the next rollout."""
        return RolloutConfig.model_validate(self.state.rules)

    @property
    def fitted(self) -> Fitted:
        """The challenger."""
        return self.start.challenge.model

    @property
    def step(self) -> int:
        """The present step: 0 is the shadow."""
        return self.state.step

    @property
    def share(self) -> float:
        """The share of keys that the challenger answers."""
        return share_at(self.config, self.step)

    @property
    def deadline(self) -> datetime:
        """When it ends as inconclusive, by the wall clock (UTC)."""
        return self.start.recorded_at + self.config.deadline

    @property
    def words(self) -> str:
        """The challenger and its step in words."""
        paused = ", paused" if self.state.paused else ""
        return f"version {self.fitted.version} in {step_words(self.config, self.step)}{paused}"

    def challenger(self) -> Champion:
        """The challenger, as the champion that it would be."""
        fitted, epoch = self.fitted, self.state.expected_epoch + 1
        return champion_of(ChampionRecord(self.start.model, epoch, fitted.version, fitted.manifest_digest, self.start))


def share_at(config: RolloutConfig, step: int) -> float:
    """The share of keys that the challenger answers at a step."""
    return config.canary[step - 1].share if step else 0.0


def first_state(rules: RolloutConfig, version: int, epoch: int) -> Record:
    """The part of the entry with which a rollout begins, beside the whole record of the challenger."""
    state = RolloutState(
        change=0,
        start=None,
        version=version,
        expected_epoch=epoch,
        step=0,
        paused=False,
        rules=rules.model_dump(mode="json"),
    )
    return Record(rollout=state)


def rules_for(config: ModelConfig, epoch: int) -> RolloutConfig | None:
    """The rollout that a challenger has to pass; None for none, and for the first champion, which replaces nobody."""
    return config.promote.rollout if epoch else None


def under_way(model: Model) -> UnderWay | None:
    """The rollout of a model that has not ended, or None. Of several the oldest: `rollout.settle` ends the others."""
    return next(iter(all_under_way(model)), None)


def all_under_way(model: Model) -> list[UnderWay]:
    """The rollouts that have not ended, oldest first."""
    return _open(model.home.ledger.entries(model.config.model))


def require_under_way(model: Model) -> UnderWay:
    """The rollout of a model that has not ended. Raises UsageError without one."""
    if (current := under_way(model)) is None:
        raise UsageError(
            f"{model.config.model}: no rollout is under way; one begins when a challenger passes and the config has "
            f"`promote.rollout`; `trueup ledger show {model.config.model}` lists the earlier ones"
        )
    return current


def require_none(model: Model) -> None:
    """Raise UsageError if a rollout is under way: there is one at a time."""
    if (current := under_way(model)) is not None:
        raise UsageError(
            f"{model.config.model}: a rollout is under way ({current.words}); nothing was changed; wait until it has "
            f"ended, or end it: trueup rollout abort {model.config.model} --by NAME --why TEXT"
        )


def end_of(home: Home, start: Entry) -> Entry | None:
    """The entry with which a rollout ended; None while it is under way, and for entries of another kind."""
    if start.kind != ROLLOUT:
        return None
    states = ((e, e.body.rollout) for e in home.ledger.entries(start.model) if e.seq > start.seq)
    return next((e for e, state in states if state and state.start == start.seq and state.ended), None)


def ended(home: Home, model: str) -> dict[str, int]:
    """How many rollouts have ended, by outcome; those rolled back by the limit that was exceeded."""
    counts = Counter[str]()
    for entry in home.ledger.entries(model):
        if entry.kind in _ENDS and (state := entry.body.rollout) is not None and state.ended is not None:
            failed = next((v.check for v in state.verdicts if v.status is Status.FAIL), None)
            counts[failed if state.ended == "rolled_back" and failed else state.ended] += 1
    return dict(sorted(counts.items()))


def state_of(entry: Entry) -> RolloutState:
    """The state of a rollout in an entry. Raises LedgerError for an entry about none."""
    if entry.body.rollout is None:
        raise LedgerError(f"ledger entry {entry.seq} ({entry.kind}) is about no rollout")
    return entry.body.rollout


def _open(entries: list[Entry]) -> list[UnderWay]:
    starts = {e.seq: e for e in entries if e.kind == ROLLOUT}
    newest = dict(starts)
    for entry in entries:
        later = starts and entry.seq > min(starts)  # reading a body takes a while
        if later and (state := entry.body.rollout) is not None and state.start is not None:
            newest[state.start] = entry
    return [UnderWay(start, newest[seq]) for seq, start in starts.items() if state_of(newest[seq]).ended is None]
