"""The rows on which a form is compared with its pipeline: where two readings of one model would first differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from trueup.adapters.onnx.form import Form, Input, encode, unknown_text
from trueup.adapters.onnx.trees import Split, Splits, of_estimator
from trueup.config.tasks import Task
from trueup.domain.learning.learning import predict

_REAL = 1_000
_SPLITS = 300  # seven rows each
_GRID = 2_000
_MESSY = 200
_CATEGORIES = 200  # of a column
_HUGE = 1e30

Columns = dict[str, NDArray[Any]]


@np.errstate(over="ignore")  # a threshold may be beyond float32
def judged_rows(fitted: Pipeline, form: Form, X: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Make the rows (about 6,000 at most, with the columns of the form) that a form is judged on.

    - up to 1,000 rows of `X` (n > 0, any), a feature frame such as the gate's;
    - for up to 300 thresholds of the trees, drawn by `seed` if there are more, seven rows that reach the threshold: at
      it, just beside it in float64 and in float32, in float32 itself, and with a missing value;
    - up to 2,000 rows with a threshold, or a number just beside one, in every column that has some: all thresholds of
      a column, or 333 drawn ones if it has more;
    - each column missing, each category (up to 200 of a column), an unknown category, and many of these at once;
    - each number at -1e30 and 1e30, and at -inf and inf if the form takes them.

    Rows that scikit-learn refuses are left out, because there is nothing to compare.
    """
    rng = np.random.default_rng(seed)
    real = X.iloc[np.sort(rng.permutation(len(X))[:_REAL])]
    base = _columns(form.inputs, real)
    splits = Splits(of_estimator(fitted[-1]))
    reached = splits.drawn(_SPLITS, rng)
    gaps = _gaps(form.inputs, base, _MESSY, rng)
    extreme = _extreme(form.inputs, base, _HUGE, rng)
    groups = [
        _at_splits(form.inputs, base, reached, rng),
        _grid(form.inputs, base, splits, rng),
        _missing_at_splits(form.inputs, base, reached, rng),
        _one_by_one(form.inputs, base, rng),
        gaps,
        extreme,
    ]
    if form.infinite:
        groups.append(_extreme(form.inputs, base, np.inf, rng))
    # What takes infinite numbers takes all of these.
    if not form.infinite and not _takes(fitted, form.inputs, [_taken(gaps, [0]), extreme]):
        groups = [_accepted(fitted, form.inputs, group) for group in groups]
    return _frame(form.inputs, [base, *groups])


@np.errstate(over="ignore")  # a threshold may be beyond float32
def parity_rows(fitted: Pipeline, form: Form, X: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Make some dozens of rows for a bundle: no row of `X` (n > 0, any) is among them.

    If every combination of values is in `X`, as with one column or few distinct values, the rows are in `X`, too.

    They are rows with each column shuffled by itself, without those that are a row of `X` after all, rows at the
    thresholds of trees, rows with missing values and unknown categories, and with infinite numbers if the form takes
    them. Single values of `X` are in the rows.
    """
    rng = np.random.default_rng(seed)
    values = _columns(form.inputs, X)
    shuffled = {name: column[rng.integers(len(X), size=64)] for name, column in values.items()}
    real = {row.tobytes() for row in encode(form.inputs, X)}
    encoded = encode(form.inputs, _frame(form.inputs, [shuffled]))
    new = [place for place, row in enumerate(encoded) if row.tobytes() not in real]
    base = shuffled if not new else _taken(shuffled, new)
    reached = Splits(of_estimator(fitted[-1])).drawn(3, rng)
    groups = [
        _taken(base, range(24)) if new else _taken(base, []),
        _at_splits(form.inputs, base, reached, rng),
        _accepted(fitted, form.inputs, _gaps(form.inputs, base, 12, rng)),
    ]
    if form.infinite:
        groups.append(_taken(_extreme(form.inputs, base, np.inf, rng), range(2)))
    rows = _frame(form.inputs, groups)
    kept = [row.tobytes() not in real for row in encode(form.inputs, rows)]
    return rows[kept].reset_index(drop=True) if any(kept) else rows


def _columns(inputs: Sequence[Input], X: pd.DataFrame) -> Columns:
    """The columns of a frame as arrays: numbers in their dtype, texts and NaN as objects."""
    return {
        i.name: X[i.name].to_numpy(dtype=i.dtype, na_value=np.nan)
        if i.kind == "number"
        else X[i.name].astype(object).where(X[i.name].notna(), np.nan).to_numpy(dtype=object)
        for i in inputs
    }


def _frame(inputs: Sequence[Input], groups: Sequence[Columns]) -> pd.DataFrame:
    names = [i.name for i in inputs]
    joined = {name: np.concatenate([group[name] for group in groups]) for name in names}
    texts = {i.name for i in inputs if i.kind == "category"}
    length = len(joined[names[0]]) if names else 1
    return pd.DataFrame(
        {name: pd.Categorical(values) if name in texts else values for name, values in joined.items()},
        index=pd.RangeIndex(length),
    )


def _taken(columns: Mapping[str, NDArray[Any]], places: Any) -> Columns:
    """Some rows, those of places beyond the last one left out."""
    at = np.array(list(places), dtype=np.int64)
    return {name: values[at[at < len(values)]] for name, values in columns.items()}


def _drawn(columns: Columns, count: int, rng: np.random.Generator) -> Columns:
    """Copies of `count` rows, drawn with repetition."""
    length = len(next(iter(columns.values()), ()))
    return _taken(columns, rng.integers(max(length, 1), size=count))


def _at_splits(inputs: Sequence[Input], base: Columns, reached: Sequence[Split], rng: np.random.Generator) -> Columns:
    """Rows that reach a split, with each number beside its threshold."""
    rows = _drawn(base, 6 * len(reached), rng)
    for number, split in enumerate(reached):
        places = slice(6 * number, 6 * number + 6)
        _lead(inputs, rows, places, split)
        column = inputs[split.feature]
        rows[column.name][places] = _beside(column, np.array([split.threshold]))[0]
    return rows


def _lead(inputs: Sequence[Input], rows: Columns, places: slice, split: Split) -> None:
    """Change the values that would not lead to the split."""
    for feature, (low, high) in split.way.items():
        column = inputs[feature]
        values = rows[column.name][places]
        if low == np.inf:
            values[:] = np.nan  # all numbers go to the other side
        elif column.kind == "number":
            inside = (values > np.float64(low)) & (values <= np.float64(high))  # never rounded to float32
            values[~inside] = _between(low, high)
        else:
            last = len(column.categories) - 1
            values[:] = column.categories[int(np.floor(np.clip(high, max(low, -1) + 1, last)))]


def _between(low: float, high: float) -> float:
    """A number in (low, high], a float32 if there is one."""
    if not np.isfinite(high):
        nearest = np.float32(low)  # as a Python number, so that no comparison is made in float32
        return float(nearest if float(nearest) > low else np.nextafter(nearest, np.float32(np.inf)))
    nearest = np.float32(high)
    floored = float(nearest if float(nearest) <= high else np.nextafter(nearest, np.float32(-np.inf)))
    return floored if floored > low else high


def _beside(column: Input, thresholds: NDArray[np.float64]) -> NDArray[Any]:
    """The six values around each of m thresholds (m, 6): at it, below and above, and the same in float32."""
    # An infinite threshold separates missing values from all others.
    finite = np.where(np.isinf(thresholds), np.copysign(_HUGE, thresholds), thresholds)
    if column.kind == "category":
        last = len(column.categories) - 1
        below = np.clip(np.floor(finite), -1, last).astype(np.int64)
        codes = np.repeat(np.column_stack([below, below + 1]), 3, axis=1).clip(0, last)
        texts: NDArray[Any] = np.array(column.categories, dtype=object)[codes]
        return texts
    around = []
    for kind in (np.dtype(column.dtype).type, np.float32):
        at = finite.astype(kind)
        around += [at, np.nextafter(at, kind(-np.inf)), np.nextafter(at, kind(np.inf))]
    return np.column_stack(around).astype(column.dtype)


def _grid(inputs: Sequence[Input], base: Columns, splits: Splits, rng: np.random.Generator) -> Columns:
    """Rows with a threshold, or a value beside one, in every column that has some."""
    pools = {}
    for position, column in enumerate(inputs):
        thresholds = rng.permutation(splits.thresholds(position))[: _GRID // 6]
        if len(thresholds):
            pools[column.name] = pd.unique(_beside(column, thresholds).ravel())
    length = max((len(pool) for pool in pools.values()), default=0)
    rest = _drawn(base, length, rng)
    return {name: rng.permutation(np.resize(pools[name], length)) if name in pools else rest[name] for name in rest}


def _missing_at_splits(
    inputs: Sequence[Input], base: Columns, reached: Sequence[Split], rng: np.random.Generator
) -> Columns:
    """Rows that reach a split with its value missing."""
    rows = _drawn(base, len(reached), rng)
    for number, split in enumerate(reached):
        _lead(inputs, rows, slice(number, number + 1), split)
        rows[inputs[split.feature].name][number] = np.nan
    return rows


def _gaps(inputs: Sequence[Input], base: Columns, count: int, rng: np.random.Generator) -> Columns:
    """`count` rows of which a fifth of the values is missing, or unknown for categories; the first row has no value at all."""
    rows = _drawn(base, count, rng)
    for column in inputs:
        values = rows[column.name]
        if column.kind == "category":
            values[rng.random(count) < 0.2] = unknown_text(column.categories)
        values[rng.random(count) < 0.2] = np.nan
        values[:1] = np.nan
    return rows


def _one_by_one(inputs: Sequence[Input], base: Columns, rng: np.random.Generator) -> Columns:
    """Rows with one column missing, one unknown category, and one of each category."""
    changes: list[tuple[str, Any]] = [(column.name, np.nan) for column in inputs]
    for column in inputs:
        if column.kind == "category":
            drawn = rng.permutation(np.array(column.categories, dtype=object))[:_CATEGORIES]
            changes += [(column.name, value) for value in (*drawn, unknown_text(column.categories))]
    return _changed(base, changes, rng)


def _extreme(inputs: Sequence[Input], base: Columns, size: float, rng: np.random.Generator) -> Columns:
    """Rows with one number at -size, and at size."""
    numbers = [i.name for i in inputs if i.kind == "number"]
    return _changed(base, [(name, sign * size) for name in numbers for sign in (-1, 1)], rng)


def _changed(base: Columns, changes: Sequence[tuple[str, Any]], rng: np.random.Generator) -> Columns:
    rows = _drawn(base, len(changes), rng)
    for place, (name, value) in enumerate(changes):
        rows[name][place] = value
    return rows


def _takes(fitted: Pipeline, inputs: Sequence[Input], groups: Sequence[Columns]) -> bool:
    """Whether scikit-learn predicts these rows."""
    try:
        kind = Task.MULTICLASS if hasattr(fitted[-1], "classes_") else Task.REGRESSION
        with np.errstate(over="ignore", invalid="ignore"):
            predict(fitted, _frame(inputs, groups), kind)
    except ValueError:
        return False
    return True


def _accepted(fitted: Pipeline, inputs: Sequence[Input], rows: Columns) -> Columns:
    """The rows that scikit-learn takes: it refuses missing or huge numbers for some models."""
    length = len(next(iter(rows.values()), ()))
    if not length or _takes(fitted, inputs, [rows]):
        return rows
    if length == 1:
        return _taken(rows, [])
    middle = length // 2
    parts = [_accepted(fitted, inputs, _taken(rows, part)) for part in (range(middle), range(middle, length))]
    return {name: np.concatenate([part[name] for part in parts]) for name in rows}
