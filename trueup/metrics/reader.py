"""What the figures are made of: read once for a home, then only what was recorded since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from trueup.adapters.store.results import Result
from trueup.home import Home
from trueup.ledger.entries import Receiver, Waiting
from trueup.metrics.seen import Line, Seen, SeenTurn
from trueup.metrics.standing import Standing
from trueup.model import MONITOR, RETRAIN, RUN

_FIRST, _LOOKED_BACK = 3, 24  # results in which the newest judged batch and estimate are looked for
_AT_ONCE: Final = 500  # entries that are read together
_OVERLAP: Final = 200  # numbers below the newest that may still become visible: transactions end in any order


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
        self._seq = self._number = 0
        self._seen: set[int] = set()
        self.entries = self.unsigned = 0
        self.waiting: Mapping[tuple[str, Receiver], Waiting] = {}
        self.told: Mapping[Receiver, bool] = {}

    def look(self) -> None:
        """Read what was recorded since the last call. Raises LedgerError and WorkError as the home does."""
        if self._home.ledger.newest() < self._seq or self._home.store.last_recorded() < self._number:
            self._forget()  # the database was replaced by an older one
        self._read_ledger()
        self._read_results()
        self.waiting, self.told = self._home.ledger.waiting(), self._home.ledger.has_told()

    def standing(self, model: str) -> Standing:
        """What the ledger says of a model."""
        return self._standings.get(model, Standing())

    def recent(self, model: str) -> Recent:
        """The newest results of a model."""
        return self._recent.get(model, Recent())

    def _forget(self) -> None:
        self._standings, self._recent, self._seen = {}, {}, set()
        self._seq = self._number = self.entries = self.unsigned = 0

    def _read_ledger(self) -> None:
        while entries := self._home.ledger.since(self._seq, _AT_ONCE):
            for entry in entries:
                line = Line.of(entry)
                self._standings.setdefault(entry.model, Standing()).lines.append(line)
                self.entries += 1
                self.unsigned += not line.signed
            self._seq = entries[-1].seq

    def _read_results(self) -> None:
        recorded = self._home.store.recorded_since(max(self._number - _OVERLAP, 0))
        changed = {name for number, name in recorded.items() if number not in self._seen}
        self._number = max(recorded, default=self._number)
        self._seen = set(sorted(recorded)[-2 * _OVERLAP :])
        for name in changed:
            self._recent[name] = self._newest(name)

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
