"""Have the inputs moved? Everything about drift but the distances themselves, which `trueup.adapters.drift` asks of Evidently.

Two samples are compared column by column: the *reference*, rows of the champion's training window, and the *current* batch.

A column has drifted when a figure passes its limit. The limit is the configured one, or what samples of this size show
without any drift where that is more, so that a small batch does not raise alarms for being small. "Without any drift"
means the quantile that all columns together pass in 1 % of cases (Bonferroni) if rows are independent:

- PSI of `cells` cells: chi-square with cells - 1 degrees of freedom times (1/n + 1/m) (Yurdakul & Naranjo 2020), times
  1 + cells / min(n, m), because cells with few rows make its tail heavier than that.
- Jensen-Shannon distance, natural logarithm: the root of that chi-square times (1/n + 1/m) / 8 (Grosse et al. 2002).
- Share of missing values: two binomial samples.
- Share of categories that the reference does not have: what the reference's singletons predict (Good 1953; Turing).

Inputs have *shifted* when the configured share of columns has drifted in distribution, or when any one column shows what
is never mere season: a jump of the missing share, new categories, infinite values where there were none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from trueup.config.schema import DriftConfig, Task
from trueup.domain.features import FeatureSchema
from trueup.domain.types import Metric, Verdict

MIN_ROWS = 30  # on either side; with fewer nothing is said about a distribution
MAX_CATEGORIES = 50  # the rarer ones are compared as one,
MIN_CATEGORY_ROWS = 5  # and so are those that the reference has fewer rows of
PSI, JENSEN_SHANNON = "psi", "jensenshannon"
OTHER = "(other)"

_FALSE_ALARMS = 0.01  # over all columns of a batch
_STRUCTURAL = frozenset({"missing", "new categories", "infinite"})


@dataclass(frozen=True)
class DriftScore:
    """The distance between the two samples of one column.

    `method` says what `value` means: `psi` or `jensenshannon` (a distance from 0 to 0.83, the root of ln 2). `cells` are
    the values compared, `n_reference` and `n_current` the rows that have one.
    """

    column: str
    method: str
    value: float
    cells: int
    n_reference: int
    n_current: int


@dataclass(frozen=True)
class ColumnDrift:
    """What one check says about one column; `limit` is None where the check only reports."""

    column: str
    check: str
    value: float
    limit: float | None
    drifted: bool
    note: str = ""


@dataclass(frozen=True)
class DriftResult:
    """Whether the inputs have shifted: yes, no, or None for "could not tell"; with every check of every column."""

    shifted: bool | None
    reason: str
    checks: tuple[ColumnDrift, ...]
    n_reference: int
    n_current: int

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that drifted, in the order of the checks."""
        return tuple(dict.fromkeys(c.column for c in self.checks if c.drifted))

    @property
    def limits(self) -> dict[str, float]:
        """The limits of the distances by column, for reports that mark drifted columns."""
        return {c.column: c.limit for c in self.checks if c.check in (PSI, JENSEN_SHANNON) and c.limit is not None}

    @property
    def verdict(self) -> Verdict:
        """The result as a verdict: it fails when the inputs have shifted."""
        figures = {"drifted": list(self.drifted), "n_reference": self.n_reference, "n_current": self.n_current}
        if self.shifted is None:
            return Verdict.inconclusive("drift", self.reason, **figures)
        return (Verdict.failed if self.shifted else Verdict.passed)("drift", self.reason, **figures)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "checks": [asdict(c) for c in self.checks], "drifted": list(self.drifted)}


def sample(frame: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Draw `n` rows without replacement, or give the frame itself when it has no more."""
    return frame if len(frame) <= n else frame.sample(n, random_state=np.random.default_rng(seed))


def comparable(
    reference: pd.DataFrame, current: pd.DataFrame, schema: FeatureSchema
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring both samples to a few cells a column, so that any distance between them can be trusted.

    A number becomes its place among the reference's deciles, as PSI was first defined; values that repeat themselves get
    cells of their own. (Equal-width bins, Evidently's default, put all rows into one bin when a single value is far out,
    and then nothing drifts.) Rare categories of the reference, and those it does not have, become one. Returns two
    frames of pandas categories with the columns of the schema; infinite values, text among numbers, and columns that
    are not there are missing.
    """
    pairs = {c: _deciles(_finite(reference, c), _finite(current, c)) for c in schema.numeric}
    pairs |= {c: _frequent(_column(reference, c), _column(current, c)) for c in schema.categorical}
    return (
        pd.DataFrame({c: pair[0] for c, pair in pairs.items()}, index=reference.index),
        pd.DataFrame({c: pair[1] for c, pair in pairs.items()}, index=current.index),
    )


def column_checks(
    reference: pd.DataFrame, current: pd.DataFrame, schema: FeatureSchema, config: DriftConfig
) -> list[ColumnDrift]:
    """Look for what no distance between distributions sees: missing shares, infinities, new categories, constants."""
    if reference.empty or current.empty:
        return []
    level = _level(len(schema.names))
    found = [_missing(c, _column(reference, c), _column(current, c), level, config) for c in schema.names]
    for column in schema.numeric:
        found += _infinite(column, _numbers(reference, column), _numbers(current, column))
    for column in schema.categorical:
        found += _new_categories(column, _column(reference, column), _column(current, column), level, config)
    return found + [c for name in schema.names for c in _constant(name, _column(current, name))]


def judge_drift(
    scores: Mapping[str, DriftScore],
    checks: Sequence[ColumnDrift],
    n_reference: int,
    n_current: int,
    config: DriftConfig,
) -> DriftResult:
    """Hold the scores against their limits and sum up.

    `scores` may lack columns that cannot be compared; they are neither drifted nor still. An empty batch is "no data",
    and fewer than 30 rows on either side are inconclusive: neither is "no drift".
    """
    if not n_current or not n_reference:
        side = "in the batch" if not n_current else "in the reference"
        return DriftResult(None, f"no data: no rows {side}", (), n_reference, n_current)
    if min(n_current, n_reference) < MIN_ROWS:
        reason = f"{n_current} rows against {n_reference}: at least {MIN_ROWS} are needed on each side"
        return DriftResult(None, reason, tuple(checks), n_reference, n_current)

    compared = [s for s in scores.values() if min(s.n_reference, s.n_current) >= MIN_ROWS]
    moved = [_judge_score(s, _level(len(compared)), config) for s in compared]
    all_checks = (*moved, *checks)
    broken = [c for c in checks if c.drifted and c.check in _STRUCTURAL]
    drifted = [c.column for c in moved if c.drifted]
    counts = f"{len(drifted)} of {len(moved)} columns drifted" + (f" ({', '.join(drifted)})" if drifted else "")
    reason = "; ".join([counts, *(f"{c.column}: {c.note}" for c in broken)])
    if not moved and not broken:
        return DriftResult(None, "no column has enough values to compare", all_checks, n_reference, n_current)
    shifted = bool(broken) or (bool(drifted) and len(drifted) >= config.share * len(moved))
    return DriftResult(shifted, reason, all_checks, n_reference, n_current)


def prediction_and_label_shift(
    task: Task,
    predictions: tuple[ArrayLike, ArrayLike],
    labels: tuple[ArrayLike, ArrayLike],
) -> list[Metric]:
    """Say how far predictions and labels moved between (reference, current); it informs and decides nothing.

    Predictions are probabilities (n,) of the positive class, values (n,), or predicted classes (n,) of a multiclass
    model. Numbers are compared by the Kolmogorov-Smirnov distance, classes by the Jensen-Shannon distance to base 2:
    both run from 0 (alike) to 1 (nothing in common). For numbers the change of the mean stands beside. A side without
    values gives no metric.
    """
    found: list[Metric] = []
    for name, (before, now) in (("prediction", predictions), ("label", labels)):
        a, b = pd.Series(np.asarray(before)).dropna(), pd.Series(np.asarray(now)).dropna()
        if a.empty or b.empty:
            continue
        if task is Task.MULTICLASS:
            shares = pd.concat([a.value_counts(normalize=True), b.value_counts(normalize=True)], axis=1).fillna(0.0)
            found.append(Metric(f"{name}_shift", float(jensenshannon(shares.iloc[:, 0], shares.iloc[:, 1], 2)), len(b)))
        else:
            found.append(Metric(f"{name}_shift", float(stats.ks_2samp(a, b, method="asymp").statistic), len(b)))
            found.append(Metric(f"{name}_mean_change", float(b.mean() - a.mean()), len(b)))
    return found


def _level(columns: int) -> float:
    return 1 - _FALSE_ALARMS / max(columns, 1)


def _judge_score(score: DriftScore, level: float, config: DriftConfig) -> ColumnDrift:
    n, m, cells = score.n_current, score.n_reference, score.cells
    noise = float(stats.chi2.ppf(level, max(cells - 1, 1))) * (1 / n + 1 / m)
    if score.method == PSI:
        limit = max(config.numeric_threshold, noise * (1 + cells / min(n, m)))
    else:
        limit = max(config.categorical_threshold, float(np.sqrt(noise / 8)))
    return ColumnDrift(score.column, score.method, score.value, limit, score.value >= limit)


def _missing(column: str, before: pd.Series, now: pd.Series, level: float, config: DriftConfig) -> ColumnDrift:
    n, m = len(now), len(before)
    was, share = float(before.isna().mean()), float(now.isna().mean())
    pooled = (was * m + share * n) / (m + n)
    noise = stats.norm.isf((1 - level) / 2) * np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    limit = max(config.missing_growth, float(noise))
    note = f"missing {share:.1%}, was {was:.1%}"
    return ColumnDrift(column, "missing", share - was, limit, abs(share - was) >= limit, note)


def _infinite(column: str, before: pd.Series, now: pd.Series) -> list[ColumnDrift]:
    count, earlier = int(np.isinf(now).sum()), int(np.isinf(before).sum())
    if not count:
        return []
    note = f"{count} infinite value{'s' * (count > 1)}, {earlier or 'none'} in the reference"
    return [ColumnDrift(column, "infinite", count, None, not earlier, note)]


def _new_categories(
    column: str, before: pd.Series, now: pd.Series, level: float, config: DriftConfig
) -> list[ColumnDrift]:
    counts, values = before.value_counts(), now.dropna()
    counts = counts[counts > 0]
    if counts.empty or values.empty:
        return []
    new = values[~values.isin(counts.index)]
    expected = min(1.0, ((counts == 1).sum() + 1) / counts.sum())
    spread = np.sqrt(expected * (1 - expected) * (1 / counts.sum() + 1 / len(values)))
    limit = max(config.new_categories, float(expected + stats.norm.ppf(level) * spread))
    share = len(new) / len(values)
    note = f"{new.nunique()} new categories in {share:.1%} of the rows"
    return [ColumnDrift(column, "new categories", share, limit, share >= limit, note)]


def _constant(column: str, now: pd.Series) -> list[ColumnDrift]:
    values = now.dropna()
    if len(values) < 2 or not (values == values.iloc[0]).all():
        return []
    return [ColumnDrift(column, "constant", 1, None, False, f"always {values.iloc[0]}")]


def _column(frame: pd.DataFrame, column: str) -> pd.Series:
    return frame[column] if column in frame else pd.Series(np.nan, index=frame.index, dtype=object)


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    values = _column(frame, column)
    if not pd.api.types.is_numeric_dtype(values):
        values = pd.to_numeric(values, errors="coerce")
    return values.astype("float64")


def _finite(frame: pd.DataFrame, column: str) -> pd.Series:
    return _numbers(frame, column).replace([np.inf, -np.inf], np.nan)


def _deciles(before: pd.Series, now: pd.Series) -> tuple[pd.Categorical, pd.Categorical]:
    known = before.dropna().to_numpy()
    edges = _edges(known) if len(known) else np.array([])
    names = _names(edges)

    def place(values: pd.Series) -> pd.Categorical:
        codes = np.where(values.isna(), -1, np.searchsorted(edges, values.to_numpy(), side="left"))
        return _cells(codes, names)

    return place(before), place(now)


def _edges(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper ends of the cells but the last. A value that fills a whole decile is cut off on both sides."""
    deciles = np.quantile(known, np.arange(1, 10) / 10, method="inverted_cdf")
    values, times = np.unique(deciles, return_counts=True)
    with np.errstate(over="ignore"):  # below the smallest number there is lies minus infinity, and no value
        return np.union1d(values, np.nextafter(values[times > 1], -np.inf))


def _names(edges: NDArray[np.float64]) -> list[str]:
    """Names of the cells between the edges, in order; the number before keeps them apart and in order when sorted."""
    if not len(edges):
        return ["all"]
    noise = 1e-9 * float(
        np.abs(edges[np.isfinite(edges)]).max(initial=0)
    )  # a sine of 180 degrees is not quite 0, and reads like a riddle
    ends = [f"{0 if abs(e) <= noise else e:.5g}" for e in edges]
    inner = [a if a == b else f"{a} to {b}" for a, b in pairwise(ends)]
    return [f"{i:02} {name}" for i, name in enumerate([f"up to {ends[0]}", *inner, f"above {ends[-1]}"])]


def _frequent(before: pd.Series, now: pd.Series) -> tuple[pd.Categorical, pd.Categorical]:
    counts = before.value_counts()
    kept = counts.index[counts >= MIN_CATEGORY_ROWS][:MAX_CATEGORIES].astype(object)
    names = [str(k) for k in kept]

    def place(values: pd.Series) -> pd.Categorical:
        values = values.astype("category")
        found = kept.get_indexer(values.cat.categories.astype(object))
        lookup = np.append(np.where(found < 0, len(kept), found), -1)  # the last is for code -1, missing
        return _cells(lookup[values.cat.codes], [*names, OTHER])

    return place(before), place(now)


def _cells(codes: NDArray[np.intp], names: list[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(cast(Sequence[int], codes), pd.Index(names))
