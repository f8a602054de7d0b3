"""Losses and metrics of predictions, by row and over all.

The loss decides (log-loss, or squared error for a regression); every other metric informs. Labels `y` (n,) are 0/1 for
a binary task, class names for a multiclass one, numbers for a regression. Predictions are p(positive) (n,), class
probabilities (n, k) in the order of `classes`, or values (n,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from trueup.config.sections.training import EvaluateConfig
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import (
    Blocks,
    Floats,
    Interval,
    interval_from,
    multiplicities,
    run_length,
    sums_interval,
)
from trueup.domain.types import Metric

_SMALLEST = 1e-15  # a certain and wrong prediction costs 34.5, not infinity
_AT_MOST_ONE = {"auc", "auc_ovr", "accuracy"}
MAX_SLICES = 100  # of a table of slices: the largest

Draw = Callable[[Floats], Floats]  # multiplicities (resamples, blocks) -> the statistic of each resample


def loss_name(task: Task) -> str:
    """Name the metric that decides."""
    return "mse" if task is Task.REGRESSION else "log_loss"


def loss_words(task: Task, unit: str = "") -> str:
    """Name the deciding metric for people; `unit` is the label's, for a regression.

    >>> loss_words(Task.REGRESSION, "minutes")
    'squared error (minutes²)'
    """
    if task is not Task.REGRESSION:
        return "log-loss"
    return f"squared error ({unit}²)" if unit else "squared error"


def figure(value: float, digits: int = 4) -> str:
    """Format a figure with significant digits, large ones without exponent.

    >>> figure(8168.4), figure(0.98765), figure(5.0, 3)
    ('8,168', '0.9877', '5')
    """
    return f"{value:,.0f}" if 10 ** (digits - 1) <= abs(value) < np.inf else f"{value:,.{digits}g}"


def row_losses(task: Task, y: ArrayLike, prediction: ArrayLike, classes: Sequence[str] | None = None) -> Floats:
    """Each row's loss (n,): log-loss in nats, or squared error. A missing prediction has a missing loss.

    >>> row_losses(Task.BINARY, [1, 0], [0.8, 0.8]).round(3).tolist()
    [0.223, 1.609]
    """
    p = np.asarray(prediction, dtype=np.float64)
    if task is Task.REGRESSION:
        return np.square(p - np.asarray(y, dtype=np.float64))
    if task is Task.BINARY:
        right = np.where(np.asarray(y) == 1, p, 1 - p)
    else:
        hits = _hits(y, classes)
        # A label that the model does not know has probability 0.
        right = np.where(np.isnan(p).any(axis=1), np.nan, np.sum(np.where(hits, p, 0), axis=1))
    return np.asarray(-np.log(np.clip(right, _SMALLEST, 1)))


def metrics(task: Task, y: ArrayLike, prediction: ArrayLike, classes: Sequence[str] | None = None) -> dict[str, float]:
    """All metrics of the task, the deciding loss first.

    binary: log_loss, brier, auc, average_precision, ece. multiclass: log_loss, brier (0 to 2), accuracy, auc_ovr (mean
    over the classes present). regression: mse, mae, rmse, r2. Raises ValueError if a metric would not exist: no rows,
    labels of one class, missing predictions.
    """
    from sklearn.metrics import (  # takes seconds, and read-only commands do not need it
        average_precision_score,
        roc_auc_score,
    )

    labels, p = np.asarray(y), np.asarray(prediction, dtype=np.float64)
    _require(task, labels, p)
    computed = {name: float(values.mean()) for name, values in _row_metrics(task, labels, p, classes).items()}
    if task is Task.BINARY:
        table = calibration_table(labels, p)
        computed["auc"] = float(roc_auc_score(labels, p))
        computed["average_precision"] = float(average_precision_score(labels, p))
        computed["ece"] = float(np.average((table["observed"] - table["predicted"]).abs(), weights=table["rows"]))
    elif task is Task.MULTICLASS:
        hits = _hits(labels, classes)
        computed["auc_ovr"] = float(np.mean([roc_auc_score(hits[:, k], p[:, k]) for k in _present(hits)]))
    else:
        computed["rmse"] = float(np.sqrt(computed["mse"]))
        computed["r2"] = 1 - computed["mse"] / float(np.var(labels.astype(np.float64)))
    return computed


def metrics_with_intervals(
    task: Task,
    y: ArrayLike,
    prediction: ArrayLike,
    event_time: ArrayLike,
    block: timedelta,
    resamples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
    *,
    classes: Sequence[str] | None = None,
) -> list[Metric]:
    """All metrics of the task, with block-bootstrap intervals if rows span enough blocks of time.

    ECE and average precision have none: the first is biased upwards in a resample, the second only informs. Raises
    ValueError like `metrics`.
    """
    labels, p = np.asarray(y), np.asarray(prediction, dtype=np.float64)
    values = metrics(task, labels, p, classes)
    blocks = Blocks.of(event_time, block)
    rows = blocks.sums()
    losses = blocks.sums(row_losses(task, labels, p, classes))
    length = run_length(losses - rows * (losses.sum() / rows.sum()))
    drawn = multiplicities(blocks.count, length, resamples, seed)
    draws = _draws(task, labels, p, classes, blocks)
    bounded = []
    for name, value in values.items():
        statistic = draws[name](drawn) if name in draws else np.empty(0)
        bounds = interval_from(value, statistic[np.isfinite(statistic)], blocks.count, length, confidence)
        if bounds.bounds[0] is None:
            bounded.append(Metric(name, value, len(labels)))
            continue
        low = bounds.low if name == "r2" else max(bounds.low, 0.0)
        high = min(bounds.high, 1.0) if name in _AT_MOST_ONE else bounds.high
        bounded.append(Metric(name, value, len(labels), low, high, confidence))
    return bounded


def shortfall(name: str, value: float) -> float:
    """Turn a metric so that lower is better: metrics of at most one, such as AUC, become one minus the metric.

    >>> shortfall("auc", 0.75), shortfall("brier", 0.2)
    (0.25, 0.2)
    """
    return 1 - value if name in _AT_MOST_ONE else value


def shortfall_difference(
    task: Task,
    y: ArrayLike,
    pair: tuple[ArrayLike, ArrayLike],
    name: str,
    blocks: Blocks,
    config: EvaluateConfig,
    seed: int,
    classes: Sequence[str] | None = None,
) -> Interval:
    """Bound one model's shortfall in a metric minus another's on the same rows (n,); below 0 the first is better.

    Both are computed on the same resamples of blocks. Raises ValueError if the metric does not exist, or has no draws
    (ECE, average precision, R²).
    """
    labels = np.asarray(y)
    one, other = (np.asarray(p, dtype=np.float64) for p in pair)
    value = shortfall(name, metrics(task, labels, one, classes)[name])
    value -= shortfall(name, metrics(task, labels, other, classes)[name])
    losses = row_losses(task, labels, one, classes) - row_losses(task, labels, other, classes)
    rows, sums = blocks.sums(), blocks.sums(losses)
    length = run_length(sums - rows * (sums.sum() / rows.sum()))
    drawn = multiplicities(blocks.count, length, config.resamples, seed)
    first, second = (_draws(task, labels, p, classes, blocks)[name](drawn) for p in (one, other))
    apart = second - first if name in _AT_MOST_ONE else first - second
    return interval_from(value, apart[np.isfinite(apart)], blocks.count, length, config.confidence)


def by_slice(slices: pd.DataFrame, blocks: Blocks, *values: Floats) -> Iterator[tuple[str, Floats, list[Floats]]]:
    """Yield each value of each column of `slices` (n rows) by name, `column=value`.

    Each comes with the numbers of its rows (blocks,), and for each of `values` (n,) their sums (blocks,).
    """
    for column in slices.columns:
        codes, categories = pd.factorize(slices[column], use_na_sentinel=False)
        cells, shape = codes * blocks.count + blocks.codes, (len(categories), blocks.count)
        rows, *sums = (
            np.bincount(cells, weights, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
            for weights in (None, *values)
        )
        for k, value in enumerate(categories):
            yield f"{column}={'missing' if pd.isna(value) else value}", rows[k], [s[k] for s in sums]


@dataclass(frozen=True)
class SliceLoss:
    """A slice of the rows, and the challenger's mean loss there; the bounds are None where it is too small."""

    slice: str
    rows: int
    challenger: float
    low: float | None
    high: float | None
    confidence: float


@dataclass(frozen=True)
class ComparedSliceLoss(SliceLoss):
    """A slice for which there is a champion's loss, too."""

    champion: float
    difference: float
    difference_low: float | None
    difference_high: float | None


def slice_table(
    slices: pd.DataFrame, blocks: Blocks, challenger: Floats, champion: Floats | None, config: EvaluateConfig
) -> list[SliceLoss]:
    """Describe the largest slices, the largest first: their rows and each model's mean loss there.

    `challenger` and `champion` are row losses (n,). Includes bounds of the challenger's mean loss and of its difference
    to the champion's, None if a slice has fewer rows than `min_slice_rows` or too few blocks of time. Each bound is for
    one slice: among many slices, some miss by chance.
    """
    losses = (challenger,) if champion is None else (challenger, champion, challenger - champion)
    slices_by_size = sorted(by_slice(slices, blocks, *losses), key=lambda s: -s[1].sum())[:MAX_SLICES]
    return [_slice_row(name, rows, sums, config) for name, rows, sums in slices_by_size]


def _slice_row(name: str, rows: Floats, sums: list[Floats], config: EvaluateConfig) -> SliceLoss:
    size = int(rows.sum())

    def bounds(of: Floats) -> tuple[float, float] | tuple[None, None]:
        return sums_interval(of, rows, config.confidence).bounds if size >= config.min_slice_rows else (None, None)

    means = [float(s.sum()) / size for s in sums]
    low, high = bounds(sums[0])
    own = SliceLoss(name, size, means[0], low, high, config.confidence)
    if len(sums) == 1:
        return own
    low, high = bounds(sums[2])
    return ComparedSliceLoss(
        **vars(own), champion=means[1], difference=means[2], difference_low=low, difference_high=high
    )


def calibration_table(y: ArrayLike, p: ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Compare predicted with observed shares in bins of equal row counts, lowest predictions first.

    Columns: low, high (the bin's smallest and largest prediction), rows, predicted, observed (means). Equal predictions
    share a bin, so there may be fewer bins. Equal counts bias the calibration error less than equal widths do
    (Roelofs et al. 2022, "Mitigating bias in calibration error estimation").
    """
    frame = pd.DataFrame({"p": np.asarray(p, dtype=np.float64), "y": np.asarray(y, dtype=np.float64)})
    edges = np.unique(np.quantile(frame["p"], np.linspace(0, 1, bins + 1)[1:-1]))
    grouped = frame.groupby(np.searchsorted(edges, frame["p"], side="right"))
    table = grouped.agg(
        low=("p", "min"), high=("p", "max"), rows=("p", "size"), predicted=("p", "mean"), observed=("y", "mean")
    )
    return table.reset_index(drop=True)


def _require(task: Task, y: NDArray[Any], p: Floats) -> None:
    """Raise ValueError with the reason why the metrics do not exist."""
    if not len(y):
        raise ValueError("no rows to measure")
    if len(y) != len(p):
        raise ValueError(f"{len(y):,} labels but {len(p):,} predictions")
    if missing := int((~np.isfinite(p)).sum()):
        raise ValueError(f"{missing:,} predictions are missing or infinite")
    if pd.isna(y).any():
        raise ValueError(f"{int(pd.isna(y).sum()):,} labels are missing")
    if pd.unique(y).size == 1:
        what = "all labels have the same value" if task is Task.REGRESSION else "labels of one class only"
        raise ValueError(f"{what} ({y[0]}): there is nothing to distinguish")


def _hits(y: ArrayLike, classes: Sequence[str] | None) -> NDArray[np.bool_]:
    """One column per class, true if the row's label is that class: (n, k)."""
    if not classes:
        raise ValueError("a multiclass task needs its classes")
    codes = pd.Index(classes).get_indexer(pd.Index(np.asarray(y, dtype=object)))
    return np.asarray(codes[:, None] == np.arange(len(classes)))


def _present(hits: NDArray[np.bool_]) -> list[int]:
    """Columns of the classes that some rows have and some do not."""
    shares = hits.mean(axis=0)
    return [int(k) for k in np.flatnonzero((shares > 0) & (shares < 1))]


def _row_metrics(task: Task, y: NDArray[Any], p: Floats, classes: Sequence[str] | None) -> dict[str, Floats]:
    """Metrics that are means over rows, as their values per row."""
    losses = {loss_name(task): row_losses(task, y, p, classes)}
    if task is Task.REGRESSION:
        return {**losses, "mae": np.abs(p - y.astype(np.float64))}
    if task is Task.BINARY:
        return {**losses, "brier": np.square(p - y.astype(np.float64))}
    hits = _hits(y, classes)
    right = hits[np.arange(len(hits)), p.argmax(axis=1)]
    return {**losses, "brier": np.square(p - hits).sum(axis=1), "accuracy": right.astype(np.float64)}


def _draws(task: Task, y: NDArray[Any], p: Floats, classes: Sequence[str] | None, blocks: Blocks) -> dict[str, Draw]:
    """How each metric is computed for resamples, from block sums alone."""
    rows = blocks.sums()

    def mean_of(sums: Floats) -> Draw:
        return lambda drawn: (drawn @ sums) / (drawn @ rows)

    draws = {name: mean_of(blocks.sums(values)) for name, values in _row_metrics(task, y, p, classes).items()}
    if task is Task.BINARY:
        draws["auc"] = _auc_draw(y == 1, p, blocks)
    elif task is Task.MULTICLASS:
        hits = _hits(y, classes)
        each = [_auc_draw(hits[:, k], p[:, k], blocks) for k in _present(hits)]
        draws["auc_ovr"] = lambda drawn: np.mean([draw(drawn) for draw in each], axis=0)
    else:
        centred = y.astype(np.float64) - np.mean(y.astype(np.float64))
        mse, mean, square = draws["mse"], mean_of(blocks.sums(centred)), mean_of(blocks.sums(centred**2))
        draws["rmse"] = lambda drawn: np.sqrt(mse(drawn))

        def r2(drawn: Floats) -> Floats:
            spread = square(drawn) - mean(drawn) ** 2
            return np.asarray(1 - np.divide(mse(drawn), spread, out=np.full(len(drawn), np.nan), where=spread > 0))

        draws["r2"] = r2
    return draws


def _auc_draw(positive: NDArray[np.bool_], score: Floats, blocks: Blocks) -> Draw:
    """AUC of resamples without sorting again.

    The AUC is the share of (positive, negative) pairs in the right order. With wins[a, b] the number of such pairs between
    block a's positives and block b's negatives, a resample that holds block i m[i] times wins sum m[a] m[b] wins[a, b].
    """
    rank = np.unique(score, return_inverse=True)[1]
    distinct, where = int(rank.max()) + 1, blocks.codes[positive]
    wins = np.empty((blocks.count, blocks.count))
    for b in range(blocks.count):
        tied = np.bincount(rank[~positive & (blocks.codes == b)], minlength=distinct)
        beaten = np.cumsum(tied) - tied / 2
        wins[:, b] = np.bincount(where, beaten[rank[positive]], minlength=blocks.count)
    positives, negatives = blocks.sums(positive), blocks.sums(~positive)

    def draw(drawn: Floats) -> Floats:
        pairs = (drawn @ positives) * (drawn @ negatives)
        won = np.sum((drawn @ wins) * drawn, axis=1)
        return np.asarray(np.divide(won, pairs, out=np.full(len(drawn), np.nan), where=pairs > 0))

    return draw
