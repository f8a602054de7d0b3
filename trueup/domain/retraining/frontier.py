"""Choose among policies by loss against cost, with the uncertainty of the choice.

All policies judged the same rows, so they are compared by blocks of time, pair by pair (see `bootstrap`). A choice of
the best of many is optimistic on the rows that made it. So the first part of the time makes the choice, and the rest
measures its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trueup.domain.judging.bootstrap import MIN_BLOCKS, Floats, Interval, sums_interval

FIRST_PART = 0.6  # share of the blocks for the choice


@dataclass(frozen=True)
class Contest:
    """Losses of policies on the same rows, summed by blocks of time: {name: (blocks,)}, rows (blocks,), and costs.

    `frozen` names the policy without retrains, if there is one.
    """

    sums: Mapping[str, Floats]
    rows: Floats
    costs: Mapping[str, float]
    confidence: float = 0.95
    frozen: str | None = None

    def part(self, chosen: slice) -> Contest:
        sums = {name: values[chosen] for name, values in self.sums.items()}
        return replace(self, sums=sums, rows=self.rows[chosen])

    def mean(self, name: str) -> float:
        """Mean loss of a row."""
        return float(self.sums[name].sum() / self.rows.sum())

    def interval(self, name: str) -> Interval:
        return sums_interval(self.sums[name], self.rows, self.confidence)

    def apart(self, one: str, other: str) -> Interval:
        """Mean loss of one minus that of the other on the same rows; below 0 the first is better."""
        return sums_interval(self.sums[one] - self.sums[other], self.rows, self.confidence)


@dataclass(frozen=True)
class Choice:
    """The chosen policy: `best` lost least on the first part, `recommended` is the cheapest not shown to be worse."""

    recommended: str
    best: str
    level: tuple[str, ...]  # all policies that are not shown to be worse than the best
    apart: Interval  # the recommended minus the best, on the first part
    withdrawn: str | None = None  # earlier choices that the rest refuted


def dominated(means: Mapping[str, float], costs: Mapping[str, float]) -> set[str]:
    """Policies for which another one has neither more loss nor more cost, and less of one of the two.

    >>> sorted(dominated({"a": 0.4, "b": 0.5, "c": 0.5}, {"a": 2.0, "b": 1.0, "c": 3.0}))
    ['c']
    """
    return {
        a
        for a in means
        if any(
            means[b] <= means[a] and costs[b] <= costs[a] and (means[b] < means[a] or costs[b] < costs[a])
            for b in means
        )
    }


def choose(contest: Contest) -> Choice:
    """Choose the cheapest policy that is not shown to lose more than the best one; of equally cheap ones the better.

    The lower bound of the paired difference shows a loss. With little time nothing is shown, and the cheapest policy is
    chosen, because spending needs a reason.
    """
    names = list(contest.sums)
    best = min(names, key=lambda n: (contest.mean(n), contest.costs[n]))
    level = tuple(n for n in names if n == best or not _worse(contest.apart(n, best)))
    recommended = min(level, key=lambda n: (contest.costs[n], contest.mean(n)))
    return Choice(recommended, best, level, contest.apart(recommended, best))


def confirmed(choice: Choice, rest: Contest) -> Choice:
    """Return the choice, or a replacement if the remaining rows show that it is worse, also if it is `frozen`.

    It is compared with `frozen` first, at the contest's confidence, then with all others, which share the error
    (Bonferroni). The replacement is the cheapest that is not shown to be worse than the best of those that beat it.
    """
    own, frozen = choice.recommended, rest.frozen
    if frozen is not None and frozen != own and _worse(rest.apart(own, frozen)):
        return replace(choice, recommended=frozen, withdrawn=own)
    others = [n for n in rest.sums if n != own]
    strict = replace(rest, confidence=1 - (1 - rest.confidence) / max(len(others), 1))
    if not (better := {n for n in others if _worse(strict.apart(own, n))}):
        return choice
    instead = choose(replace(rest, sums={n: s for n, s in rest.sums.items() if n in better}))
    return replace(choice, recommended=instead.recommended, withdrawn=own)


def _worse(apart: Interval) -> bool:
    return apart.bounds[0] is not None and apart.low > 0


def split(blocks: int) -> tuple[slice, slice] | None:
    """The part for the choice and the part for its evaluation; None if one has too few blocks."""
    cut = round(FIRST_PART * blocks)
    if min(cut, blocks - cut) < MIN_BLOCKS:
        return None
    return slice(0, cut), slice(cut, blocks)
