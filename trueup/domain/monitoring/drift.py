"""Decides whether the inputs have moved, from distances that `trueup.adapters.evidently` computes.

Two samples are compared column by column: the *reference*, rows of the champion's training window (see
`reference_rows`), and the *current* batch.

A column has drifted if a figure passes its limit. The limit is the configured one, or, if larger, what a batch shows
without any drift: how much samples of this size differ, and how far the column moves from batch to batch within the
reference (`movement`). "Without any drift" means:

- For distances, a level at which no more than 1 % of batches have the configured share of columns beyond their limits,
  however the columns depend on each other (Markov's inequality).
- For figures that shift a batch by a single column, the quantile that all columns together pass in 1 % of cases
  (Bonferroni). Share of missing values: two binomial samples. Share of categories that the reference does not have:
  what the reference's singletons predict (Good 1953; Turing), or what each of its blocks has that no other has.

Inputs have *shifted* if the configured share of columns has drifted in distribution, or if one column shows what no
season explains: a jump of the missing share, new categories, infinite values for the first time. Smaller changes of the
latter kind that exceed chance are *noted*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy  # its parts load with their first use: commands that only look need none
from numpy.typing import ArrayLike, NDArray

from trueup.config.sections.monitoring import DriftConfig
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.monitoring.cells import comparable, numbers, values_of
from trueup.domain.monitoring.effects import NAMED, ColumnEffect, PredictionChange
from trueup.domain.monitoring.movement import STILL, Ints, Method, Movement, chance, movement
from trueup.domain.monitoring.multivariate import Multivariate
from trueup.domain.monitoring.reference_rows import Reference
from trueup.domain.types import Metric, Verdict, Window

MIN_ROWS = 30  # on either side; fewer rows say nothing about a distribution
PSI: Method = "psi"
JENSEN_SHANNON: Method = "jensenshannon"

_FALSE_ALARMS = 0.01  # over all columns of a batch
_MORE_MISSING = 2.0  # growth of missing values over the reference that is noted
_ALL_WEEKS = 10_000  # before a batch; rows after a gap have a far lower number
_NAMED = 3  # new categories
_STRUCTURAL = frozenset({"missing", "new categories", "infinite"})


@dataclass(frozen=True)
class DriftScore:
    """The distance between the two samples of one column.

    `method` defines `value`: `psi` or `jensenshannon` (a distance from 0 to 0.83, the root of ln 2). `cells` are the
    values compared, `n_reference` and `n_current` the rows that have one, `shares` those of the reference by cell.
    """

    column: str
    method: Method
    value: float
    cells: int
    n_reference: int
    n_current: int
    shares: tuple[float, ...] = ()  # () for cells of equal size


@dataclass(frozen=True)
class ColumnDrift:
    """One check of one column; `limit` is None if it only reports. `noted` values exceed chance, drift or not."""

    column: str
    check: str
    value: float
    limit: float | None
    drifted: bool
    note: str = ""
    noted: bool = False


@dataclass(frozen=True)
class YearAgo:
    """The drifted columns beside the batch of the same season a year ago: which of them differ from it as well."""

    window: Window
    rows: int
    drifted: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class DriftResult:
    """Whether the inputs have shifted: yes, no, or None for "unknown"; with every check of every column."""

    shifted: bool | None
    reason: str
    checks: tuple[ColumnDrift, ...]
    n_reference: int
    n_current: int
    phase: str = ""  # the phase of the season of the reference
    drifted: tuple[str, ...] = ()  # columns, in the order of the checks
    noted: tuple[str, ...] = ()  # what is worth a word and is no drift, in words
    effects: tuple[ColumnEffect, ...] = ()  # on the predictions, the largest first
    multivariate: Multivariate | None = None
    predictions: PredictionChange | None = None  # None: nothing moved, or the champion did not predict
    columns: int = 0  # whose distributions are compared
    year_ago: YearAgo | None = None  # None: nothing drifted, or no batch of that time has landed

    def __post_init__(self) -> None:  # both follow from the others
        drifted = tuple(dict.fromkeys(c.column for c in self.checks if c.drifted))
        noted = tuple(f"{c.column}: {c.note}" for c in self.checks if c.noted and not c.drifted)
        together = (self.multivariate.words,) if self.multivariate is not None and self.multivariate.drifted else ()
        season = (self.year_ago.words,) if self.year_ago is not None else ()
        self.__dict__.update(drifted=drifted, noted=(*noted, *together, *season))

    @property
    def limits(self) -> dict[str, float]:
        """The limits of the distances by column, for reports that mark drifted columns."""
        return {c.column: c.limit for c in self.checks if c.check in (PSI, JENSEN_SHANNON) and c.limit is not None}

    @property
    def verdict(self) -> Verdict:
        """The result as a verdict, which fails if the inputs have shifted."""
        figures = {"drifted": list(self.drifted), "n_reference": self.n_reference, "n_current": self.n_current}
        if self.shifted is None:
            return Verdict.inconclusive("drift", self.reason, **figures)
        return (Verdict.failed if self.shifted else Verdict.passed)("drift", self.reason, **figures)


def sample(frame: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Draw `n` rows without replacement, or return the frame itself if it has no more."""
    places = sample_places(len(frame), n, seed)
    return frame if places is None else frame.take(places)


def sample_places(rows: int, n: int, seed: int) -> NDArray[np.intp] | None:
    """The positions of `n` of so many rows, drawn without replacement; None if there are no more."""
    return None if rows <= n else np.random.default_rng(seed).choice(rows, n, replace=False)


def column_checks(
    reference: Reference, current: pd.DataFrame, schema: FeatureSchema, config: DriftConfig
) -> list[ColumnDrift]:
    """Check what distances between distributions do not show: missing shares, infinities, new categories, constants."""
    if reference.rows.empty or current.empty:
        return []
    level = 1 - _FALSE_ALARMS / max(len(schema.names), 1)
    checks = [_missing(c, reference, values_of(current, c), level, config) for c in schema.names]
    for column in schema.numeric:
        checks += _infinite(column, numbers(reference.rows, column), numbers(current, column))
    for column in schema.categorical:
        checks += _new_categories(column, reference, values_of(current, column), level, config)
    return [
        *(c for c in checks if c is not None),
        *(c for name in schema.names for c in _constant(name, values_of(current, name))),
    ]


def movements(reference: Reference, schema: FeatureSchema) -> dict[str, Movement]:
    """How far each column moves from block to block of the reference."""
    by_column = _by_block(reference.counted, reference.blocks, reference.at, reference, schema)
    if reference.weeks is None:
        return by_column
    whole = reference.weeks >= -_ALL_WEEKS
    slow = _by_block(reference.all_rows[whole], reference.weeks[whole], 0, reference, schema)
    return {c: max(moves, slow[c], key=lambda m: m.limit(1 - _FALSE_ALARMS)) for c, moves in by_column.items()}


def _by_block(
    rows: pd.DataFrame, blocks: Ints, at: int | None, reference: Reference, schema: FeatureSchema
) -> dict[str, Movement]:
    cells, _ = comparable(rows, rows.iloc[:0], schema)
    moves = {}
    for column in schema.names:
        codes = cells[column].cat.codes.to_numpy().astype(np.intp)
        method, kept = PSI if column in schema.numeric else JENSEN_SHANNON, codes >= 0
        most = reference.independent.get(column, np.inf)
        moves[column] = movement(method, codes[kept], blocks[kept], len(cells[column].cat.categories), most, at)
    return moves


def judge_drift(
    scores: Mapping[str, DriftScore],
    checks: Sequence[ColumnDrift],
    n_reference: int,
    n_current: int,
    config: DriftConfig,
    moves: Mapping[str, Movement] | None = None,
    phase: str = "",
) -> DriftResult:
    """Compare the scores with their limits.

    `scores` may lack columns that cannot be compared; these count neither as drifted nor as unchanged. The same holds
    for a column with an unknown movement in the reference. An empty batch is "no data", and fewer than 30 rows on
    either side are inconclusive: neither is "no drift".
    """
    if not n_current or not n_reference:
        side = "in the batch" if not n_current else "in the reference"
        return DriftResult(None, f"no data: no rows {side}", (), n_reference, n_current, phase)
    if min(n_current, n_reference) < MIN_ROWS:
        reason = f"{n_current} rows against {n_reference}: at least {MIN_ROWS} are needed on each side"
        return DriftResult(None, reason, tuple(checks), n_reference, n_current, phase)

    compared = [s for s in scores.values() if min(s.n_reference, s.n_current) >= MIN_ROWS]
    by_name = {s.column: (moves or {}).get(s.column, STILL) for s in compared}
    comparable_columns = sum(m.measurable for m in by_name.values())
    wanted = max(1, int(np.ceil(config.share * comparable_columns - 1e-9)))
    level = 1 - _FALSE_ALARMS * wanted / max(comparable_columns, 1)
    moved = [_judge_score(s, level, config, by_name[s.column]) for s in compared]
    all_checks = (*moved, *checks)
    broken = [c for c in checks if c.drifted and c.check in _STRUCTURAL]
    drifted = [c.column for c in sorted(moved, key=_beyond, reverse=True) if c.drifted]
    if not comparable_columns and not broken:
        return DriftResult(None, "no column can be compared", all_checks, n_reference, n_current, phase)
    shifted = bool(broken) or len(drifted) >= wanted
    made = DriftResult(shifted, "", all_checks, n_reference, n_current, phase, columns=comparable_columns)
    return replace(made, reason=_reason(made, f" ({_first(drifted)})" if drifted else ""))


def with_effects(result: DriftResult, found: PredictionChange | str | None) -> DriftResult:
    """Add what the movement of the columns does to the predictions, or why that is unknown, and say so in the reason."""
    if isinstance(found, str):
        return replace(result, reason=f"{result.reason}; what this does to predictions is unknown: {found}")
    if found is None:
        return result
    reason = _reason(result, f"; {found.words}" if found.words else "")
    return replace(result, reason=reason, effects=found.effects, predictions=found)


def with_year_ago(
    result: DriftResult, scores: Mapping[str, DriftScore], window: Window, n_reference: int
) -> DriftResult:
    """Add how the drifted columns compare with the batch of the same season a year ago, by their limits of drift.

    `scores` are distances from that batch, with the window `window`. The inputs stay shifted: the champion may not have
    been trained on that season.
    """
    limits = {c.column: c.limit for c in result.checks if c.drifted and c.check in (PSI, JENSEN_SHANNON) and c.limit}
    if not limits or n_reference < MIN_ROWS:
        return result
    other = tuple(c for c, limit in limits.items() if c not in scores or scores[c].value >= limit)
    alike = len(limits) - len(other)
    words = f"{alike} of the {len(limits)} columns that drifted {'is' if alike == 1 else 'are'} as a year before, in {window}"
    words += f"; not {_first(other)}" if other and alike else ""
    return replace(result, year_ago=YearAgo(window, n_reference, other, words))


def nearest_first(result: DriftResult) -> list[str]:
    """The compared columns, those farthest beyond their limits first."""
    ordered = sorted(result.checks, key=_beyond, reverse=True)
    return list(dict.fromkeys(c.column for c in ordered))


def _reason(result: DriftResult, more: str) -> str:
    """How many columns drifted, which of them matter, and what shifts a batch by itself."""
    drifted = [c for c in result.checks if c.drifted and c.check in (PSI, JENSEN_SHANNON)]
    season = f" from {result.phase} before" if result.phase else ""
    counts = f"{len(drifted)} of {result.columns} columns drifted{season}{more}"
    broken = (f"{c.column}: {c.note}" for c in result.checks if c.drifted and c.check in _STRUCTURAL)
    return "; ".join([counts, *broken])


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def prediction_and_label_shift(
    task: Task,
    predictions: tuple[ArrayLike, ArrayLike],
    labels: tuple[ArrayLike, ArrayLike],
) -> list[Metric]:
    """Measure how far predictions and labels moved between (reference, current); it informs and decides nothing.

    Predictions are probabilities (n,) of the positive class, values (n,), or predicted classes (n,) of a multiclass
    model. Numbers are compared by the Kolmogorov-Smirnov distance, classes by the Jensen-Shannon distance to base 2:
    both run from 0 (alike) to 1 (disjoint). For numbers the change of the mean is added. A side without values has no
    metric.
    """
    shifts: list[Metric] = []
    for name, (before, now) in (("prediction", predictions), ("label", labels)):
        a, b = pd.Series(np.asarray(before)).dropna(), pd.Series(np.asarray(now)).dropna()
        if a.empty or b.empty:
            continue
        if task is Task.MULTICLASS:
            shares = pd.concat([a.value_counts(normalize=True), b.value_counts(normalize=True)], axis=1).fillna(0.0)
            shifts.append(
                Metric(
                    f"{name}_shift",
                    float(scipy.spatial.distance.jensenshannon(shares.iloc[:, 0], shares.iloc[:, 1], 2)),
                    len(b),
                )
            )
        else:
            shifts.append(Metric(f"{name}_shift", float(scipy.stats.ks_2samp(a, b, method="asymp").statistic), len(b)))
            shifts.append(Metric(f"{name}_mean_change", float(b.mean() - a.mean()), len(b)))
    return shifts


def _beyond(check: ColumnDrift) -> float:
    return abs(check.value) / check.limit if check.limit else float(check.drifted)


def _judge_score(score: DriftScore, level: float, config: DriftConfig, moves: Movement) -> ColumnDrift:
    n, m, column, method = score.n_current, score.n_reference, score.column, score.method
    if not moves.measurable:
        note = f"it moves too much within the reference, which holds {moves.blocks:.1f} independent blocks of it"
        return ColumnDrift(column, method, score.value, None, False, note)
    shares = np.array(score.shares or np.full(score.cells, 1 / score.cells))
    usual = chance(method, shares, n, m, level) + moves.limit(level)
    if method == PSI:
        limit = max(config.numeric_threshold, usual)
    else:
        limit = max(config.categorical_threshold, float(np.sqrt(usual / 8)))
    return ColumnDrift(column, method, score.value, limit, score.value >= limit)


def _missing(
    column: str, reference: Reference, now: pd.Series, level: float, config: DriftConfig
) -> ColumnDrift | None:
    before, blocks = reference.column(column)
    n, m = len(now), len(before)
    if not m:
        return None
    was, share = float(before.isna().mean()), float(now.isna().mean())
    pooled = (was * m + share * n) / (m + n)
    spread = pooled * (1 - pooled) * (1 / n + 1 / m)
    moves = movement(JENSEN_SHANNON, before.isna().to_numpy().astype(np.intp), blocks, 2, at=reference.at)
    usual = float(np.sqrt(scipy.stats.norm.isf((1 - level) / 2) ** 2 * spread + was * (1 - was) * moves.limit(level)))
    change, note = share - was, f"missing {share:.1%}, was {was:.1%}"
    if not moves.measurable:
        return ColumnDrift(column, "missing", change, None, False, note)
    limit = max(config.missing_growth, usual)
    noted = change > usual and share >= _MORE_MISSING * was
    return ColumnDrift(column, "missing", change, limit, abs(change) >= limit, note, noted)


def _infinite(column: str, before: pd.Series, now: pd.Series) -> list[ColumnDrift]:
    count, earlier = int(np.isinf(now).sum()), int(np.isinf(before).sum())
    if not count:
        return []
    note = f"{count} infinite value{'s' * (count > 1)}, {earlier or 'none'} in the reference"
    return [ColumnDrift(column, "infinite", count, None, not earlier, note)]


def _new_categories(
    column: str, reference: Reference, now: pd.Series, level: float, config: DriftConfig
) -> list[ColumnDrift]:
    counts, values = values_of(reference.all_rows, column).value_counts(), now.dropna()
    counts = counts[counts > 0]
    if counts.empty or values.empty:
        return []
    new = values[~values.isin(counts.index)]
    expected = min(1.0, ((counts == 1).sum() + 1) / counts.sum())
    spread = np.sqrt(expected * (1 - expected) * (1 / counts.sum() + 1 / len(values)))
    usual = max(float(expected + scipy.stats.norm.ppf(level) * spread), _turnover(*reference.column(column), level))
    share = len(new) / len(values)
    drifted = share >= max(config.new_categories, min(usual, 1.0)) and usual < 1
    return [
        ColumnDrift(
            column,
            "new categories",
            share,
            max(config.new_categories, usual),
            drifted,
            _named(new, share),
            share > usual,
        )
    ]


def _turnover(before: pd.Series, blocks: Ints, level: float) -> float:
    """The share of rows with new categories to expect in a further block, from the reference's blocks."""
    there = before.notna().to_numpy()
    table = pd.DataFrame({"value": pd.factorize(before[there])[0], "block": blocks[there]})
    own = table.groupby("value")["block"].transform("nunique") == 1
    shares = own.groupby(table["block"]).mean()
    if len(shares) < 3 or not shares.any():
        return 0.0
    further = shares.std() * np.sqrt(1 + 1 / len(shares))
    return float(shares.mean() + scipy.stats.t.ppf(level, len(shares) - 1) * further)


def _named(new: pd.Series, share: float) -> str:
    """New categories in words, the most frequent first."""
    most = [repr(str(v)) for v in new.astype(str).value_counts().index[:_NAMED]]
    count = new.nunique()
    more = f" ({', '.join(most)}{', ...' if count > len(most) else ''})" if most else ""
    return f"{count} new categor{'y' if count == 1 else 'ies'} in {share:.1%} of the rows{more}"


def _constant(column: str, now: pd.Series) -> list[ColumnDrift]:
    values = now.dropna()
    if len(values) < 2 or not (values == values.iloc[0]).all():
        return []
    return [ColumnDrift(column, "constant", 1, None, False, f"always {values.iloc[0]}")]
