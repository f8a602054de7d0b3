"""The constant model: the classes' shares, or the mean, for every row."""

from __future__ import annotations

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor

from trueup.adapters.onnx.family import TreeFamily
from trueup.adapters.onnx.graph import Graph
from trueup.errors import NoExporter


class Constant(TreeFamily):
    """The stand-in `prior`. Its inputs are those of a family of trees, and change nothing."""

    estimators = (DummyClassifier, DummyRegressor)
    infinite = True

    def write(self, graph: Graph) -> str:
        if isinstance(self.estimator, DummyRegressor):
            return graph.repeated(np.ravel(self.estimator.constant_).astype(np.float64))
        if self.estimator.strategy != "prior":
            raise NoExporter(f"a constant model of the strategy {self.estimator.strategy} has no ONNX exporter")
        shares = np.asarray(self.estimator.class_prior_, dtype=np.float64)
        return graph.repeated(shares[1:] if len(shares) == 2 else shares)
