"""The judgement of a head: its predictions of the judged rows against the base's, by the base's rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.ci.findings import BETTER, NEW, NOT_COMPARED, SAME, WORSE, Found, Measured
from trueup.ci.job import Frame
from trueup.config.schema import ModelConfig
from trueup.config.sections.gates import GateConfig
from trueup.config.tasks import Task
from trueup.domain.judging import gates
from trueup.domain.judging.bootstrap import Interval
from trueup.domain.judging.gates import CHALLENGER, CHAMPION, Case
from trueup.domain.judging.gates.behaviour import Behaviour
from trueup.domain.judging.gates.budget import Budget
from trueup.domain.judging.gates.context import PRIOR, SIMPLE
from trueup.domain.judging.gates.phrases import compare
from trueup.domain.judging.metrics import (
    ComparedSliceLoss,
    loss_name,
    metrics,
    metrics_with_intervals,
    shortfall,
    shortfall_difference,
    slice_table,
)
from trueup.domain.types import EVENT_TIME, LABEL, Metric, Status, Verdict, overall
from trueup.errors import WorkError
from trueup.handoffs import prediction_columns

_WITHOUT_DRAWS = {"ece", "average_precision"}  # metrics without an interval
_PROBABLE = 1e-6  # rounding of a sum of probabilities


@dataclass(frozen=True, eq=False)
class Judged:
    """The judged rows: labels, times and predictions by role. `missing` rows have no prediction of the head."""

    case: Case
    frame: pd.DataFrame
    missing: int


@dataclass(frozen=True)
class Judgement:
    """The verdict on a head, with the reasons and figures."""

    verdict: str
    findings: tuple[Found, ...]
    remarks: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    metrics: tuple[Measured, ...]
    slices: tuple[ComparedSliceLoss, ...]


def judged_rows(
    config: ModelConfig, frame: Frame, labels: pd.DataFrame, base: pd.DataFrame, head: pd.DataFrame | None
) -> Judged:
    """The rows that the base predicted and whose outcomes are known, in time order.

    All frames are by `ROW`: `labels` as `sample.make_sample` writes them, `base` and `head` the predictions of both sides,
    in columns of the challenger. Without a `head` the base is judged against its baselines. Raises WorkError for
    predictions that are no numbers or no probabilities.
    """
    known = labels.loc[labels.index.intersection(base.index)]
    known = known[known[LABEL].notna()].sort_values(EVENT_TIME, kind="stable")
    theirs = None if head is None else head[~head.index.duplicated()]
    present = known.index if theirs is None else known.index.intersection(theirs.index, sort=False)
    rows = known.loc[present]
    task = config.task
    y = rows[LABEL].astype(str if task is Task.MULTICLASS else float if task is Task.REGRESSION else int).to_numpy()
    classes = _classes(task, base, y)
    own = base.loc[present]
    predictions = {role: _prediction(own, role, classes) for role in (PRIOR, SIMPLE)}
    if theirs is None:
        predictions[CHALLENGER] = _prediction(own, CHALLENGER, classes)
    else:
        predictions[CHALLENGER] = _sound(_prediction(theirs.loc[present], CHALLENGER, classes), task)
        predictions[CHAMPION] = _prediction(own, CHALLENGER, classes)
    e = config.evaluate
    case = Case(
        task=task,
        y=y,
        event_time=rows[EVENT_TIME].to_numpy(),
        predictions=predictions,
        trained_until={CHALLENGER: frame.cut} | ({CHAMPION: frame.cut} if theirs is not None else {}),
        metrics=_metrics(task, y, predictions[CHALLENGER], classes),
        evaluate=e,
        slices=rows[e.slices].reset_index(drop=True),
        groups=rows[config.group_columns].reset_index(drop=True),
        classes=classes,
        seed=config.train.seed,
        burden="change",
    )
    return Judged(case, rows, len(known) - len(rows))


def judge(config: ModelConfig, judged: Judged) -> Judgement:
    """Judge by the base's gates, except those that need the model itself."""
    case, kept, left = judged.case, list(_kept(config.promote.gates)), _left_out(config.promote.gates)
    remarks = (
        [f"the gates {', '.join(left)} need the model itself: they judge at its retrain, not here"] if left else []
    )
    verdicts = _run(kept, case)
    unsound = [v for v in verdicts if not v.ok and v.check in {"overlap", "rows", "finite"}]
    if unsound:
        lacking = Found("not_compared", _of_base("; ".join(unsound[0].reasons)))
        return Judgement(NOT_COMPARED, (lacking,), tuple(remarks), tuple(verdicts), (), ())
    measured, slices, findings = _measured(case), _slices(case), list[Found]()
    if not case.has_champion:
        findings += _gate_findings(verdicts, set())
        return Judgement(NEW, tuple(findings), tuple(remarks), tuple(verdicts), measured, slices)
    if (same := next((v for v in verdicts if v.check == "identical"), None)) is not None and not same.ok:
        findings.append(Found("not_better", "both sides predict the same"))
        return Judgement(SAME, tuple(findings), tuple(remarks), tuple(verdicts), measured, slices)
    difference = case.weigh(CHALLENGER, CHAMPION)
    sentence = _of_base(compare(case, CHAMPION, difference))
    worse = [sentence] if difference.enough and difference.low > 0 else []
    worse += [r for v in verdicts if v.check.split()[0] == "slices" and v.status is Status.FAIL for r in v.reasons]
    findings += [Found("worse", _of_base(reason)) for reason in worse]
    findings += _gate_findings(verdicts, _base_fails(kept, case))
    passed = overall(verdicts) is Status.PASS
    better = passed and difference.high < 0
    if not better:
        why = "; ".join(_of_base(r) for v in verdicts if v.check == "paired" for r in v.reasons) or sentence
        findings.append(Found("not_better", why))
    if passed and not better:
        remarks.append("the gates pass: a gain is likely, but the interval includes 0, so it is not shown")
    verdict = WORSE if worse else BETTER if better else SAME
    return Judgement(verdict, tuple(findings), tuple(remarks), tuple(verdicts), measured, slices)


def loss_sentence(case: Case) -> str:
    """The loss of the head beside that of the base, or of the prior for a new model, with the interval."""
    other = CHAMPION if case.has_champion else PRIOR
    return _of_base(compare(case, other, case.weigh(CHALLENGER, other)))


def _of_base(reason: str) -> str:
    """A sentence of a gate in the words of a pull request."""
    return reason.replace("the champion's", "the base's").replace("challenger", "head").replace("champion", "base")


def _kept(configured: Iterable[GateConfig]) -> Iterable[GateConfig]:
    return (gate for gate in configured if not isinstance(gate, Behaviour | Budget))


def _left_out(configured: Iterable[GateConfig]) -> list[str]:
    return list(dict.fromkeys(gate.kind for gate in configured if isinstance(gate, Behaviour | Budget)))


def _run(kept: Sequence[GateConfig], case: Case) -> list[Verdict]:
    """Raises WorkError if a gate of the user's own fails."""
    try:
        return gates.judge(kept, case)
    except Exception as error:
        raise WorkError(f"a gate raised {type(error).__name__}: {error}; correct it in the base") from error


def _base_fails(kept: Sequence[GateConfig], case: Case) -> set[str]:
    """The checks that the base's own model fails on the same rows."""
    alone = {role: p for role, p in case.predictions.items() if role not in (CHALLENGER, CHAMPION)}
    alone[CHALLENGER] = case.predictions[CHAMPION]
    own = Case(
        task=case.task, y=case.y, event_time=case.event_time, predictions=alone,
        trained_until={CHALLENGER: case.trained_until[CHAMPION]},
        metrics=_metrics(case.task, case.y, alone[CHALLENGER], case.classes), evaluate=case.evaluate,
        slices=case.slices, groups=case.groups, classes=case.classes, seed=case.seed,
    )  # fmt: skip
    return {v.check for v in _run(kept, own) if v.status is Status.FAIL}


def _gate_findings(verdicts: Iterable[Verdict], base_fails: set[str]) -> list[Found]:
    """Gates besides the comparison with the base that the head fails and the base does not."""
    own = {"paired", "slices", "identical"}
    return [
        Found("gate", f"{v.check}: {_of_base('; '.join(v.reasons))}")
        for v in verdicts
        if v.status is Status.FAIL and v.check.split()[0] not in own and v.check not in base_fails
    ]


def _metrics(
    task: Task, y: NDArray[np.generic], p: NDArray[np.float64], classes: Sequence[str] | None
) -> dict[str, float]:
    try:
        return metrics(task, y, p, classes)
    except ValueError:
        return {}  # the integrity checks say why


def _measured(case: Case) -> tuple[Measured, ...]:
    """Every metric of both sides with its interval, and the difference."""
    other = CHAMPION if case.has_champion else PRIOR
    head, base = (_bounded(case, role) for role in (CHALLENGER, other))
    listed = []
    for name, metric in head.items():
        found = _difference(case, other, name)
        bounds = (None, None) if found is None else found.bounds
        value = None if name not in base else metric.value - base[name].value
        listed.append(Measured(name, base.get(name), metric, value, *bounds))
    return tuple(listed)


def _bounded(case: Case, role: str) -> dict[str, Metric]:
    e = case.evaluate
    try:
        found = metrics_with_intervals(
            case.task, case.y, case.predictions[role], case.event_time, e.block, e.resamples, e.confidence, case.seed,
            classes=case.classes,
        )  # fmt: skip
    except ValueError:
        return {}
    return {metric.name: metric for metric in found}


def _difference(case: Case, other: str, name: str) -> Interval | None:
    """Head minus the other role in a metric's own direction."""
    if name in _WITHOUT_DRAWS:
        return None
    if name == loss_name(case.task):
        return case.weigh(CHALLENGER, other)
    pair = (case.predictions[CHALLENGER], case.predictions[other])
    try:
        found = shortfall_difference(case.task, case.y, pair, name, case.blocks, case.evaluate, case.seed, case.classes)
    except ValueError:
        return None
    if shortfall(name, 0.0) == 0:
        return found
    return Interval(
        -found.mean, -found.high, -found.low, found.confidence, found.blocks, found.block_length, found.error
    )


def _slices(case: Case) -> tuple[ComparedSliceLoss, ...]:
    """The slices in which the head's loss is shown to be higher, each for itself, the largest difference first."""
    if not case.has_champion or case.slices.columns.empty:
        return ()
    losses = case.losses
    rows = slice_table(case.slices, case.blocks, losses[CHALLENGER], losses[CHAMPION], case.evaluate)
    worse = [
        r for r in rows if isinstance(r, ComparedSliceLoss) and r.difference_low is not None and r.difference_low > 0
    ]
    return tuple(sorted(worse, key=lambda r: -r.difference))


def _classes(task: Task, base: pd.DataFrame, y: NDArray[np.generic]) -> list[str] | None:
    """The classes of the labels and of the base's model; other classes of the head do not occur."""
    if task is not Task.MULTICLASS:
        return None
    prefix = prediction_columns(CHALLENGER, [""])[0]
    return sorted({c.removeprefix(prefix) for c in base.columns if c.startswith(prefix)} | {str(label) for label in y})


def _prediction(frame: pd.DataFrame, role: str, classes: list[str] | None) -> NDArray[np.float64]:
    """The predictions of a role, (n,) or (n, k); a class that a model does not know has probability 0."""
    columns = prediction_columns(role, classes)
    values = frame.reindex(columns=columns, fill_value=0.0) if classes else frame[columns]
    numbers = values.to_numpy(dtype=np.float64)
    return numbers if classes else numbers[:, 0]


def _sound(prediction: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """Refuse predictions of a head that no model gives: more than certainty would have a loss below any other's."""
    if task is Task.REGRESSION or not np.isfinite(prediction).all():
        return prediction  # the integrity checks report missing and infinite ones
    total = prediction if prediction.ndim == 1 else prediction.sum(axis=1)
    if prediction.min(initial=0.0) < -_PROBABLE or total.max(initial=0.0) > 1 + _PROBABLE:
        raise WorkError("the head's predictions are not probabilities; correct the model, then run again")
    return prediction
