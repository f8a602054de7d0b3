"""What the figures are made of: read once for a home, then only what was recorded since."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from trueup.adapters.store.results import Result
from trueup.home import Home
from trueup.ledger.entries import Receiver, Waiting
from trueup.metrics.seen import Line, Seen, SeenTurn
from trueup.metrics.standing import Standing
from trueup.metrics.tail import Tail
from trueup.model import MONITOR, RETRAIN, RUN

_FIRST, _LOOKED_BACK = 3, 24  # results in which the newest judged batch and estimate are looked for


@dataclass
class Recent:
    """The newest results of one model, oldest first."""

    looks: list[Result[Seen]] = field(default_factory=list)
    turn: Result[SeenTurn] | None = None
    turned_at: datetime | None = None  # wall clock, UTC, without offset
    retrain: Result[SeenTurn] | None = None

    @property
    def newest(self) -> Result[Seen] | None:
        """The newest result of the newest monitored batch."""
        return self.looks[-1] if self.looks else None

    @property
    def judged(self) -> Result[Seen] | None:
        """The newest result in which the skill is known of the version that served; None without one among the last."""
        return next((r for r in reversed(self.looks) if r.body.skill is not None), None)


class Reader:
    """Reads ledger and store of a home. Not for several threads at once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._standings: dict[str, Standing] = {}
        self._recent: dict[str, Recent] = {}
        self._tail = Tail()
        self._unread: set[str] = set()  # models with results that are not read yet, such as after an error
        self.entries = self.unsigned = 0
        self.waiting: Mapping[tuple[str, Receiver], Waiting] = {}
        self.told: Mapping[Receiver, bool] = {}

    def look(self, names: Collection[str]) -> None:
        """Read what was recorded since the last call about these models. Raises LedgerError and WorkError as the home does."""
        if self._tail.was_replaced(self._home):
            self._standings, self._recent = {}, {}
            self.entries = self.unsigned = 0
        self._unread |= set(names) - set(self._recent)
        self._unread |= set(names) if (recorded := self._tail.recorded(self._home)) is None else recorded
        for entry in self._tail.entries(self._home):
            line = Line.of(entry)
            self._standings.setdefault(entry.model, Standing()).lines.append(line)
            self.entries += 1
            self.unsigned += not line.signed
        for name in self._unread & set(names):
            self._recent[name] = self._newest(name)
            self._unread.discard(name)
        self.waiting, self.told = self._home.ledger.waiting(), self._home.ledger.has_told()

    def standing(self, model: str) -> Standing:
        """What the ledger says of a model."""
        return self._standings.get(model, Standing())

    def recent(self, model: str) -> Recent:
        """The newest results of a model."""
        return self._recent.get(model, Recent())

    def _newest(self, name: str) -> Recent:
        store = self._home.store
        turn = store.newest_results(name, RUN, SeenTurn, 1)
        retrain = store.newest_results(name, RETRAIN, SeenTurn, 1)
        looks = store.newest_results(name, MONITOR, Seen, _FIRST)
        if len(looks) == _FIRST and not _tell_all([look.body for look in looks]):
            looks = store.newest_results(name, MONITOR, Seen, _LOOKED_BACK)
        return Recent(
            looks,
            turn[0] if turn else None,
            store.last_recorded_at(name, RUN) if turn else None,
            retrain[0] if retrain else None,
        )


def _tell_all(looks: list[Seen]) -> bool:
    """Whether some results have a skill, and a compared estimate if there are estimates: reading more takes a while."""
    estimates = [look.estimate for look in looks if look.estimate is not None]
    return any(look.skill for look in looks) and (not estimates or any(estimate.check for estimate in estimates))
