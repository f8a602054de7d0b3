"""The decision trees of a fitted ensemble in one form, whichever class of scikit-learn they come from."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble._forest import BaseForest

from trueup.domain.learning.recipe import is_lightgbm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ZERO = float(np.float32(1e-35))
_CONSIDERED = 50_000  # nodes of a forest from which some are drawn


@dataclass(frozen=True)
class Tree:
    """A tree of m nodes, the root first. A row goes left if its value is at most the threshold.

    All arrays are (m,), but `values` (m, k): what a leaf adds to each output. Children are positions in the tree.
    """

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    missing_left: NDArray[np.bool_]
    leaf: NDArray[np.bool_]
    values: Floats

    @property
    def is_constant(self) -> bool:
        """Whether the root is a leaf."""
        return bool(self.leaf[0])

    def averaged(self, trees: int) -> Tree:
        """This tree's part of the mean over so many trees; of two values only the second."""
        return replace(self, values=(self.values[:, 1:] if self.values.shape[1] == 2 else self.values) / trees)


def of_boosting(predictor: Any) -> Tree:
    """Read a tree of histogram gradient boosting. Raises ValueError if it splits on sets of categories."""
    nodes = predictor.nodes
    if nodes["is_categorical"].any():
        raise ValueError("a tree splits on sets of categories")
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        leaf=nodes["is_leaf"].astype(bool),
        values=nodes["value"].astype(np.float64).reshape(-1, 1),
    )


def of_forest(estimator: Any) -> Tree:
    """Read a tree of a forest; `values` are shares of the classes (m, k), or numbers (m, 1)."""
    tree = estimator.tree_
    nodes = tree.__getstate__()["nodes"]  # the only place where the side of missing values is
    return Tree(
        feature=nodes["feature"].astype(np.int64),
        threshold=nodes["threshold"].astype(np.float64),
        left=nodes["left_child"].astype(np.int64),
        right=nodes["right_child"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        leaf=nodes["left_child"] == -1,
        values=tree.value[:, 0, :].astype(np.float64),
    )


def of_lightgbm(estimator: Any) -> list[Tree]:
    """Read the trees of a LightGBM model from its text, in order. Raises ValueError for splits on sets of categories."""
    _, *trees = re.split(r"^Tree=\d+$", estimator.booster_.model_to_string(), flags=re.MULTILINE)
    return [_of_text(tree.partition("end of trees")[0]) for tree in trees]


def lightgbm_head(estimator: Any) -> dict[str, str]:
    """The facts before the trees of a LightGBM model's text, by name: `objective`, `num_tree_per_iteration`, ..."""
    text = estimator.booster_.model_to_string(num_iteration=1)
    return dict(line.partition("=")[::2] for line in text.partition("Tree=")[0].splitlines())


def _of_text(text: str) -> Tree:
    """A tree of LightGBM: the inner nodes, then the leaves, which their parents name by negative numbers."""
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    if int(values["num_cat"]):
        raise ValueError("a tree splits on sets of categories")

    def numbers(name: str, kind: type[Any] = np.int64) -> NDArray[Any]:
        return np.array(values.get(name, "").split(), dtype=kind)

    leaves, inner = numbers("leaf_value", np.float64), len(numbers("split_feature"))
    none = np.zeros(len(leaves), dtype=np.int64)
    left, right = (np.where(c >= 0, c, inner + ~c) for c in (numbers("left_child"), numbers("right_child")))
    return Tree(
        feature=np.append(numbers("split_feature"), none),
        threshold=np.append(_beside_zero(numbers("threshold", np.float64)), none),
        left=np.append(left, none),
        right=np.append(right, none),
        missing_left=np.append((numbers("decision_type") & 2) > 0, none.astype(bool)),
        leaf=np.arange(inner + len(leaves)) >= inner,
        values=np.append(np.zeros(inner), leaves).reshape(-1, 1),
    )


def _beside_zero(thresholds: Floats) -> Floats:
    """The thresholds for values as they are: LightGBM takes a value within `_ZERO` for 0 before it compares."""
    below, above = (thresholds < 0) & (thresholds >= -_ZERO), (thresholds >= 0) & (thresholds <= _ZERO)
    return np.select([below, above], [np.nextafter(-_ZERO, -np.inf), _ZERO], thresholds)


def of_estimator(estimator: Any) -> list[Tree]:
    """All trees of a fitted boosting or forest; an empty list for any other estimator."""
    if hasattr(estimator, "_predictors"):
        return [of_boosting(predictor) for iteration in estimator._predictors for predictor in iteration]
    if is_lightgbm(estimator):
        return of_lightgbm(estimator)
    if isinstance(estimator, BaseForest):
        return [of_forest(tree) for tree in estimator.estimators_]
    return []


@dataclass(frozen=True)
class Split:
    """A threshold, and for each feature on the way to it the values (low, high] that lead there."""

    feature: int
    threshold: float
    way: dict[int, tuple[float, float]]


class Splits:
    """All inner nodes of some trees: `feature` and `threshold` (m,)."""

    def __init__(self, trees: list[Tree]) -> None:
        self._trees = trees
        self._inner = [np.flatnonzero(~tree.leaf) for tree in trees]
        self._parents: dict[int, Ints] = {}
        none: list[NDArray[Any]] = [np.empty(0)]
        self.feature = np.concatenate([*none, *(t.feature[n] for t, n in zip(trees, self._inner, strict=True))])
        self.threshold = np.concatenate([*none, *(t.threshold[n] for t, n in zip(trees, self._inner, strict=True))])

    def thresholds(self, feature: int) -> Floats:
        """The sorted distinct thresholds of a feature."""
        return np.unique(self.threshold[self.feature == feature])

    def drawn(self, most: int, rng: np.random.Generator) -> list[Split]:
        """At most `most` splits, drawn by `rng`: each pair of feature and threshold once, and then their other nodes."""
        order = rng.permutation(len(self.feature))[:_CONSIDERED]
        pairs = np.column_stack([self.feature[order], self.threshold[order]])
        _, first = np.unique(pairs, axis=0, return_index=True)
        tree_of = np.repeat(np.arange(len(self._trees)), [len(nodes) for nodes in self._inner])
        node_of = np.concatenate([np.empty(0, dtype=np.int64), *self._inner])
        chosen = [*rng.permutation(first), *np.setdiff1d(np.arange(len(order)), first)]
        return [self._split(int(tree_of[i]), int(node_of[i])) for i in order[chosen[:most]]]

    def _split(self, number: int, node: int) -> Split:
        tree, parents = self._trees[number], self._parents_of(number)
        way: dict[int, tuple[float, float]] = {}
        child, parent = node, int(parents[node])
        while parent >= 0:
            feature, threshold = int(tree.feature[parent]), float(tree.threshold[parent])
            low, high = way.get(feature, (-np.inf, np.inf))
            way[feature] = (low, min(high, threshold)) if tree.left[parent] == child else (max(low, threshold), high)
            child, parent = parent, int(parents[parent])
        return Split(int(tree.feature[node]), float(tree.threshold[node]), way)

    def _parents_of(self, number: int) -> Ints:
        if number not in self._parents:
            tree, inner = self._trees[number], self._inner[number]
            parents = np.full(len(tree.leaf), -1)
            parents[tree.left[inner]] = parents[tree.right[inner]] = inner
            self._parents[number] = parents
        return self._parents[number]
