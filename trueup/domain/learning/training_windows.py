"""Chooses the rows that train a challenger and the rows that judge it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from trueup.config.durations import earlier, write_duration
from trueup.config.sections.monitoring import DecayConfig
from trueup.config.sections.promotion import PromoteConfig
from trueup.config.sections.training import TrainConfig
from trueup.domain.judging.bootstrap import MIN_BLOCKS
from trueup.domain.types import Fold, Window

_DAY = timedelta(days=1)
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Plan:
    """The windows of one training: `train` is entirely before `gate`; `refit` is both together.

    `folds` are earlier cut-offs, oldest first, at which the recipe is also fitted and judged.
    """

    train: Window
    gate: Window
    folds: tuple[Fold, ...] = ()

    @property
    def refit(self) -> Window:
        """The rows for the second fit of an accepted recipe."""
        return Window(self.train.start, self.gate.end)

    @property
    def search(self) -> Window:
        """The rows that choose the recipe, all before the first row that judges it."""
        return self.folds[0].train if self.folds else self.train

    @property
    def judged(self) -> Window:
        """From the first row that judges the recipe to the last."""
        return Window(self.folds[0].judged.start if self.folds else self.gate.start, self.gate.end)


@dataclass(frozen=True)
class Hold:
    """No training now, with the reason. A hold is not a rejection."""

    reason: str


def plan_training(
    matured: Window,
    trained_until: datetime | None,
    train: TrainConfig,
    promote: PromoteConfig,
    block: timedelta,
    delay: timedelta = timedelta(0),
) -> Plan | Hold:
    """Split the matured span into a training window and a gate window.

    `matured` runs from the first row to the newest row with a label that counts; `trained_until` is the newest row the
    champion was trained on (None without a champion). The gate window is the newest `promote.gate_window`, but at most
    half of what the champion has not seen, so that the challenger learns something new. It starts after the champion's
    training, so no row is judged by a model that was trained on it. With a champion the recipe is also judged on
    windows of the same length before that, at most `promote.folds` in all, as long as each fit has learned at least
    that long from labels that the champion did not have; `delay` is how long labels take. Windows of fewer than
    MIN_BLOCKS of `block` (`evaluate.block`) could prove nothing, so no training starts for them, unless `promote.gates`
    is empty and needs no proof: a first champion is judged even then.

    >>> month = Window(datetime(2013, 1, 1), datetime(2013, 4, 1))
    >>> plan = plan_training(month, datetime(2013, 2, 28), TrainConfig(), PromoteConfig(), _DAY)
    >>> print(plan.train, plan.gate)
    [2013-01-01, 2013-03-18) [2013-03-18, 2013-04-01)
    """
    new_since = trained_until if trained_until is not None else matured.start
    new_span = matured.end - new_since
    if trained_until is None and new_span < train.min_history:
        return Hold(f"not enough history: {_days(new_span)} of matured labels, {_days(train.min_history)} needed")
    if trained_until is not None and new_span < timedelta(days=promote.min_new_days):
        return Hold(
            f"not enough new labels: {_days(max(new_span, timedelta()))} since the champion's training, "
            f"{promote.min_new_days:g} days needed"
        )
    newest = (matured.end - promote.gate_window).replace(hour=0, minute=0, second=0, microsecond=0)
    gate_start = max(newest, new_since + new_span / 2)
    length = matured.end - gate_start
    folds = 1 if trained_until is None else min(promote.folds, int((new_span - delay) / length) - 1)
    cuts = [gate_start - k * length for k in range(max(folds, 1) - 1, -1, -1)]
    proof = bool(promote.gates) or trained_until is None
    if proof and (blocks := _blocks(Window(cuts[0], matured.end), block)) < MIN_BLOCKS:
        what = "history" if trained_until is None else "new labels"
        problem = f"not enough {what}: the gate window would hold {blocks} of evaluate.block ({write_duration(block)})"
        if gate_start == newest:
            return Hold(
                f"{problem}, {MIN_BLOCKS} are needed; make promote.gate_window longer or evaluate.block shorter"
            )
        return Hold(f"{problem}, for it is half of the {_days(new_span)} that are new; {MIN_BLOCKS} are needed")

    def before(cut: datetime) -> Window:
        return Window(
            matured.start if train.window == "expanding" else max(matured.start, earlier(cut, train.window)), cut
        )

    walked = tuple(Fold(before(cut), Window(cut, cut + length)) for cut in cuts[:-1])
    return Plan(before(gate_start), Window(gate_start, matured.end), walked)


def gate_of_received(matured: Window, seen_until: datetime, promote: PromoteConfig, block: timedelta) -> Window | Hold:
    """Choose the rows that judge a model that was trained elsewhere: the newest `promote.gate_window`.

    None is from before `seen_until`, the end of what it or the champion was trained on. As in `plan_training`, a window of
    fewer than MIN_BLOCKS of `block` proves nothing, and `promote.gates: []` needs no proof.

    >>> month = Window(datetime(2013, 1, 1), datetime(2013, 2, 1))
    >>> print(gate_of_received(month, datetime(2013, 1, 25), PromoteConfig(), _DAY / 4))
    [2013-01-25, 2013-02-01)
    """
    newest = (matured.end - promote.gate_window).replace(hour=0, minute=0, second=0, microsecond=0)
    start = max(newest, seen_until, matured.start)
    if start >= matured.end:
        return Hold(
            f"no row with a matured label is newer than {seen_until:%Y-%m-%d %H:%M}, the end of what the model or the "
            "champion was trained on; receive it again when there are some"
        )
    if promote.gates and (blocks := _blocks(Window(start, matured.end), block)) < MIN_BLOCKS:
        return Hold(
            f"not enough rows that neither the model nor the champion was trained on: they are in {blocks} of "
            f"evaluate.block ({write_duration(block)}), {MIN_BLOCKS} are needed; receive it again when there are more"
        )
    return Window(start, matured.end)


def reference_window(gate_start: datetime, decay: DecayConfig) -> Window:
    """The training rows of the cheap reference, the prior and the simple model of a gate window."""
    return Window(gate_start - decay.reference_window, gate_start)


def _blocks(window: Window, block: timedelta) -> int:
    """How many blocks of time, as in `bootstrap.Blocks`, a window overlaps."""
    first, last = ((moment - datetime(1970, 1, 1)) // block for moment in (window.start, window.end - _MOMENT))
    return last - first + 1


def _days(span: timedelta) -> str:
    return f"{span / _DAY:.1f} days"
