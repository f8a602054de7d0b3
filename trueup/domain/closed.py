"""Outcomes are a closed world: a value that is none of the known ones is no outcome, and many of them are a mistake.

Known are, for a binary task, the value that counts as 1 and those that count as 0: declared (`ingest.label.negative`),
or the ones of the first batch with outcomes. For a multiclass task a new class is one, but not another spelling of a
known class. Outcomes that are numbers are known by being some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from trueup.config.schema import IngestConfig, LabelConfig, Task
from trueup.domain.values import Kind, as_numbers, as_text, without_point
from trueup.errors import SourceError

Facts = dict[str, Any]

_SHARE: Final = 0.02  # of the outcomes of a batch; up to here what is unknown is left out, and said
_FEW, _FIFTH = 2, 0.2  # so many may be unknown in a small batch, if they are at most this share of it
_MANY: Final = 100  # values that count as 0; of more it is not known what they are
_ONE, _NOUGHT = frozenset({"1", "true"}), frozenset({"0", "false"})


@dataclass(frozen=True)
class Known:
    """What the first landings of a dataset fixed: the kinds of its columns, and its outcomes (None: not seen yet).

    `outcomes` are the values that count as 0, or the classes.
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    outcomes: tuple[str, ...] | None = None


def label_values(
    outcome: pd.Series[Any], config: IngestConfig, task: Task, facts: Facts, known: Sequence[str] | None = None
) -> pd.Series[Any]:
    """Make labels of outcomes: text for a multiclass task, else float64; missing without outcome.

    `known` are the outcomes of earlier landings, as `facts["outcomes"]` gave them. Counts the unknown ones in `facts`.
    Raises SourceError where they are more than a small share.
    """
    facts |= {"unknown_outcomes": {}, "outcomes": None if known is None else [*known]}
    if config.label.column in config.coerce and not isinstance(config.label.positive, str):
        outcome = _coerced(outcome, config.label.column, facts)
    if task is Task.MULTICLASS:
        return _classes(outcome, config.label, facts, known)
    if task is Task.REGRESSION or config.label.above is not None:
        return _numbers(outcome, config.label, facts)
    return _binary(outcome, config.label, facts, known)


def outcome_text(outcome: pd.Series[Any]) -> pd.Series[Any]:
    """The one text of each outcome: without blanks around it, and of a whole number without a fraction of zeros."""
    text = as_text(outcome)
    if text.notna().any():
        text = as_text(text.str.strip())
    return without_point(text.mask(text == ""))


def same_outcome(outcome: pd.Series[Any], value: object) -> pd.Series[Any]:
    """Say which outcomes are a value of the config, however either is written."""
    found: pd.Series[Any] = outcome_text(outcome).isin(_spellings(value))
    return found


def _spellings(value: object) -> frozenset[str]:
    text = outcome_text(pd.Series([value], dtype=object)).iloc[0]
    return next((pair for pair in (_ONE, _NOUGHT) if text in pair), frozenset({text}))


def _binary(outcome: pd.Series[Any], label: LabelConfig, facts: Facts, known: Sequence[str] | None) -> pd.Series[Any]:
    text = outcome_text(outcome)
    positive = text.isin(_ONE if label.positive is None else _spellings(label.positive))
    others = text[~positive & text.notna()]
    negatives: set[str]
    if label.negative:
        negatives = {s for value in label.negative for s in _spellings(value)}
    elif label.positive is None:
        negatives = set(_NOUGHT)
    elif known is not None:
        negatives = {s for value in known for s in _spellings(value)}
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


def _classes(outcome: pd.Series[Any], label: LabelConfig, facts: Facts, known: Sequence[str] | None) -> pd.Series[Any]:
    text = outcome_text(outcome)
    present = {*text.dropna().unique()}
    if known is None:
        facts["outcomes"] = sorted(present) or None
        return text
    folded = {_folded(name) for name in known}
    respelled = {name for name in present - {*known} if _folded(name) in folded}
    facts["outcomes"] = sorted({*known, *(present - respelled)})
    _settle(text[text.isin(respelled)], text, facts, label, sorted(known))
    return text.mask(text.isin(respelled))


def _folded(text: str) -> str:
    """A name without what only its spelling is: case, blanks, and signs at its ends."""
    return re.sub(r"^\W+|\W+$|\s+", "", text.casefold()) or text


def _settle(
    unknown: pd.Series[Any], outcomes: pd.Series[Any], facts: Facts, label: LabelConfig, known: Sequence[str]
) -> None:
    """Count what is unknown. Raises SourceError where it is more than a small share."""
    if unknown.empty:
        return
    counts = {str(value): int(n) for value, n in unknown.value_counts().head(5).items()}
    facts["unknown_outcomes"] = {"count": len(unknown), "values": counts}
    total = int(outcomes.notna().sum())
    if len(unknown) <= _tolerated(total):
        return
    said = ", ".join(f"{value!r} ({n:,})" for value, n in counts.items())
    if label.positive is None and label.above is None and not label.negative and {*known} == _NOUGHT:
        raise SourceError(
            f"ingest.label.column: '{label.column}' holds {len(unknown):,} values besides 0 and 1: {said}; "
            "say what counts as 1 with ingest.label.above or ingest.label.positive"
        )
    names = ", ".join(map(repr, known[:10])) + (", ..." if len(known) > 10 else "")
    none = "no known ones" if label.positive is None else f"neither the positive {label.positive!r} nor a known one"
    raise SourceError(
        f"ingest.label.column: {len(unknown):,} of {total:,} outcomes in '{label.column}' are {none} ({names}): "
        f"{said}. Nothing was landed of them; write them as before in the source or its query, name what means "
        f"that there is none in ingest.missing, as in {{{label.column}: [...]}}, or what counts as 0 in ingest.label.negative"
    )


def _tolerated(total: int) -> float:
    """How many of a batch's outcomes may be unknown."""
    return max(_SHARE * total, min(_FEW, _FIFTH * total))


def _coerced(outcome: pd.Series[Any], column: str, facts: Facts) -> pd.Series[Any]:
    """Outcomes of which text is read as numbers, and counted; what is none becomes missing."""
    if as_numbers(outcome) is not None:
        return outcome
    numbers = pd.to_numeric(as_text(outcome), errors="coerce").astype(np.float64)
    text = np.fromiter((isinstance(value, str) for value in outcome), dtype=bool, count=len(outcome))
    failed = (numbers.isna() & outcome.notna()).to_numpy()
    facts["coerced"][column] = {"parsed": int((text & ~failed).sum()), "failed": int(failed.sum())}
    return numbers


def _numbers(outcome: pd.Series[Any], label: LabelConfig, facts: Facts) -> pd.Series[Any]:
    """The outcome as float64, or whether it is above a bound."""
    numbers = as_numbers(outcome)
    if numbers is None:
        numbers = pd.to_numeric(as_text(outcome), errors="coerce").astype(np.float64)
        bad = as_text(outcome)[numbers.isna() & outcome.notna()]
        if len(bad) > _tolerated(int(outcome.notna().sum())):
            raise _not_numbers(bad, label)
        if len(bad):
            counts = {str(value): int(n) for value, n in bad.value_counts().head(5).items()}
            facts["unknown_outcomes"] = {"count": len(bad), "values": counts}
    values = numbers.astype(np.float64).replace([np.inf, -np.inf], np.nan)
    facts["infinite_outcomes"] = int((values.isna() & numbers.notna()).sum())
    return values if label.above is None else (values > label.above).astype(np.float64).where(values.notna())


def _not_numbers(bad: pd.Series[Any], label: LabelConfig) -> SourceError:
    """Say which outcomes are not numbers, and what to do."""
    mend = f"name what means that there is none in ingest.missing, or add '{label.column}' to ingest.coerce"
    return SourceError(
        f"ingest.label.column: '{label.column}' must hold numbers, but {len(bad)} values are not numbers, the first is "
        f"{bad.iloc[0]!r}; {mend}"
    )
