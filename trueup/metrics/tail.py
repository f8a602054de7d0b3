"""What was recorded in a home since the last look, for the metrics and the live page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trueup.home import Home
from trueup.ledger.entries import Entry

_AT_ONCE: Final = 500  # entries that are read together
_OVERLAP: Final = 200  # numbers below the newest that may still become visible: transactions end in any order


class Tail:
    """The place in the ledger and the store up to which a home was read. Not for several threads at once."""

    def __init__(self) -> None:
        self._seq = 0
        self._number: int | None = None  # of the newest result; None before the first look
        self._seen: set[int] = set()

    def was_replaced(self, home: Home) -> bool:
        """Whether an older or another home took the place of the one that was read; reading begins anew then."""
        if home.ledger.newest() >= self._seq and (not self._number or home.store.last_recorded() >= self._number):
            return False
        self._seq, self._number, self._seen = 0, None, set()
        return True

    def entries(self, home: Home) -> Iterator[Entry]:
        """The entries after those of the last call, oldest first."""
        while entries := home.ledger.since(self._seq, _AT_ONCE):
            for entry in entries:
                yield entry
                self._seq = entry.seq  # after it was used: one that fails comes again, and none comes twice

    def recorded(self, home: Home) -> set[str] | None:
        """The models with results after those of the last call; None at the first call: any may have some.

        To list the results of years would take longer than to read the newest of each model.
        """
        if self._number is None:
            self._number = home.store.last_recorded()
            self._seen = set(home.store.recorded_since(max(self._number - _OVERLAP, 0)))
            return None
        recorded = home.store.recorded_since(max(self._number - _OVERLAP, 0))
        names = {name for number, name in recorded.items() if number not in self._seen}
        self._number = max(recorded, default=self._number)
        self._seen = set(sorted(recorded)[-2 * _OVERLAP :])
        return names
