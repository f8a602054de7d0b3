"""The losses of each model, on which `benchmarks/gates.py` plays every promotion rule.

For a fixed recipe and window, the model fitted at a cut-off does not depend on the rule that may promote it. So one
model is fitted for each cut-off, and its losses are summed by block of time; every rule compares linear functions of
them. Cut-offs are on a grid of half periods: 2k is the start of period k, 2k + 1 its middle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from benchmarks.gate_streams import Data, Floats
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.learning import (
    SIMPLE_ROWS,
    build,
    defaults,
    fit,
    permutation_importance,
    predict,
    prior_model,
    simple_model,
)
from trueup.domain.learning.recipe import Recipe
from trueup.errors import TrainingFailed

MAIN, SIMPLE, PRIOR = "main", "simple", "prior"
ROLES = (MAIN, SIMPLE, PRIOR)
ATTEMPTS = 10  # successive ones against one champion, for twins and planted challengers
WORSE = ("shuffled", "feature lost", "stale", "tail", "slice")
LEVELS = (0.01, 0.05, 0.2)
_VERSION = 1  # of what is fitted and kept: raise it with every change
_LONGEST_FOLD = 4  # grid steps that a fit in the middle of a period is judged over
_ARRAYS = ("rows", "at", "seen", "losses", "cuts", "twins", "worse")


@dataclass(frozen=True, eq=False)
class Record:
    """Losses by block of one stream and seed.

    `rows` (blocks,); `at` and `seen` (grid,) are the block of each cut-off and the first block with rows that its models have
    not learned from; `losses` (roles, grid, blocks) are sums, NaN where a model was not asked. `cuts` (c,) are the grid
    positions of champions that meet ten twins, `twins` (c, 10, blocks), and planted worse challengers, `worse`
    (c, kinds, levels, 10, blocks), NaN where a kind cannot be that much worse.
    """

    name: str
    kind: str
    half: str
    seed: int
    first: int  # grid position of the first champion
    delay: int  # blocks
    rows: Floats
    at: NDArray[np.intp]
    seen: NDArray[np.intp]
    losses: Floats
    cuts: NDArray[np.intp]
    twins: Floats
    worse: Floats

    @property
    def end(self) -> int:
        """The grid position of the end."""
        return len(self.at) - 1

    def of(self, role: str, cut: int) -> Floats:
        """Loss sums (blocks,) of a role's model fitted at a cut-off."""
        return self.losses[ROLES.index(role), cut]


def record(data: Data, cache: Path, pools: bool = True) -> Record:
    """Fit and measure, or read what an earlier run on the same rows kept in `cache`.

    Without `pools` there are neither twins nor planted challengers, which cost as much as all the rest.
    """
    settings = (
        _VERSION,
        data.name,
        data.seed,
        data.parameters,
        data.edges.tolist(),
        data.delay,
        data.trailing,
        data.family,
    )
    digest = hashlib.sha256(repr(settings).encode() + (b"" if pools else b" without pools"))
    digest.update(pd.util.hash_pandas_object(data.X.assign(y=data.y, block=data.block)).to_numpy().tobytes())
    path = cache / f"{digest.hexdigest()[:24]}.npz"
    about = {"name": data.name, "kind": data.kind, "half": data.half, "seed": data.seed, "first": 2 * data.first}
    if path.is_file():
        with np.load(path) as kept:
            return Record(**about, delay=data.delay, **{name: kept[name] for name in _ARRAYS})
    made = _Maker(data).record(about, pools)
    cache.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{np.random.default_rng().integers(2**31)}.npz")
    np.savez_compressed(scratch, **{name: getattr(made, name) for name in _ARRAYS})
    scratch.rename(path)
    return made


class _Maker:
    """Fits the models of one stream."""

    def __init__(self, data: Data) -> None:
        self.data = data
        halves = (data.edges[:-1] + data.edges[1:]) // 2
        self.at = np.append(np.column_stack([data.edges[:-1], halves]).ravel(), data.edges[-1])
        self.seen = np.maximum(self.at - data.delay, 0)
        self.recipe = Recipe(data.family, {**defaults(data.family, data.task), **data.parameters}, data.seed)
        self.starts = np.searchsorted(data.block, np.arange(data.blocks + 1))

    def record(self, about: dict[str, Any], pools: bool) -> Record:
        data, end = self.data, len(self.at) - 1
        losses = np.full((len(ROLES), end, data.blocks), np.nan)
        for cut in range(2 * data.first, end):
            until = end if cut % 2 == 0 else min(end, cut + _LONGEST_FOLD)
            for number, role in enumerate(ROLES):
                model = self._fitted(role, cut)
                losses[number, cut] = self._sums(self._rows(model, cut, until), cut)
        wanted = (2 * data.first, 2 * (data.first + ATTEMPTS + 1)) if pools else ()
        cuts = np.asarray([c for c in wanted if c == wanted[0] or c + 2 * ATTEMPTS <= end], dtype=int)
        made = [self._pool(int(cut), losses[0, cut]) for cut in cuts]
        twins = np.stack([twin for twin, _ in made]) if made else np.empty((0, ATTEMPTS, data.blocks))
        shape = (0, len(WORSE), len(LEVELS), ATTEMPTS, data.blocks)
        worse = np.stack([bad for _, bad in made]) if made else np.empty(shape)
        rows = np.diff(self.starts).astype(float)
        return Record(
            **about, delay=data.delay, rows=rows, at=self.at, seen=self.seen, losses=losses,
            cuts=cuts, twins=twins, worse=worse,
        )  # fmt: skip

    def _training(self, cut: int) -> slice:
        """The rows of the training window with labels known at a cut-off."""
        window = self.data.trailing
        begin = max(0, cut - 2 * window) if window else 0
        return slice(int(self.starts[self.at[begin]]), int(self.starts[self.seen[cut]]))

    def _fitted(self, role: str, cut: int) -> Pipeline:
        data, rows = self.data, self._training(cut)
        X, y = data.X.iloc[rows], data.y[rows]
        if role == PRIOR:
            return fit(prior_model(data.task), X, y)
        if role == SIMPLE:
            return fit(simple_model(data.schema, data.task, data.seed), X, y, SIMPLE_ROWS, data.seed)
        return fit(build(self.recipe, data.schema, data.task), X, y)

    def _rows(self, model: Pipeline, cut: int, until: int) -> Floats:
        """Row losses from the first row that the cut-off's models have not seen; NaN from `until` on."""
        data = self.data
        span = slice(int(self.starts[self.seen[cut]]), int(self.starts[self.at[until]]))
        losses = np.full(len(data.y), np.nan)
        losses[span] = row_losses(data.task, data.y[span], predict(model, data.X.iloc[span], data.task))
        return losses

    def _sums(self, losses: Floats, cut: int) -> Floats:
        sums = np.bincount(self.data.block, np.nan_to_num(losses), minlength=self.data.blocks)
        judged = np.bincount(self.data.block, ~np.isnan(losses), minlength=self.data.blocks)
        whole = np.diff(self.starts)
        sums[(judged < whole) | (np.arange(self.data.blocks) < self.seen[cut])] = np.nan
        return sums

    def _pool(self, cut: int, champion: Floats) -> tuple[Floats, Floats]:
        """Ten twins of the champion of a cut-off, and worse challengers made of them."""
        data = self.data
        until = min(cut + 2 * ATTEMPTS, len(self.at) - 1)
        span = slice(int(self.starts[self.at[cut]]), int(self.starts[self.at[until]]))
        rows, rng = self._training(cut), np.random.default_rng([data.seed, cut])
        X, y = data.X.iloc[rows], data.y[rows]
        seeds = [replace(self.recipe, seed=1_000 + cut * ATTEMPTS + i) for i in range(ATTEMPTS)]
        twins = [self._rows(fit(build(r, data.schema, data.task), X, y), cut, until) for r in seeds]
        twin_sums = np.stack([self._sums(t, cut) for t in twins])
        worse = np.full((len(WORSE), len(LEVELS), ATTEMPTS, data.blocks), np.nan)
        base = float(np.nansum(champion[self.at[cut] : self.at[until]]))
        for number, (bad, region) in enumerate(self._bad(cut, until, X, y, rng)):
            for attempt, twin in enumerate(twins):
                extra = np.where(region, bad - twin, 0.0)
                by_block = np.bincount(data.block[span], extra[span], minlength=data.blocks)
                by_period = np.add.reduceat(by_block, self.at[cut:until:2])[: (until - cut) // 2]
                if not by_period.min() > 0:  # it would be better for a time, and promoted rightly
                    continue
                for level, much in enumerate(LEVELS):
                    share = (base * (1 + much) - twin[span].sum()) / extra[span].sum()
                    if 0 <= share <= 1:
                        answers = np.where(rng.random(len(twin)) < share, twin + extra, twin)
                        worse[number, level, attempt] = self._sums(answers, cut)
        return twin_sums, worse

    def _bad(
        self, cut: int, until: int, X: pd.DataFrame, y: NDArray[Any], rng: np.random.Generator
    ) -> list[tuple[Floats, NDArray[np.bool_]]]:
        """Row losses of really worse models, and the rows in which a planted challenger answers with them."""
        data, everywhere = self.data, np.ones(len(self.data.y), dtype=bool)
        fitted = fit(build(self.recipe, data.schema, data.task), X, y)
        best = permutation_importance(fitted, X, y, data.schema, data.task, seed=data.seed)["feature"].iloc[0]
        left = FeatureSchema(
            tuple(c for c in data.schema.numeric if c != best), tuple(c for c in data.schema.categorical if c != best)
        )
        old = max(len(y) // 5, 60)
        makers: list[Callable[[], Pipeline]] = [
            lambda: fit(build(self.recipe, data.schema, data.task), X, rng.permutation(y)),
            lambda: fit(build(self.recipe, left, data.task), X, y),
            lambda: fit(build(self.recipe, data.schema, data.task), X.iloc[:old], y[:old]),
            lambda: fit(prior_model(data.task), X, y),
        ]
        losses = []
        for make in makers:
            try:
                losses.append(self._rows(make(), cut, until))
            except TrainingFailed:  # one class in the oldest rows
                losses.append(np.full(len(data.y), np.nan))
        values = data.X[next(c for c in data.schema.numeric)].to_numpy(dtype=float)
        middle, first = np.nanmedian(values), data.schema.categorical[:1]
        away = np.abs(values - middle)
        tail = (
            away > np.nanquantile(away, 0.95)
            if data.task is not Task.REGRESSION
            else data.y > np.quantile(data.y, 0.95)
        )
        part = (data.X[first[0]] == _commonest(data.X[first[0]])).to_numpy() if first else values > middle
        regions = [everywhere, everywhere, everywhere, tail, part]
        return list(zip([*losses, losses[-1]], regions, strict=True))


def _commonest(values: pd.Series) -> Any:
    """Give the most frequent value."""
    return values.mode().iloc[0]
