"""Forests: as a TreeEnsemble of ai.onnx.ml 5 in double if they have one output, else in float32.

The trees of a forest for several classes share their leaves, for which only the older operator has a place: a tree for
each class would take three times as long. That operator adds in float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from trueup.adapters.onnx.ensemble import tree_ensemble
from trueup.adapters.onnx.family import TreeFamily
from trueup.adapters.onnx.form import DOUBLE_TOLERANCE, FLOAT_TOLERANCE
from trueup.adapters.onnx.graph import DOUBLE, FEATURES, FLOAT, ML, Graph
from trueup.adapters.onnx.trees import Tree, of_forest

_BITS = 23  # of a float32's fraction


class Forest(TreeFamily):
    """Extremely randomised trees: the mean of their leaves. scikit-learn rounds the rows to float32."""

    estimators = (ExtraTreesClassifier, ExtraTreesRegressor)

    @property
    def _outputs(self) -> int:
        classes = getattr(self.estimator, "n_classes_", 1)
        return 1 if classes == 2 else int(classes)  # of two classes, the second one is enough

    @property
    def tolerance(self) -> float:
        return DOUBLE_TOLERANCE if self._outputs == 1 else FLOAT_TOLERANCE

    @property
    def ml(self) -> int:
        return 5 if self._outputs == 1 else 3

    def write(self, graph: Graph) -> str:
        trees = [of_forest(tree).averaged(len(self.estimator.estimators_)) for tree in self.estimator.estimators_]
        constant = np.sum([np.zeros((1, self._outputs)), *(t.values[:1] for t in trees if t.is_constant)], axis=0)
        split = [tree for tree in trees if not tree.is_constant]
        if not split:
            return graph.repeated(constant[0])
        rows = graph.cast(FEATURES, FLOAT)
        if self._outputs == 1:
            sums = tree_ensemble(graph, graph.cast(rows, DOUBLE), [(0, tree) for tree in split], 1)
        else:
            sums = _sums_of_classes(graph, rows, split)
        return graph.node("Add", sums, graph.constant(constant))


def _sums_of_classes(graph: Graph, rows: str, trees: list[Tree]) -> str:
    high, low = _halves([tree.values for tree in trees], trees)
    sums = graph.cast(_ensemble(graph, rows, trees, high, low), DOUBLE)
    outputs = 2 * high[0].shape[1]
    return graph.node("Add", *(graph.columns(sums, list(range(first, outputs, 2))) for first in (0, 1)))


def _halves(
    weights: list[NDArray[np.float64]], trees: list[Tree]
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Write each weight as the sum of two float32, so that the sum of the first ones is exact in float32.

    The operator adds in float32, which would lose seven digits of ten. The first ones are multiples of one power of
    two, so small in number that no sum of them needs more bits than a float32 has.
    """
    largest = np.sum([np.abs(w[tree.leaf]).max(axis=0) for w, tree in zip(weights, trees, strict=True)], axis=0)
    _, exponents = np.frexp(largest)  # largest < 2 ** exponents
    steps = np.ldexp(1.0, exponents + 1 - _BITS)  # one bit more, for the rounding of each tree
    high = [np.rint(w / steps) * steps for w in weights]
    low = [(w - h).astype(np.float32) for w, h in zip(weights, high, strict=True)]
    return [h.astype(np.float32) for h in high], low


def _floored(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 at most the threshold: a float32 is at most the one exactly if it is at most the other."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _ensemble(
    graph: Graph, rows: str, trees: list[Tree], high: list[NDArray[np.float32]], low: list[NDArray[np.float32]]
) -> str:
    """All trees as one operator; output 2 i has the first halves of output i, and 2 i + 1 the second ones."""
    columns: dict[str, list[np.ndarray]] = {}
    for number, tree in enumerate(trees):
        leaves = np.flatnonzero(tree.leaf)
        targets = 2 * high[number].shape[1]
        weights = np.stack([high[number][leaves], low[number][leaves]], axis=2).reshape(len(leaves), targets)
        written = weights != 0
        written[:, 0] = True  # each leaf needs one
        at, target = np.nonzero(written)
        of_tree = {
            "nodes_treeids": np.full(len(tree.leaf), number),
            "nodes_nodeids": np.arange(len(tree.leaf)),
            "nodes_featureids": np.where(tree.leaf, 0, tree.feature),
            "nodes_values": np.where(tree.leaf, np.float32(0), _floored(tree.threshold)),
            "nodes_modes": np.where(tree.leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_truenodeids": np.where(tree.leaf, 0, tree.left),
            "nodes_falsenodeids": np.where(tree.leaf, 0, tree.right),
            "nodes_missing_value_tracks_true": tree.missing_left & ~tree.leaf,
            "target_treeids": np.full(len(at), number),
            "target_nodeids": leaves[at],
            "target_ids": target,
            "target_weights": weights[at, target],
        }
        for name, values in of_tree.items():
            columns.setdefault(name, []).append(values)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    return graph.node(
        "TreeEnsembleRegressor", rows, domain=ML, n_targets=2 * high[0].shape[1], aggregate_function="SUM",
        post_transform="NONE", **whole,
    )  # fmt: skip
