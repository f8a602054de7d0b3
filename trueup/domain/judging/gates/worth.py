"""The gate of features: no group of features does harm, and none costs too much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import Field

from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.gates.gate import RUNS, Gate
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Figures, Verdict

EARNS, HARMS = "earns its place", "harms"  # answers about a group; a third one is that neither is shown


class Worth(Protocol):
    """The gain of a group of features: the loss without it minus the loss with it, and its cost."""

    @property
    def group(self) -> str: ...
    @property
    def difference(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def answer(self) -> str: ...
    @property
    def ms(self) -> float | None:
        """Milliseconds that its features take for 1,000 rows."""


class Features(Gate):
    """Each group of features is worth its place. It judges what `evaluate.ablation` has measured."""

    HEADING = RUNS
    SILENT = True

    kind: Literal["features"] = "features"
    must_earn: list[str] = Field(
        default=[],
        description="Groups whose gain has to be shown: the whole interval of the loss without them minus the loss with them is above 0. Other groups only must not do harm.",
    )
    max_ms: float | None = Field(
        None, gt=0, description="Milliseconds that the features of one group may take for 1,000 rows."
    )

    def judge(self, case: Case) -> Verdict:
        """Fail for groups that do harm, cost too much, or do not show what they must; inconclusive without figures."""
        measured = {worth.group: worth for worth in case.ablation}
        if not measured:
            return self.inconclusive("the gain of the features was not measured; set evaluate.ablation")
        if unknown := sorted({*self.must_earn} - {*measured}):
            return self.inconclusive(f"no such group of features: {', '.join(unknown)}; it has {', '.join(measured)}")
        bad = [words for worth in measured.values() for words in self._problems(worth)]
        figures = {"groups": [_plain(worth) for worth in measured.values()], "max_ms": self.max_ms}
        if bad:
            return self.failed(*bad, **figures)
        return self.passed(_summary(list(measured.values())), **figures)

    def _problems(self, worth: Worth) -> list[str]:
        gain = worth.difference or 0.0
        gain_words = f"the loss without it is {figure(abs(gain), 3)} {'above' if gain > 0 else 'below'} that with it"
        found = []
        if worth.answer == HARMS:
            found.append(f"{worth.group} does harm: {gain_words}; remove it")
        elif worth.group in self.must_earn and worth.answer != EARNS:
            found.append(f"{worth.group} has shown no gain: {gain_words}, and its interval reaches 0")
        if self.max_ms is not None and worth.ms is not None and worth.ms > self.max_ms:
            cost = f"{worth.group} takes {figure(worth.ms, 3)} ms for 1,000 rows, above {figure(self.max_ms, 3)} ms"
            found.append(f"{cost}; {gain_words}")
        return found

    @classmethod
    def rule(cls, figures: Figures) -> str:
        limit = "" if figures.get("max_ms") is None else f", and none takes more than {figures['max_ms']:g} ms"
        return f"Passes when no group of features does harm{limit}."


def _plain(worth: Worth) -> dict[str, Any]:
    names = ("group", "difference", "low", "high", "answer", "ms")
    return {name: getattr(worth, name) for name in names}


def _summary(measured: Sequence[Worth]) -> str:
    earning = [worth.group for worth in measured if worth.answer == EARNS]
    rest = [worth.group for worth in measured if worth.answer != EARNS]
    said = f"worth their place: {', '.join(earning) or 'no group for sure'}"
    return f"{said}; no gain shown: {', '.join(rest)}" if rest else said
