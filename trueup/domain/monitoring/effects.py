"""How much of the change of the predictions the movement of each column explains.

A batch moves in many columns at once, and most of them hardly change a prediction. The batch's rows are therefore
changed back step by step: a column takes the *reference's distribution*, and the change of the mean prediction is that
column's *effect*.

- A number is mapped by its rank: the row with the batch's lowest value takes the reference's lowest (quantile mapping).
  Of categories and missing values no more rows change than the shares ask for. So the columns stay as dependent on each
  other as they are in the batch, and a column that has not moved does not change.
- Columns are changed in a random order and in the reverse of it, and the two effects are averaged. This is the Shapley
  value from one antithetic pair of orders (Mitchell et al. 2022), exact if the model has no interaction of more than two
  moved columns. The effects add up to the change of the mean prediction from the batch to the batch with all columns
  changed back. What is left of the whole change, the *remainder*, comes from how columns depend on each other, and from
  columns that are not compared.
- The *noise* of an effect is its standard error if the columns had not moved: a column's part of the predictions' variance
  (the estimator of Jansen 1999 for the total index of Sobol), divided by the rows of each side. Rows near in time
  resemble each other, which this does not count: an effect beyond the noise is real for these rows, and may be usual.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.metrics import figure
from trueup.domain.monitoring.cells import numbers, values_of

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Predict = Callable[[pd.DataFrame], Floats]  # one value a row (n,), or class probabilities (n, k)

NAMED = 3  # columns in words
MOST_COLUMNS = 64  # that are explained one by one
_ROWS = 500  # of the batch that are changed back; the distributions are those of all rows
_FALSE_ALARMS = 0.01  # that any column without effect is named
_TENTH = 0.1  # of the largest effect: smaller ones are not named
_CELLS = 4_000_000  # of a frame that is predicted at once: 32 MB of numbers
_REMAINDER = 0.25  # of the change: smaller ones are not said
_NUMBERS = ("none", "one", "two", "three")


@dataclass(frozen=True)
class ColumnEffect:
    """The part of the change of the mean prediction that the movement of one column explains.

    `effect` is signed, in the unit of the prediction (a probability, or the label's unit); `share` is its part of the
    whole change, 0 if the mean prediction did not change. `noise` is the standard error of an effect of 0.
    """

    column: str
    effect: float
    share: float
    words: str
    noise: float = 0.0


@dataclass(frozen=True)
class PredictionChange:
    """The change of the mean prediction from the reference to a batch, and what explains it.

    `effects` are those of the columns that matter, the largest first: beyond noise, and no less than a tenth of the
    largest. `others` is the largest absolute effect among all other columns. `remainder` is what no compared column
    explains: the change less the effects of all columns. `target` is the class with the largest change of its
    probability in a multiclass model, else empty.
    """

    before: float
    after: float
    effects: tuple[ColumnEffect, ...]
    others: float
    remainder: float
    noise: float  # the standard error of the change
    words: str = ""  # the columns that matter, without a full stop
    target: str = ""

    @property
    def change(self) -> float:
        """The change of the mean prediction."""
        return self.after - self.before


def size(value: float, unit: str = "") -> str:
    """An absolute effect with two digits and its unit.

    >>> size(0.04123), size(-3.21, "minutes")
    ('0.041', '3.2 minutes')
    """
    return figure(abs(value), 2) + (f" {unit}" if unit else "")


def signed(value: float, unit: str = "") -> str:
    """An effect with its sign, two digits and its unit.

    >>> signed(0.04123), signed(-3.21, "minutes")
    ('+0.041', '-3.2 minutes')
    """
    return ("-" if value < 0 else "+") + size(value, unit)


def explain_change(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    schema: FeatureSchema,
    predict: Predict,
    drifted: Collection[str] = (),
    *,
    classes: Sequence[str] = (),
    unit: str = "",
    seed: int = 0,
) -> PredictionChange | None:
    """Explain the change of the mean prediction by the movements of the columns of `schema`.

    Both frames have all columns that `predict` needs, and no more rows than are to be predicted: besides these, 1,500
    rows a moved column. For class probabilities (n, k) give the `classes` (k,). None if no column is `drifted` and the
    mean prediction has not changed beyond noise. A frame without rows raises ValueError.
    """
    if reference.empty or current.empty:
        raise ValueError("effects need rows on both sides")
    before, after = predict(reference), predict(current)
    chosen, target = predict, ""
    if before.ndim == 2:
        most = int(np.abs(after.mean(axis=0) - before.mean(axis=0)).argmax())
        target, before, after = classes[most], before[:, most], after[:, most]

        def chosen(rows: pd.DataFrame) -> Floats:
            return predict(rows)[:, most]

    change = float(after.mean() - before.mean())
    noise = float(np.sqrt(before.var() / len(before) + after.var() / len(after)))
    if not drifted and abs(change) <= -scipy.stats.norm.ppf(_FALSE_ALARMS / 2) * noise:
        return None
    effects, noises = _effects(reference, current, schema, chosen, seed)
    matter, others = _that_matter(effects, noises, change, drifted, unit)
    made = PredictionChange(
        before=float(before.mean()),
        after=float(after.mean()),
        effects=matter,
        others=others,
        remainder=change - sum(effects.values()),
        noise=noise,
        target=target,
    )
    return replace(made, words=_words(made, drifted, unit))


def _words(made: PredictionChange, drifted: Collection[str], unit: str) -> str:
    what = f"the probability of {made.target}" if made.target else "predictions"
    if not made.effects:
        return f"no column moves {what} by more than {size(made.others, unit)}"
    named = made.effects[:NAMED]
    said = [
        f"{e.column}{' (not drifted)' if drifted and e.column not in drifted else ''}{'' if i else f' moves {what}'} by "
        + signed(e.effect, unit)
        for i, e in enumerate(named)
    ]
    words = [f"{_NUMBERS[len(named)]} matter{'s' if len(named) == 1 else ''}: {', '.join(said)}"]
    if rest := max([made.others, *(abs(e.effect) for e in made.effects[NAMED:])]):
        words.append(f"each other column moves them by at most {size(rest, unit)}")
    if abs(made.remainder) > max(2 * made.noise, _REMAINDER * abs(made.change)):
        whole = f"the change of {signed(made.change, unit)}"
        words.append(f"{signed(made.remainder, unit)} of {whole} comes from no single column")
    return "; ".join(words)


def changed_back(before: pd.Series, now: pd.Series, numeric: bool, rng: np.random.Generator) -> Ints:
    """The row (m,) whose value each row of `now` takes to have the distribution of `before`.

    Rows are numbered through both: those of `before` (n,) come first. A row whose value stays has its own number.
    """
    return (_ranked if numeric else _counted)(before, now, rng)


def _ranked(before: pd.Series, now: pd.Series, rng: np.random.Generator) -> Ints:
    n, m = len(before), len(now)
    a, b = before.to_numpy(dtype=float), now.to_numpy(dtype=float)
    there = np.flatnonzero(~np.isnan(a))
    there = there[np.argsort(a[there], kind="stable")]
    lacking = np.isnan(b)
    wanted = round((n - len(there)) / n * m)  # missing values
    places = n + np.arange(m)
    order = np.full(m, np.nan)  # of the rows with a value, from 0 to 1
    known = rng.permutation(np.flatnonzero(~lacking))
    known = known[np.argsort(b[known], kind="stable")]  # equal values in random order
    order[known] = (np.arange(len(known)) + 0.5) / max(len(known), 1)
    if (more := int(lacking.sum()) - wanted) > 0:
        filled = rng.choice(np.flatnonzero(lacking), more, replace=False)
        order[filled] = rng.random(more)
    elif more < 0:
        emptied = rng.choice(known, -more, replace=False)
        order[emptied] = np.nan
        places[emptied] = np.flatnonzero(np.isnan(a))[0]
    ranked = np.argsort(order, kind="stable")[: int((~np.isnan(order)).sum())]
    if len(ranked) and len(there):
        quantiles = ((np.arange(len(ranked)) + 0.5) / len(ranked) * len(there)).astype(np.intp)
        places[ranked] = there[np.minimum(quantiles, len(there) - 1)]
    return places


def _counted(before: pd.Series, now: pd.Series, rng: np.random.Generator) -> Ints:
    n, m = len(before), len(now)
    codes, _ = pd.factorize(pd.concat([before.astype(object), now.astype(object)], ignore_index=True))
    a, b = codes[:n] + 1, codes[n:] + 1  # 0 is missing
    kinds = int(max(a.max(), b.max())) + 1
    exact = np.bincount(a, minlength=kinds) / n * m
    wanted = np.floor(exact).astype(np.intp)
    largest = np.argsort(wanted - exact, kind="stable")[: m - wanted.sum()]  # the largest remainders
    wanted[largest] += 1
    lacks = wanted - np.bincount(b, minlength=kinds)
    places = n + np.arange(m)
    moved = [rng.choice(np.flatnonzero(b == k), -lacks[k], replace=False) for k in np.flatnonzero(lacks < 0)]
    if moved:
        first = np.full(kinds, -1, dtype=np.intp)
        values, at = np.unique(a, return_index=True)
        first[values] = at
        given = np.repeat(np.arange(kinds), np.maximum(lacks, 0))
        places[np.concatenate(moved)] = first[rng.permutation(given)]
    return places


def _effects(
    reference: pd.DataFrame, current: pd.DataFrame, schema: FeatureSchema, predict: Predict, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The effect of each column, and its standard error under no movement."""
    rng, n, m = np.random.default_rng(seed), len(reference), len(current)
    both = pd.concat([reference, current], ignore_index=True)
    chosen = np.arange(m) if m <= _ROWS else np.sort(rng.choice(m, _ROWS, replace=False))
    places = {}
    for name in schema.names:
        numeric = name in schema.numeric
        sides = (numbers(reference, name), numbers(current, name)) if numeric else _values(reference, current, name)
        back = changed_back(*sides, numeric, rng)[chosen]
        if name in both and _differs(both[name], back, n + chosen):
            places[name] = back
    effects, noises = dict.fromkeys(schema.names, 0.0), dict.fromkeys(schema.names, 0.0)
    if not places:
        return effects, noises
    names = [str(name) for name in rng.permutation(list(places))]
    changes = {name: np.zeros(len(chosen)) for name in names}
    for order in (names, names[::-1]):
        steps = _steps(both, n + chosen, order, places, predict)
        for name, change in zip(order, steps[:-1] - steps[1:], strict=True):
            changes[name] += change / 2
    still = _noises(both, n, m, chosen, names, predict, rng)
    for name, change in changes.items():
        effects[name] = float(change.mean())
        of_rows = float(change.var()) / len(chosen) * (1 - len(chosen) / m)  # that only some rows are changed back
        noises[name] = float(np.hypot(still[name], np.sqrt(of_rows)))
    return effects, noises


def _values(reference: pd.DataFrame, current: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    return values_of(reference, name), values_of(current, name)


def _differs(column: pd.Series, back: Ints, own: Ints) -> bool:
    a, b = column.iloc[back].astype(object).to_numpy(), column.iloc[own].astype(object).to_numpy()
    return bool((~((a == b) | (pd.isna(a) & pd.isna(b)))).any())


def _steps(both: pd.DataFrame, own: Ints, order: Sequence[str], places: dict[str, Ints], predict: Predict) -> Floats:
    """The predictions (steps + 1, rows) of the batch's rows while columns are changed back in an order."""
    states = [{name: places[name] for name in order[:k]} for k in range(len(order) + 1)]
    return _predicted(both, own, states, predict)


def _noises(
    both: pd.DataFrame, n: int, m: int, chosen: Ints, names: Sequence[str], predict: Predict, rng: np.random.Generator
) -> dict[str, float]:
    """The standard errors, by giving each column the values of other rows of its side: half the rows on either."""
    half = max(1, len(chosen) // 2)
    own = np.concatenate([rng.choice(n, min(half, n), replace=False), n + rng.choice(chosen, half, replace=False)])
    before = own < n
    other = np.where(before, rng.integers(0, n, len(own)), n + rng.integers(0, m, len(own)))
    made = _predicted(both, own, [{}, *({name: other} for name in names)], predict)
    squares = (made[1:] - made[0]) ** 2 / 2
    sides = squares[:, before].mean(axis=1) / n + squares[:, ~before].mean(axis=1) / m
    return dict(zip(names, np.sqrt(sides).tolist(), strict=True))


def _predicted(both: pd.DataFrame, own: Ints, states: Sequence[dict[str, Ints]], predict: Predict) -> Floats:
    """The predictions (states, rows) of rows that take some columns from other rows, many states in a call."""
    at_once, made = max(1, _CELLS // max(both.shape[1] * len(own), 1)), []
    for start in range(0, len(states), at_once):
        part = states[start : start + at_once]
        frame = {
            name: both[name].array.take(np.concatenate([state.get(str(name), own) for state in part]))
            for name in both.columns
        }
        made.append(predict(pd.DataFrame(frame, copy=False)).reshape(len(part), len(own)))
    return np.concatenate(made)


def _that_matter(
    effects: dict[str, float], noises: dict[str, float], change: float, drifted: Collection[str], unit: str
) -> tuple[tuple[ColumnEffect, ...], float]:
    """The effects that are named, the largest first, and the largest of the others."""
    level = float(scipy.stats.norm.isf(_FALSE_ALARMS / 2 / max(len(effects), 1)))
    ordered = sorted(effects, key=lambda name: abs(effects[name]), reverse=True)
    beyond = [c for c in ordered if abs(effects[c]) > level * noises[c]]
    kept = [c for c in beyond if abs(effects[c]) >= _TENTH * abs(effects[beyond[0]])]
    others = max((abs(effects[c]) for c in ordered if c not in kept), default=0.0)
    made = []
    for name in kept:
        share = effects[name] / change if change else 0.0
        part = f" ({share:.0%} of their change)" if 0 < share <= 1 else ""
        moved = f"{name} moved, and moves" if name in drifted else f"{name} did not drift, but moves"
        words = f"{moved} predictions by {signed(effects[name], unit)}{part}"
        made.append(ColumnEffect(name, effects[name], share, words, noises[name]))
    return tuple(made), others
