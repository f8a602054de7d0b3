"""Probation: for some batches after a promotion the old champion scores beside the new one, and may come back.

Only promotions by the gates have a probation, not those by a person. Its looks are part of the monitoring results;
nothing else is kept.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pandas as pd

from trueup.config.schema import ModelConfig
from trueup.domain.judging.metrics import row_losses
from trueup.domain.judging.predictions import classes_of, prediction_in
from trueup.domain.judging.probation import NAME, ProbationLook, look
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Batch, Status, Verdict, Window
from trueup.errors import StaleDecision
from trueup.governance.rollback import roll_back
from trueup.model import Champion, Model

ACTOR = "trueup"
_OLD = "old:"  # before the names of the old champion's columns


def predecessor(model: Model, current: Champion) -> Champion | None:
    """The champion that scores in shadow while `current` is on probation; None without a probation."""
    if model.config.promote.probation.batches == 0 or current.put_by != "promoted" or current.epoch == 1:
        return None
    before = next(c for c in model.succession() if c.epoch == current.epoch - 1)
    if before.version == current.version or len(_looks(model, current)) >= model.config.promote.probation.batches:
        return None
    return before


def shadowed(model: Model, batch: Batch) -> Champion | None:
    """The version that predicts this batch beside the champion; None without a probation."""
    current = model.champion()
    before = predecessor(model, current) if current else None
    if current is None or before is None or batch.window.end <= current.trained_until:
        return None
    counted = _windows(model, current) | {batch.window}
    return before if len(counted) <= model.config.promote.probation.batches else None


def examine(model: Model, batch: Batch, current: Champion, as_of: datetime) -> ProbationLook | None:
    """One look at a champion on probation; None without a probation.

    It tests all matured rows of the probation's batches. With too few new labels since the last look it is inconclusive.
    """
    before = predecessor(model, current)
    if before is None:
        return None
    rules, looks = model.config.promote.probation, _looks(model, current)
    windows = _windows(model, current)
    counts = batch.window in windows or len(windows) < rules.batches
    joined = _paired(model, windows | ({batch.window} if counts else set()), current, before, as_of)
    seen = looks[-1].figures["rows"] if looks else 0
    if len(joined) - seen < model.config.monitor.min_matured:
        verdict = Verdict.inconclusive(
            NAME, f"{len(joined) - seen} new labels, {model.config.monitor.min_matured} are needed"
        )
    else:
        verdict = compare(model.config, joined, alpha=rules.alpha, looks=rules.batches)
    return ProbationLook(
        epoch=current.epoch,
        version=current.version,
        against=before.version,
        counts=counts,
        look=len(looks) + (verdict.status is not Status.INCONCLUSIVE),
        of=rules.batches,
        verdict=verdict.status,
        reasons=verdict.reasons,
        figures=verdict.figures,
    )


def enforce(model: Model, trial: ProbationLook | None) -> None:
    """Roll back when a look found a significant loss. Doing it twice changes nothing."""
    current = model.champion()
    if trial is None or trial.verdict is not Status.FAIL or current is None or current.epoch != trial.epoch:
        return
    why = f"{NAME}, look {trial.look} of {trial.of}: {trial.reasons[0]}"
    with suppress(StaleDecision):  # the champion was replaced in the meantime
        roll_back(model, trial.against, ACTOR, why, figures=trial)


def carry_out(model: Model) -> None:
    """Roll back the champion if a recorded look failed and a crash prevented the rollback."""
    current = model.champion() if model.config.promote.probation.batches else None
    for _, result in _records(model, current) if current else []:
        enforce(model, result)


@dataclass(frozen=True)
class Standing:
    """How far a champion's probation is."""

    state: Literal["on probation", "passed"]
    against: int
    looks: list[ProbationLook]
    of: int
    says: str


def standing(model: Model, current: Champion) -> Standing | None:
    """How far the champion's probation is; None when it was never on one."""
    records = _records(model, current)
    before = predecessor(model, current)
    if before is None and not records:
        return None
    looks, of = _looks(model, current), model.config.promote.probation.batches
    against = before.version if before else records[-1][1].against
    state: Literal["on probation", "passed"] = "on probation" if before else "passed"
    newest = f"; {records[-1][1].reasons[0]}" if records else ""
    return Standing(state, against, looks, of, f"{state}, {len(looks)} of {of} looks against version {against}{newest}")


def _records(model: Model, current: Champion) -> list[tuple[Window, ProbationLook]]:
    """The recorded looks at this champion, in the order of recording."""
    looks = sorted(model.looks(), key=lambda r: r.as_of)
    recorded = [(r.window, r.body.probation) for r in looks]
    return [(w, p) for w, p in recorded if p is not None and p.epoch == current.epoch]


def _looks(model: Model, current: Champion) -> list[ProbationLook]:
    """The conclusive looks; only these are counted."""
    return [p for _, p in _records(model, current) if p.verdict is not Status.INCONCLUSIVE]


def _windows(model: Model, current: Champion) -> set[Window]:
    """The batches that belong to the probation so far."""
    return {w for w, p in _records(model, current) if p.counts}


def _paired(model: Model, windows: set[Window], current: Champion, before: Champion, as_of: datetime) -> pd.DataFrame:
    """The rows that both predicted, with the labels known at `as_of`: the new one's columns, and the old one's as `old:*`."""
    parts = []
    for batch in model.batches(as_of):
        if batch.window not in windows:
            continue
        new = model.scored_labels(batch, as_of)
        old = model.home.store.read_predictions(model.config.model, batch.window, f"shadow:{before.version}")
        if len(new) and len(old):
            parts.append(side_by_side(new[new["model_version"] == current.version], old))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def side_by_side(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """The rows that both predicted: the new version's columns, labels among them, and the old one's as `old:*`."""
    old = old.drop(columns=[EVENT_TIME]).add_prefix(_OLD).rename(columns={_OLD + ROW_ID: ROW_ID})
    return new.merge(old, on=ROW_ID)


def compare(config: ModelConfig, joined: pd.DataFrame, *, alpha: float, looks: int = 1) -> Verdict:
    """Test whether the new version loses to the old one on rows of `side_by_side`. A fail is a significant loss."""
    ours = joined[[c for c in joined.columns if not c.startswith(_OLD)]]
    theirs = joined[[c for c in joined.columns if c.startswith(_OLD)]].rename(columns=lambda c: c.removeprefix(_OLD))
    y, e = joined[LABEL].to_numpy(), config.evaluate
    both = [classes_of(config, f) or [] for f in (ours, theirs)]
    classes = sorted({*both[0], *both[1]}) or None
    new, old = (row_losses(config.task, y, prediction_in(config, f, classes), classes) for f in (ours, theirs))
    return look((new, old), joined[EVENT_TIME], e.block, alpha=alpha, looks=looks)
