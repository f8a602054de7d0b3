"""Gradient boosting as a TreeEnsemble of ai.onnx.ml 5 in double: the same branches and sums as in scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from trueup.adapters.onnx.ensemble import tree_ensemble
from trueup.adapters.onnx.family import TreeFamily
from trueup.adapters.onnx.graph import FEATURES, Graph
from trueup.adapters.onnx.trees import Tree, of_boosting
from trueup.errors import NoExporter

_IDENTITY_LINK, _LOG_LINK = "IdentityLink", "LogLink"


class Boosting(TreeFamily):
    """Histogram gradient boosting. The link is a node of its own: onnxruntime's own post-transforms have errors."""

    estimators = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
    infinite = True

    def write(self, graph: Graph) -> str:
        baseline = np.array(self.estimator._baseline_prediction, dtype=np.float64).reshape(1, -1)
        trees: list[tuple[int, Tree]] = []
        for iteration in self.estimator._predictors:
            for target, predictor in enumerate(iteration):
                tree = _read(predictor)
                if tree.is_constant:
                    baseline[0, target] += tree.values[0, 0]
                else:
                    trees.append((target, tree))
        if not trees:
            raw = graph.repeated(baseline[0])
        else:
            raw = graph.node("Add", tree_ensemble(graph, FEATURES, trees, baseline.shape[1]), graph.constant(baseline))
        return self._linked(graph, raw, baseline.shape[1])

    def _linked(self, graph: Graph, raw: str, targets: int) -> str:
        if isinstance(self.estimator, HistGradientBoostingClassifier):
            return graph.node("Sigmoid", raw) if targets == 1 else graph.node("Softmax", raw, axis=1)
        link = type(self.estimator._loss.link).__name__
        if link == _LOG_LINK:
            return graph.node("Exp", raw)
        if link != _IDENTITY_LINK:
            raise NoExporter(
                f"the loss {self.estimator.loss} has no ONNX exporter; choose another one in train.parameters"
            )
        return raw


def _read(predictor: object) -> Tree:
    try:
        return of_boosting(predictor)
    except ValueError as error:
        raise NoExporter(f"{error}, which has no ONNX exporter; leave categorical_features out") from error
