"""What the exporter of a family has to do, and how it reads the columns of a fitted pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from trueup.adapters.onnx.form import DOUBLE_TOLERANCE, Input
from trueup.adapters.onnx.graph import Graph
from trueup.errors import NoExporter

Dtypes = Mapping[str, str]


class Family(ABC):
    """Writes the graphs of one family of fitted pipelines.

    `write` adds the estimator to a graph and returns the name of its result, float64 (n, k): a value, the probability
    of the second of two classes (k = 1), or those of all classes.
    """

    estimators: ClassVar[tuple[type, ...]] = ()
    infinite: ClassVar[bool] = False  # whether scikit-learn takes infinite numbers

    def __init__(self, fitted: Pipeline, dtypes: Dtypes) -> None:
        self.estimator = fitted[-1]
        self.prepare = _only_preparation(fitted)
        self.dtypes = dtypes

    @classmethod
    def takes(cls, estimator: object) -> bool:
        """Whether this family writes an estimator; a subclass of one that it writes may predict otherwise."""
        return type(estimator) in cls.estimators

    @property
    def tolerance(self) -> float:
        return DOUBLE_TOLERANCE

    @property
    def ml(self) -> int:
        """The version of ai.onnx.ml."""
        return 5

    @property
    @abstractmethod
    def inputs(self) -> tuple[Input, ...]:
        """The columns of the pipeline, in the order of the graph's input."""

    @abstractmethod
    def write(self, graph: Graph) -> str: ...

    def number(self, name: str) -> Input:
        return Input(name, "number", "float32" if self.dtypes.get(name) == "float32" else "float64")


class TreeFamily(Family):
    """A family of trees: numbers as they are, categories as numbers, missing and unknown ones as NaN."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        inputs: list[Input] = []
        for step, names in steps(self.prepare):
            if isinstance(step, FunctionTransformer) and step.func is None:
                inputs += [self.number(name) for name in names]
            elif isinstance(step, OrdinalEncoder):
                listed = zip(names, step.categories_, strict=True)
                inputs += [Input(name, "category", categories=texts(name, values)) for name, values in listed]
            else:
                raise unexpected(step)
        return tuple(inputs)


def steps(prepare: ColumnTransformer | None) -> Iterator[tuple[Any, list[str]]]:
    """The fitted steps of a column transformer with the names of their columns, without steps that have none."""
    for _, step, names in [] if prepare is None else prepare.transformers_:
        if len(names) and not (isinstance(step, str) and step == "drop"):
            yield step, list(names)


def texts(name: str, values: Any) -> tuple[str, ...]:
    """The categories of a column without the missing one, which is last. Raises NoExporter unless all are text."""
    present = [value for value in values if not pd.isna(value)]
    if odd := [value for value in present if not isinstance(value, str)]:
        raise NoExporter(f"the categories of {name} are not text ({odd[0]!r}); fit the model on a feature frame")
    return tuple(present)


def unexpected(step: object) -> NoExporter:
    """The error for a step of a pipeline that no family reads."""
    return NoExporter(
        f"{type(step).__name__} in the pipeline has no ONNX exporter; build the pipeline with "
        "trueup.domain.learning.learning.build if the model needs an ONNX form"
    )


def _only_preparation(fitted: Pipeline) -> ColumnTransformer | None:
    others = [step for _, step in fitted.steps[:-1]]
    for step in others:
        if not isinstance(step, ColumnTransformer) or len(others) > 1:
            raise unexpected(step)
    return others[0] if others else None
