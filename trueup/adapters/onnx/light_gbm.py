"""LightGBM as a TreeEnsemble of ai.onnx.ml 5 in double: the same branches and sums as its own."""

from __future__ import annotations

import numpy as np

from trueup.adapters.onnx.ensemble import tree_ensemble
from trueup.adapters.onnx.family import TreeFamily
from trueup.adapters.onnx.graph import FEATURES, Graph
from trueup.adapters.onnx.trees import lightgbm_head, of_lightgbm
from trueup.domain.learning.recipe import is_lightgbm
from trueup.errors import NoExporter

_IDENTITY = {"regression", "regression_l1", "huber", "fair", "quantile", "mape"}
_LINKS = dict.fromkeys(_IDENTITY, "Identity") | {"poisson": "Exp", "gamma": "Exp", "tweedie": "Exp"}


class LightGbm(TreeFamily):
    """LightGBM with splits on numbers. The average of a first tree is in its leaves already."""

    infinite = True

    @classmethod
    def takes(cls, estimator: object) -> bool:
        return is_lightgbm(estimator)

    def write(self, graph: Graph) -> str:
        head = lightgbm_head(self.estimator)
        if "average_output" in head:
            raise NoExporter("boosting_type rf has no ONNX exporter; choose another one in train.parameters")
        targets = int(head["num_tree_per_iteration"])
        start, trees = np.zeros((1, targets)), []
        for number, tree in enumerate(of_lightgbm(self.estimator)):
            if tree.is_constant:
                start[0, number % targets] += tree.values[0, 0]
            else:
                trees.append((number % targets, tree))
        if not trees:
            return self._linked(graph, graph.repeated(start[0]), head["objective"].split())
        raw = tree_ensemble(graph, FEATURES, trees, targets)
        return self._linked(graph, graph.node("Add", raw, graph.constant(start)), head["objective"].split())

    def _linked(self, graph: Graph, raw: str, objective: list[str]) -> str:
        if objective == ["binary", "sigmoid:1"]:
            return graph.node("Sigmoid", raw)
        if objective[0] == "multiclass":
            return graph.node("Softmax", raw, axis=1)
        link = _LINKS.get(objective[0])
        if link is None or "sqrt" in objective:
            raise NoExporter(
                f"the objective {' '.join(objective)} has no ONNX exporter; choose another one in train.parameters"
            )
        return raw if link == "Identity" else graph.node(link, raw)
