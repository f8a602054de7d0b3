"""A fixed small graph: the time of one row is judged as a ratio to it, because machines and their load differ."""

from __future__ import annotations

import numpy as np

from trueup.adapters.onnx.graph import FEATURES, Graph

COLUMNS = 32


def reference_graph() -> bytes:
    """A logistic model of 32 numbers without missing values, as an ONNX file; the same bytes each time."""
    graph = Graph(COLUMNS)
    weights = graph.constant(np.linspace(-1.0, 1.0, COLUMNS).reshape(-1, 1))
    return graph.file(graph.node("Sigmoid", graph.node("MatMul", FEATURES, weights)), 1, {})
