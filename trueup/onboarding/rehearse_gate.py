"""A rehearsal's judgement of a first champion, and what would have to change for one."""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from trueup.config.durations import write_duration
from trueup.domain.judging.bootstrap import Interval
from trueup.domain.judging.gates import Case
from trueup.domain.judging.gates.baseline import ERROR, Baseline
from trueup.domain.judging.gates.context import PRIOR
from trueup.domain.judging.gates.integrity import MIN_ROWS, enough_rows
from trueup.domain.judging.gates.phrases import compare, figures_of, too_few_blocks
from trueup.domain.types import Figures

BEATS, NOT_SHOWN, WORSE = "beats the prior", "not shown", "worse"


@dataclass(frozen=True)
class Compared:
    """A model compared with the prior on the gate rows; `needs` is the change after which it could pass."""

    model: str
    verdict: str
    message: Annotated[str, Field(alias="said")]
    figures: Figures
    needs: str = ""


def against_prior(name: str, case: Case, window: timedelta) -> Compared:
    """Judge a model like the baseline gate judges a first champion: skill over the prior must be shown."""
    key = f"promote.gate_window ({write_duration(window)})"
    if not (rows := enough_rows(case)).ok:
        few = len(case.y) < MIN_ROWS
        longer = f": about {ceil(window / timedelta(days=1) * MIN_ROWS / max(len(case.y), 1))} days" if few else ""
        return Compared(name, NOT_SHOWN, "; ".join(rows.reasons), {}, f"a longer {key}{longer}")
    difference = case.difference(PRIOR)
    sentence, figures = compare(case, PRIOR, difference), figures_of(case, PRIOR, difference)
    if not difference.enough:
        blocks = f"a longer {key} or a shorter evaluate.block"
        return Compared(name, NOT_SHOWN, f"{sentence}; {too_few_blocks(difference)}", figures, blocks)
    if Baseline(beat=["prior"]).judge(case).ok:
        return Compared(name, BEATS, sentence, figures)
    if difference.mean >= 0:
        needs = "more informative features, or a longer train.min_history: no model was better than a constant baseline"
        return Compared(name, WORSE if difference.low > 0 else NOT_SHOWN, sentence, figures, needs)
    return Compared(name, NOT_SHOWN, sentence, figures, _longer(key, window, difference))


def _longer(key: str, window: timedelta, difference: Interval) -> str:
    """A gate window over which the gain, if real, would be shown."""
    reach = difference.lower(1 - ERROR) - difference.mean
    days = ceil(window / timedelta(days=1) * (reach / difference.mean) ** 2)
    return f"a longer {key}, about {days} days, which would show such a gain; or more informative features"
