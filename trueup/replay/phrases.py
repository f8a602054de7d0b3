"""The recommendation of a replay in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from trueup.config.policies import Policy
from trueup.config.schema import ModelConfig
from trueup.domain.judging.bootstrap import MIN_BLOCKS
from trueup.domain.judging.metrics import figure, loss_words
from trueup.domain.retraining.frontier import Choice, Contest


def why(config: ModelConfig, contest: Contest, choice: Choice, parts: tuple[slice, slice] | None) -> str:
    """The recommendation in words, with its certainty. Figures are from the rows that made the choice."""
    loss, own, best = (
        loss_words(config.task, config.ingest.label.unit),
        choice.withdrawn or choice.recommended,
        choice.best,
    )
    seen, level = contest.part(parts[0]) if parts else contest, len(choice.level)
    where = "On the earlier rows" if parts else "On all rows"
    if own == best:
        text = f"{where} `{own}` lost least ({loss} {figure(seen.mean(own))})"
        text += (
            f", and is the cheapest of {level} that cannot be told apart"
            if level > 1
            else ", and all others are shown to lose more"
        )
    else:
        a = choice.apart
        text = (
            f"{where} `{own}` ({seen.costs[own]:.0f} s of training) is the cheapest of {level} that are not shown to lose more "
            f"than the best, `{best}` ({seen.costs[best]:.0f} s): {loss} {_signed(a.mean)} ({100 * a.confidence:.0f} % "
            f"{_signed(a.low)} to {_signed(a.high)})"
        )
    if parts is None:
        return text + ". The same rows chose it and measure it, so it looks better than it is."
    return f"{text}. {_on_later_rows(contest.part(parts[1]), choice)}"


def _on_later_rows(rest: Contest, choice: Choice) -> str:
    """The result on the rows that did not make the choice."""
    own, frozen = choice.withdrawn or choice.recommended, rest.frozen
    if choice.withdrawn and choice.recommended != frozen:
        apart = rest.apart(own, choice.recommended)
        return (
            f"On the later rows, by which it was not chosen, it is shown to be worse than `{choice.recommended}`: "
            f"{_signed(apart.mean)} ({100 * apart.confidence:.0f} % {_signed(apart.low)} to {_signed(apart.high)}). So it did "
            f"not last, and `{choice.recommended}` is recommended, which these rows chose and flatter."
        )
    if own == frozen:
        return "No retrain was shown to be worth its cost; on the later rows, too, nothing else is shown to be better."
    if frozen is None:
        return (
            f"On the later rows it loses {figure(rest.mean(own))}; without `frozen` the value of retraining is unknown."
        )
    apart = rest.apart(own, frozen)
    shown = (
        "is shown to be better"
        if apart.high < 0
        else "is shown to be worse"
        if apart.low > 0
        else "is not shown to be better"
    )
    return (
        f"On the later rows, by which it was not chosen, it {shown} than `{frozen}`: {_signed(apart.mean)} "
        f"({100 * apart.confidence:.0f} % {_signed(apart.low)} to {_signed(apart.high)})."
        + (f" So it did not last, and `{frozen}` is recommended." if choice.withdrawn else "")
    )


def _signed(value: float) -> str:
    return f"{value:+.4f}" if np.isfinite(value) else "unknown"


def warnings(contest: Contest, parts: tuple[slice, slice] | None, by_batch: pd.DataFrame) -> list[str]:
    """Reasons why the figures are uncertain."""
    sentences = []
    if parts is None:
        sentences.append(
            f"a short history: {len(contest.rows)} blocks of evaluate.block; choosing and judging need {MIN_BLOCKS} each; "
            "the choice is reported on the rows that made it"
        )
    elif len(by_batch) < 6:
        sentences.append(f"a short history: {len(by_batch)} batches; what a season brings was hardly seen")
    return sentences


def unbeaten(recommended: str, measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """The yardsticks that the recommended policy does not beat."""
    sentences = []
    for m in measured:
        apart, high = m["apart"], m["apart"]["high"]
        if high is None or high >= 0:
            shown = "is shown to lose more than" if (apart["low"] or 0) > 0 else "is not shown to lose less than"
            sentences.append(f"`{recommended}` {shown} `{m['name']}` ({m['what']}): {_signed(apart['difference'])}")
    return sentences


def assumed(policies: Sequence[Policy]) -> list[str]:
    """Assumptions of some policies that no config can express."""
    names = [f"`{p.name}`" for p in policies if "ingest" in p.changes]
    return (
        [f"neither the delay of labels nor the arrival of batches can be chosen: {', '.join(names)} only assume them"]
        if names
        else []
    )
