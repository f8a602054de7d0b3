"""Decide whether a challenger may become the champion. Each gate judges the same rows and returns a verdict with reasons.

The integrity checks run before any gate, and no configuration can leave them out: verdicts on broken data would mislead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trueup.config.sections.gates import GateConfig
from trueup.domain.judging.gates.baseline import Baseline
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, NO_CHAMPION, Case
from trueup.domain.judging.gates.gate import ELSEWHERE, FURTHER, HEADINGS, RUNS, SOUND, Gate, gate_of
from trueup.domain.judging.gates.integrity import all_finite, enough_rows, no_overlap, not_identical
from trueup.domain.types import Figures, Verdict

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "HEADINGS",
    "NO_CHAMPION",
    "Case",
    "Gate",
    "Verdict",
    "heading",
    "judge",
    "rule",
    "silent",
]

# Checks that are not gates, by the first word of their names. Their passes are no reasons to promote.
_INTEGRITY = {
    "overlap": SOUND,
    "rows": SOUND,
    "finite": SOUND,
    "identical": SOUND,
    "fresh": FURTHER,
    "export": ELSEWHERE,
}


def judge(gates: Sequence[GateConfig], case: Case) -> list[Verdict]:
    """Judge a case: the integrity checks, then, if all of these pass, each configured gate in order.

    The first integrity check that does not pass is the last verdict of the list. Without a champion to compare with,
    the baseline gate always runs: some other gates pass then, and a model must be compared with something before it
    serves. `types.overall` combines a list.
    """
    verdicts = []
    for check in (no_overlap, enough_rows, all_finite, not_identical):
        verdicts.append(check(case))
        if not verdicts[-1].ok:
            return verdicts
    if not case.has_champion and not any(isinstance(gate, Baseline) for gate in gates):
        gates = [*gates, Baseline()]
    return verdicts + [gate.judge(case) for gate in gates if isinstance(gate, Gate)]


def silent(check: str, gates: Iterable[GateConfig]) -> bool:
    """Whether a pass of a check is a precondition, not a reason to promote."""
    gate = gate_of(check, gates)
    return gate.SILENT if gate else check.split()[0] in _INTEGRITY


def heading(check: str, gates: Iterable[GateConfig] = ()) -> str:
    """The heading of a check in the dossier."""
    gate = gate_of(check, gates)
    return gate.HEADING if gate else {**_INTEGRITY, "refit": RUNS}.get(check.split()[0], FURTHER)


def rule(check: str, figures: Figures, gates: Iterable[GateConfig] = ()) -> str:
    """The rule of a check, in a sentence with its figures; empty if it was not completed or has no rule."""
    gate = gate_of(check, gates)
    try:
        if gate is not None:
            return gate.rule(figures)
        if check == "refit":
            limit = f"{100 * figures['limit']:.0f} %"
            return f"Passes when they moved by at most {limit}: what was judged and what serves must be much the same."
    except (KeyError, TypeError):
        pass
    return ""
