"""Pictures of a model, each as the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Interval
from trueup.domain.judging.metrics import calibration_table
from trueup.reporting import figures
from trueup.reporting.figures import COLOURS, INK, MUTED

Floats = NDArray[np.float64]

_MOST_CLASSES = len(COLOURS)  # more curves in one picture cannot be distinguished
_MOST_FEATURES = 25
_MOST_POINTS = 20_000  # for what is drawn point by point


def performance_plots(
    task: Task, y: ArrayLike, prediction: ArrayLike, classes: Sequence[str] | None = None, unit: str = ""
) -> dict[str, bytes]:
    """Draw the quality of predictions, by file name: reliability and ROC with PR, or residuals.

    Labels and predictions are as in `domain.judging.metrics`: `y` (n,), `prediction` (n,) or (n, k) in the order of
    `classes`. `unit` is the label's, for a regression. Raises ValueError if a curve would not exist: no rows, or labels
    of one class only.
    """
    if task is Task.REGRESSION:
        return {"residuals.png": residuals(y, prediction, unit)}
    curves = one_against_rest(y, prediction, classes)
    return {"reliability.png": reliability(curves), "roc_pr.png": roc_pr(curves)}


Curves = Mapping[str, tuple[NDArray[np.bool_], Floats]]
"""By the name of a class: whether each row is of it (n,), and the probability it was given (n,)."""


def one_against_rest(y: ArrayLike, prediction: ArrayLike, classes: Sequence[str] | None = None) -> Curves:
    """Each class as present or not; of many classes only the most frequent. A binary task has one entry.

    Raises ValueError if no class has both rows with it and rows without.
    """
    labels, p = np.asarray(y), np.asarray(prediction, dtype=np.float64)
    classes_of_rows = (
        {"": (labels == 1, p)} if classes is None else {c: (labels == c, p[:, k]) for k, c in enumerate(classes)}
    )
    two_sided = {c: (hit, p) for c, (hit, p) in classes_of_rows.items() if hit.any() and not hit.all()}
    if not two_sided:
        raise ValueError(f"{len(labels):,} labels of one class only: there is no curve to draw")
    frequent = sorted(two_sided, key=lambda c: -int(two_sided[c][0].sum()))[:_MOST_CLASSES]
    return {c: two_sided[c] for c in sorted(frequent)}


def reliability(curves: Curves, bins: int = 10) -> bytes:
    """Draw observed over predicted shares in bins of equal counts, and below how the predictions are spread."""
    with figures.figure(5.6, 6.4) as (figure, png):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="perfectly calibrated")
        for (name, (hit, p)), colour in zip(curves.items(), COLOURS, strict=False):
            table = calibration_table(hit, p, bins)
            # 95 % by the normal approximation, within a bin
            error = 1.96 * np.sqrt(table["observed"] * (1 - table["observed"]) / table["rows"])
            upper.errorbar(
                table["predicted"], table["observed"], yerr=error, color=colour, marker="o", ms=4.5, lw=1.4, elinewidth=1,
                label=name or f"{len(table)} bins of about {table['rows'].median():,.0f} rows",
            )  # fmt: skip
            lower.hist(p, bins=40, range=(0, 1), histtype="stepfilled" if len(curves) == 1 else "step", color=colour)
        figures.describe(upper, "Reliability: do predicted probabilities come true?", "", "observed share")
        figures.describe(lower, "", "predicted probability", "rows")
        upper.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        figures.legend(upper, loc="upper left")
    return png.getvalue()


def roc_pr(curves: Curves) -> bytes:
    """Draw the ROC curve beside precision over recall."""
    with figures.figure(9.6, 4.8) as (figure, png):
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        for (name, (hit, p)), colour in zip(curves.items(), COLOURS, strict=False):
            false_positive, true_positive, _ = roc_curve(hit, p)
            label = f"{name} AUC {roc_auc_score(hit, p):.3f}".strip()
            left.plot(*_thinned(false_positive, true_positive), color=colour, lw=1.6, label=label)
            precision, recall, _ = precision_recall_curve(hit, p)
            label = f"{name} average precision {average_precision_score(hit, p):.3f}".strip()
            right.plot(*_thinned(recall, precision), color=colour, lw=1.6, label=label)
            right.axhline(hit.mean(), color=colour if len(curves) > 1 else MUTED, lw=1, ls="--")
        figures.describe(left, "ROC", "false positive rate", "true positive rate")
        figures.describe(right, "Precision and recall", "recall", "precision")
        for axes in (left, right):
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
            figures.legend(
                axes, loc="upper center", bbox_to_anchor=(0.5, -0.12)
            )  # below: no place within is free of curves
        rows = len(next(iter(curves.values()))[0])
        figures.note(figure, f"{rows:,} rows; dashed: a constant model")
    return png.getvalue()


def residuals(y: ArrayLike, prediction: ArrayLike, unit: str = "") -> bytes:
    """Draw predicted over actual values as a density, beside the distribution of the residuals."""
    actual, predicted = np.asarray(y, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if not len(actual):
        raise ValueError("no rows to draw")
    off, of_unit = predicted - actual, f" ({unit})" if unit else ""
    with figures.figure(9.6, 4.8) as (figure, png):
        left, right = figure.subplots(1, 2)
        low, high = _span(np.concatenate([actual, predicted]))
        left.plot([low, high], [low, high], color=MUTED, lw=1, ls="--")
        extent = (low, high, low, high)
        shown = left.hexbin(actual, predicted, gridsize=50, bins="log", cmap=_shades(), mincnt=1, extent=extent)
        bar = figure.colorbar(shown, ax=left, shrink=0.85, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(color=MUTED, labelcolor=INK, labelsize=9)
        left.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        figures.describe(left, "Predicted against actual (colour: rows)", f"actual{of_unit}", f"predicted{of_unit}")
        right.hist(off, bins=60, range=_span(off), color=COLOURS[0])
        right.axvline(0, color=MUTED, lw=1, ls="--")
        figures.describe(right, "Residuals", f"predicted minus actual{of_unit}", "rows")
        low, high = np.quantile(off, [0.1, 0.9])
        rmse = np.sqrt(np.mean(off**2))
        summary = f"mean {off.mean():+.3g}, RMSE {rmse:.3g}, 8 in 10 residuals from {low:+.3g} to {high:+.3g}"
        figures.note(figure, f"{len(off):,} rows; {summary}{of_unit}")
    return png.getvalue()


def importance(table: pd.DataFrame, loss: str) -> bytes:
    """Draw how much the loss grows without each feature, from `domain.learning.permutation_importance`."""
    shown = table.nlargest(_MOST_FEATURES, "mean").iloc[::-1]
    with figures.figure(7.2, 1.3 + 0.26 * len(shown)) as (figure, png):
        axes = figure.subplots()
        bounds = [shown["mean"] - shown["low"], shown["high"] - shown["mean"]]
        style = {"ecolor": INK, "elinewidth": 1}
        axes.barh(range(len(shown)), shown["mean"], xerr=bounds, color=COLOURS[0], height=0.65, error_kw=style)
        axes.set_yticks(range(len(shown)), [figures.name(str(feature)) for feature in shown["feature"]])
        axes.axvline(0, color=MUTED, lw=1)
        left_out = len(table) - len(shown)
        title = "Permutation importance" + (f" (without {left_out} smaller features)" if left_out else "")
        figures.describe(axes, title, f"growth of {loss} when the feature is shuffled", "")
        axes.grid(visible=False, axis="y")
        axes.set_ylim(-0.6, len(shown) - 0.4)
        figures.note(figure, "thin lines: two standard deviations over the shuffles, to either side")
    return png.getvalue()


def loss_difference(
    event_time: ArrayLike,
    difference: ArrayLike,
    interval: Interval,
    loss: str,
    names: tuple[str, str] = ("challenger", "champion"),
) -> bytes:
    """Draw the challenger's mean loss minus the champion's day by day, over the band of their mean over all rows.

    `difference` (n,) is each row's challenger's loss minus the champion's; below zero the challenger is better. `names`
    are what both are called.
    """
    moments = pd.to_datetime(np.asarray(event_time, dtype="datetime64[us]"))
    days = pd.Series(np.asarray(difference, dtype=np.float64)).groupby(moments.normalize()).agg(["mean", "sem"])
    with figures.figure(8.4, 4.4) as (figure, png):
        axes = figure.subplots()
        axes.axhline(0, color=INK, lw=1)
        if np.isfinite([interval.low, interval.high]).all():
            axes.axhspan(interval.low, interval.high, color=COLOURS[1], alpha=0.18, lw=0)
        label = f"mean {interval.mean:+.3g} ({100 * interval.confidence:.0f} % interval {interval.low:+.3g} to {interval.high:+.3g})"
        axes.axhline(interval.mean, color=COLOURS[1], lw=1.6, label=label)
        axes.errorbar(
            days.index, days["mean"], yerr=1.96 * days["sem"].fillna(0), color=COLOURS[0], marker="o", ms=4.5, ls="",
            elinewidth=1, label="a day's mean, 95 % from its rows",
        )  # fmt: skip
        better = f"difference in {loss}\n(below 0: {names[0]} better)"
        figures.describe(axes, f"{names[0].capitalize()} against {names[1]} on the judged rows", "", better)
        figures.date_ticks(axes)
        figures.legend(axes, loc="best")
        span = f"{len(moments):,} rows on {len(days)} days from {days.index[0]:%Y-%m-%d} to {days.index[-1]:%Y-%m-%d}"
        figures.note(figure, f"{span}; band: bootstrap of {interval.blocks} blocks, {interval.block_length} at a time")
    return png.getvalue()


def write(pictures: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write pictures into a folder under their names, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in pictures.items():
        (folder / name).write_bytes(png)
    return [folder / name for name in pictures]


def _shades() -> Any:
    """Blues; the lightest is distinguishable from white."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("rows", ["#c6dbea", COLOURS[0], "#12293d"])


def _span(values: Floats) -> tuple[float, float]:
    """The range without the outermost 1 in 1,000 values on either side: an outlier must not flatten the picture."""
    low, high = np.quantile(values, [0.001, 0.999])
    room = 0.05 * (high - low) or 0.5
    return float(low - room), float(high + room)


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most so many points of a curve, evenly spread, with both ends."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(np.intp))
    return x[kept], y[kept]
