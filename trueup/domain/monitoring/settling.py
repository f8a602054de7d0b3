"""Determines when something unusual has become usual: somebody confirmed it, or it lasted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from trueup.domain.types import Window

Odd = Mapping[Window, Collection[str]]  # the unusual columns of each batch


def unsettled(
    batches: Sequence[Window], odd: Odd, confirmed: Collection[Window], settle: int
) -> dict[Window, set[str]]:
    """The batches that are still unusual, by column: all except those that were confirmed, or that lasted.

    `batches` are a stream's, in the order of time. A column that was unusual in `settle` consecutive batches has become
    usual, and so have all batches of that streak.
    """
    left = {w: set(odd[w]) for w in batches if odd.get(w) and w not in confirmed}
    for streak, column in _streaks(batches, left):
        if len(streak) >= settle:
            for window in streak:
                left[window].discard(column)
    return {w: columns for w, columns in left.items() if columns}


def fresh(batches: Sequence[Window], odd: Odd, confirmed: Collection[Window], settle: int) -> dict[Window, set[str]]:
    """The unsettled batches since which fewer than `settle` have come, itself included.

    A single unusual batch does not count for ever, because training cannot wait for a confirmation that never comes.

    >>> from datetime import datetime, timedelta
    >>> days = [Window(datetime(2024, 1, d), datetime(2024, 1, d + 1)) for d in range(1, 6)]
    >>> len(fresh(days[:4], {days[3]: {"x"}}, (), 3)), len(fresh(days, {days[2]: {"x"}}, (), 3))
    (1, 0)
    """
    left = unsettled(batches, odd, confirmed, settle)
    newest = set(batches[max(len(batches) - settle + 1, 0) :])
    columns_of: dict[Window, set[str]] = {}
    for streak, column in _streaks(batches, left):
        if streak[0] in newest:
            for window in streak:
                columns_of.setdefault(window, set()).add(column)
    return columns_of


def _streaks(batches: Sequence[Window], odd: Odd) -> list[tuple[list[Window], str]]:
    """Consecutive batches that are unusual in the same column."""
    ended, going = list[tuple[list[Window], str]](), dict[str, list[Window]]()
    for window in batches:
        now = {column: [*going.get(column, []), window] for column in odd.get(window, ())}
        ended += [(streak, column) for column, streak in going.items() if column not in now]
        going = now
    return [*ended, *((streak, column) for column, streak in going.items())]
