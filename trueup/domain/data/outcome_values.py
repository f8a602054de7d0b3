"""Outcomes are a closed world: an unknown value is not an outcome, and many unknown values are an error.

For a binary task the known values are the one that counts as 1 and those that count as 0: declared
(`ingest.label.negative`), or those of the first batch with outcomes. For a multiclass task a new class is known, but
not another spelling of a known class. Numeric outcomes are known if they are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.config.sections.ingest import IngestConfig, LabelConfig
from trueup.config.tasks import Task
from trueup.domain.data.values import ColumnKind, as_numbers, as_text, numbers_of, rounded, without_nul, without_point
from trueup.domain.types import Facts
from trueup.errors import SourceError

_SHARE: Final = 0.02  # share of a batch's outcomes up to which unknown ones are left out with a message
_FEW, _FIFTH = 2, 0.2  # allowed unknown outcomes in a small batch, if they are at most this share of it
_NEWEST: Final = (50, 200, 1000, 5000)  # newest outcomes of a table that are checked separately
_MANY: Final = 100  # the most values that can count as 0 without a declaration
_ONE, _NOUGHT = frozenset({"1", "true"}), frozenset({"0", "false"})


@dataclass(frozen=True)
class LandedFacts:
    """The facts that the first landings of a dataset fixed: its columns' kinds and its outcomes (None: not seen yet).

    `outcomes` are the values that count as 0, or the classes.
    """

    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    outcomes: tuple[str, ...] | None = None


def label_values(
    outcome: pd.Series[Any], config: IngestConfig, task: Task, facts: Facts, landed: Sequence[str] | None = None
) -> pd.Series[Any]:
    """Convert outcomes to labels: text for a multiclass task, else float64; missing without outcome.

    `landed` are the outcomes of earlier landings, from `facts["outcomes"]`. Counts the unknown ones in `facts`. Raises
    SourceError if they are more than a small share.
    """
    facts |= {"unknown_outcomes": {}, "outcomes": None if landed is None else [*landed]}
    if config.label.column in config.coerce and not isinstance(config.label.positive, str):
        outcome = _coerced(outcome, config.label.column, facts)
    if task is Task.MULTICLASS:
        return _classes(outcome, config.label, facts, landed)
    if task is Task.REGRESSION or config.label.above is not None:
        return _numbers(outcome, config, facts)
    return _binary(outcome, config.label, facts, landed)


@dataclass(frozen=True)
class Unknown:
    """The unknown outcomes of a table, as text by their positions, and their column's config."""

    texts: pd.Series[Any]
    label: LabelConfig


def unknown_of(outcome: pd.Series[Any], values: pd.Series[Any], label: LabelConfig) -> Unknown:
    """The outcomes that have a value but no label from `label_values`."""
    odd = outcome[(values.isna() & outcome.notna()).to_numpy()]
    texts = outcome_text(odd).dropna()
    return Unknown(texts[~texts.isin(["inf", "-inf"])], label)


def require_known(unknown: Unknown, positions: npt.NDArray[np.intp], number_known: int, which: str) -> None:
    """Check some outcomes of a table separately, because a long history could hide a sudden change.

    `number_known` is the number of known ones. Raises SourceError if the unknown ones are more than a small share.
    """
    if unknown.texts.empty:
        return
    unknown_texts = unknown.texts[unknown.texts.index.isin(positions)]
    if len(unknown_texts) > _tolerated(len(unknown_texts) + number_known):
        label = unknown.label
        problem = f"{len(unknown_texts):,} of {len(unknown_texts) + number_known:,} outcomes {which} in '{label.column}' are unknown values"
        raise SourceError(f"ingest.label.column: {problem}: {_named(_counted(unknown_texts))}. {_mend(label.column)}")


def require_newest_known(unknown: Unknown, values: pd.Series[Any], order: npt.NDArray[np.intp]) -> None:
    """Check the newest outcomes of a table separately; `order` are their positions, the newest last.

    If unknown ones were usual before, an excess of three standard errors is needed. Raises SourceError.
    """
    if unknown.texts.empty:
        return
    odd = np.zeros(len(values), dtype=bool)
    odd[unknown.texts.index] = True
    with_outcome = order[odd[order] | values.notna().to_numpy()[order]]
    for newest in (n for n in _NEWEST if n < len(with_outcome)):
        last, before = with_outcome[-newest:], with_outcome[:-newest]
        share = float(max(odd[before].mean(), _SHARE))
        if odd[last].sum() > newest * share + 3 * np.sqrt(newest * share * (1 - share)):
            require_known(unknown, last, newest - int(odd[last].sum()), f"(the newest {newest:,})")


def outcome_text(outcome: pd.Series[Any]) -> pd.Series[Any]:
    """The canonical text of each outcome: stripped, and whole numbers without trailing zeros."""
    text = without_nul(as_text(outcome))
    if text.notna().any():
        text = as_text(text.str.strip())
    return without_point(text.mask(text == ""))


def same_outcome(outcome: pd.Series[Any], value: object) -> pd.Series[Any]:
    """Mark the outcomes that equal a value of the config, in any spelling."""
    same: pd.Series[Any] = outcome_text(outcome).isin(_spellings(value))
    return same


def _spellings(value: object) -> frozenset[str]:
    text = outcome_text(pd.Series([value], dtype=object)).iloc[0]
    return next((pair for pair in (_ONE, _NOUGHT) if text in pair), frozenset({text}))


def _binary(outcome: pd.Series[Any], label: LabelConfig, facts: Facts, landed: Sequence[str] | None) -> pd.Series[Any]:
    text = outcome_text(outcome)
    positive = text.isin(_ONE if label.positive is None else _spellings(label.positive))
    others = text[~positive & text.notna()]
    negatives: set[str]
    if label.negative:
        negatives = {s for value in label.negative for s in _spellings(value)}
    elif label.positive is None:
        negatives = set(_NOUGHT)
    elif landed is not None:
        negatives = {s for value in landed for s in _spellings(value)}
    else:
        negatives = {*others.unique()}
        _require_few(negatives, label)
        facts["outcomes"] = sorted(negatives) or None
    unknown = others[~others.isin(negatives)]
    _settle(unknown, text, facts, label, sorted(negatives))
    return positive.astype(np.float64).where(positive | text.isin(negatives))


def _require_few(negatives: set[str], label: LabelConfig) -> None:
    if len(negatives) > _MANY:
        raise SourceError(
            f"ingest.label.column: '{label.column}' holds {len(negatives):,} values besides the positive {label.positive!r}; "
            "name those that count as 0 in ingest.label.negative, or give ingest.label.above"
        )


def _classes(outcome: pd.Series[Any], label: LabelConfig, facts: Facts, landed: Sequence[str] | None) -> pd.Series[Any]:
    text = outcome_text(outcome)
    present = {*text.dropna().unique()}
    if landed is None:
        facts["outcomes"] = sorted(present) or None
        return text
    folded = {_folded(name) for name in landed}
    respelled = {name for name in present - {*landed} if _folded(name) in folded}
    facts["outcomes"] = sorted({*landed, *(present - respelled)})
    _settle(text[text.isin(respelled)], text, facts, label, sorted(landed))
    return text.mask(text.isin(respelled))


def _folded(text: str) -> str:
    """A name without case, blanks, and signs at its ends."""
    return re.sub(r"^\W+|\W+$|\s+", "", text.casefold()) or text


def _settle(
    unknown: pd.Series[Any], outcomes: pd.Series[Any], facts: Facts, label: LabelConfig, landed: Sequence[str]
) -> None:
    """Count the unknown outcomes. Raises SourceError if they are more than a small share."""
    if unknown.empty:
        return
    counts = _counted(unknown)
    facts["unknown_outcomes"] = {"count": len(unknown), "values": counts}
    total = int(outcomes.notna().sum())
    if len(unknown) <= _tolerated(total):
        return
    examples = _named(counts)
    if label.positive is None and label.above is None and not label.negative and {*landed} == _NOUGHT:
        raise SourceError(
            f"ingest.label.column: '{label.column}' holds {len(unknown):,} values besides 0 and 1: {examples}; "
            "define what counts as 1 with ingest.label.above or ingest.label.positive"
        )
    names = ", ".join(map(repr, landed[:10])) + (", ..." if len(landed) > 10 else "")
    none = "no known ones" if label.positive is None else f"neither the positive {label.positive!r} nor a known one"
    raise SourceError(
        f"ingest.label.column: {len(unknown):,} of {total:,} outcomes in '{label.column}' are {none} ({names}): "
        f"{examples}. {_mend(label.column)}"
    )


def _counted(unknown: pd.Series[Any]) -> dict[str, int]:
    return {str(value): int(n) for value, n in unknown.value_counts().head(5).items()}


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value!r} ({n:,})" for value, n in counts.items())


def _mend(column: str) -> str:
    return (
        "They were not landed; write them as before in the source or its query, list values that mean no outcome in "
        f"ingest.missing, as in {{{column}: [...]}}, or values that count as 0 in ingest.label.negative"
    )


def _tolerated(total: int) -> float:
    return max(_SHARE * total, min(_FEW, _FIFTH * total))


def _coerced(outcome: pd.Series[Any], column: str, facts: Facts) -> pd.Series[Any]:
    """Convert outcome text to numbers and count it; other text becomes missing."""
    if as_numbers(outcome) is not None:
        return outcome
    numbers = numbers_of(as_text(outcome))
    text = np.fromiter((isinstance(value, str) for value in outcome), dtype=bool, count=len(outcome))
    failed = (numbers.isna() & outcome.notna()).to_numpy()
    facts["coerced"][column] = {"parsed": int((text & ~failed).sum()), "failed": int(failed.sum())}
    return numbers


def _numbers(outcome: pd.Series[Any], config: IngestConfig, facts: Facts) -> pd.Series[Any]:
    """The outcome as float64, or whether it is above a bound."""
    label = config.label
    numbers = as_numbers(outcome)
    if numbers is None:
        numbers = numbers_of(as_text(outcome))
        bad = as_text(outcome)[numbers.isna() & outcome.notna()]
        if len(bad) > _tolerated(int(outcome.notna().sum())):
            raise _not_numbers(bad, label)
        if len(bad):
            facts["unknown_outcomes"] = {"count": len(bad), "values": _counted(bad)}
    values = numbers.astype(np.float64).replace([np.inf, -np.inf], np.nan)
    facts["rounded_outcomes"] = rounded(outcome)
    facts["infinite_outcomes"] = int((values.isna() & numbers.notna()).sum())
    facts["suspect_outcomes"] = _suspects(values, config)
    return values if label.above is None else (values > label.above).astype(np.float64).where(values.notna())


def _suspects(values: pd.Series[Any], config: IngestConfig) -> dict[str, int]:
    """Count outcomes that mean "missing" in another column and are beyond all others: here they may mean it, too."""
    named = {v for values_of_column in config.missing.values() for v in values_of_column if isinstance(v, int | float)}
    others = values[~values.isin(named)].dropna()
    counts = {
        f"{v:g}": int((values == v).sum())
        for v in sorted(named)
        if others.empty or not others.min() <= v <= others.max()
    }
    return {value: count for value, count in counts.items() if count}


def odd_outcomes(facts: Facts) -> list[str]:
    """Describe the values that are no outcomes, and those that may mean a missing one."""
    remarks = []
    if unknown := facts.get("unknown_outcomes"):
        remarks.append(
            f"{unknown['count']:,} outcomes are unknown values and do not count: {_named(unknown['values'])}"
        )
    for value, count in facts.get("suspect_outcomes", {}).items():
        remarks.append(
            f"{count:,} outcomes are {value}, which means a missing value in other columns (ingest.missing) and is beyond "
            "all other outcomes; if it means that here, too, add it to ingest.missing under the outcome's column"
        )
    return remarks


def _not_numbers(bad: pd.Series[Any], label: LabelConfig) -> SourceError:
    """Describe which outcomes are not numbers, with a fix."""
    mend = f"list values that mean no outcome in ingest.missing, or add '{label.column}' to ingest.coerce"
    return SourceError(
        f"ingest.label.column: '{label.column}' must hold numbers, but {len(bad)} values are not numbers, the first is "
        f"{bad.iloc[0]!r}; {mend}"
    )
