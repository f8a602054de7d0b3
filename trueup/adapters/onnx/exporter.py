"""Writes fitted pipelines as ONNX files that predict the same, one class for each family.

Converters in general use are wrong for these pipelines without an error: see `docs/decisions/own-exporter.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from trueup.adapters.onnx import METADATA
from trueup.adapters.onnx.boosting import Boosting
from trueup.adapters.onnx.constant import Constant
from trueup.adapters.onnx.family import Family
from trueup.adapters.onnx.forest import Forest
from trueup.adapters.onnx.form import Form, metadata
from trueup.adapters.onnx.graph import Graph
from trueup.adapters.onnx.light_gbm import LightGbm
from trueup.adapters.onnx.linear import Linear
from trueup.config.tasks import Task
from trueup.domain.learning.learning import class_names
from trueup.errors import NoExporter

_FAMILIES: tuple[type[Family], ...] = (Boosting, LightGbm, Forest, Linear, Constant)


def to_onnx(fitted: Pipeline, dtypes: Mapping[str, str], task: Task) -> Form:
    """Write a fitted pipeline as an ONNX file.

    `dtypes` has the dtype of each column of the feature frame that it was fitted on, as text: a number column of
    `float32` is rounded to float32, any other one is float64. Raises NoExporter if the estimator or a step before it
    has no exporter.
    """
    family = _family(fitted)(fitted, dtypes)
    inputs = family.inputs
    classes = tuple(class_names(task, fitted) or ())
    graph = Graph(len(inputs), family.ml)
    result = family.write(graph)
    if task is not Task.REGRESSION:
        result = _of_classes(graph, result, list(fitted.classes_), task)
    text = metadata(inputs, family.tolerance, classes, task.value, family.infinite)
    content = graph.file(result, len(classes) or 1, {METADATA: text})
    return Form(content, inputs, family.tolerance, classes, family.infinite)


def _family(fitted: Pipeline) -> type[Family]:
    for family in _FAMILIES:
        if family.takes(fitted[-1]):
            return family
    raise NoExporter(
        f"{type(fitted[-1]).__name__} has no ONNX exporter; if the model needs an ONNX form, choose another family in train.families"
    )


def _of_classes(graph: Graph, result: str, classes: list[Any], task: Task) -> str:
    """The probability of 1 for a binary task, and of all classes for a multiclass one; see `Family`."""
    if task is Task.BINARY:
        if len(classes) == 2 and classes.index(1) == 1:
            return result
        return graph.repeated(np.array([float(classes == [1])]))  # all labels are of one class
    if len(classes) != 2:
        return result
    other = graph.node("Sub", graph.constant(np.array([[1.0]])), result)
    return graph.node("Concat", other, result, axis=1)
