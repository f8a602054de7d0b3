"""The base class of gates: config keys, rule, messages, and the heading in the dossier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from trueup.config.sections.gates import GateConfig
from trueup.domain.judging.gates.context import Case
from trueup.domain.types import Figures, Verdict

# The dossier's headings, in order.
SOUND, BETTER, FAIR = "Is the comparison sound?", "Is it better?", "Is it fair, and does it harm nobody?"
BEHAVES, RUNS, FURTHER = "Does it behave?", "Does it run as it should?", "Further checks"
ELSEWHERE = "Does it run elsewhere?"
HEADINGS = (SOUND, BETTER, FAIR, BEHAVES, RUNS, ELSEWHERE, FURTHER)


class Gate(GateConfig):
    """A gate. Fields are its config keys.

    The `kind` of a config names a subclass: one of the library by its name in `trueup.config.sections.gates`, one of your
    own as `module:Class`.
    """

    HEADING: ClassVar[str] = FURTHER  # in the dossier
    SILENT: ClassVar[bool] = False  # whether a pass is only a precondition, not a reason to promote

    @abstractmethod
    def judge(self, case: Case) -> Verdict:
        """Pass, fail or inconclusive, with reasons. An inconclusive verdict holds the decision."""

    @classmethod
    def rule(cls, figures: Figures) -> str:
        """The requirement of the gate as a sentence for the dossier, with the figures of a verdict."""
        del figures
        return ""

    @property
    def name(self) -> str:
        """First word of the gate's verdicts."""
        return type(self).__name__.lower() if self.own else self.kind

    @property
    def check(self) -> str:
        """The name of the gate's verdicts; the first word is `name`."""
        return self.name

    def passed(self, *reasons: str, **figures: Any) -> Verdict:
        """A pass of this gate. Figures go into the ledger: plain values."""
        return Verdict.passed(self.check, *reasons, **figures)

    def failed(self, *reasons: str, **figures: Any) -> Verdict:
        """A fail of this gate."""
        return Verdict.failed(self.check, *reasons, **figures)

    def inconclusive(self, *reasons: str, **figures: Any) -> Verdict:
        """An inconclusive verdict of this gate, with reasons."""
        return Verdict.inconclusive(self.check, *reasons, **figures)


def gate_of(check: str, gates: Iterable[GateConfig] = ()) -> type[Gate] | None:
    """The class of the gate that gave a verdict of this name: the library's, or one of `gates`; None for other checks."""
    word = check.split()[0]
    own = next((type(g) for g in gates if isinstance(g, Gate) and g.own and g.name == word), None)
    gate = own or (GateConfig.KINDS.find(word) if word in GateConfig.KINDS.shipped else None)
    return gate if gate is not None and issubclass(gate, Gate) else None
