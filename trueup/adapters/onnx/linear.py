"""Linear models: numbers imputed, flagged, scaled and multiplied in double; categories as rows of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from trueup.adapters.onnx.family import Family, steps, texts, unexpected
from trueup.adapters.onnx.form import DOUBLE_TOLERANCE, FLOAT_TOLERANCE, Input, unknown_text
from trueup.adapters.onnx.graph import DOUBLE, FEATURES, FLOAT, INT64, Graph
from trueup.errors import NoExporter

Floats = NDArray[np.float64]
_LARGEST_TOLERANCE = 0.01  # labels in millions have weights in millions, but a wrong form must not pass for them


class Linear(Family):
    """Ridge and logistic regression, after imputation, scaling and one-hot encoding."""

    estimators = (LogisticRegression, Ridge)

    @property
    def tolerance(self) -> float:
        weights = self.estimator.coef_
        if weights.dtype != np.float32:
            return DOUBLE_TOLERANCE
        # If all columns are float32, scikit-learn itself adds in float32. Its error is relative to the terms, which may
        # be much larger than their sum; a scaled column has about the size 1.
        size = np.abs(np.column_stack([np.atleast_2d(weights), self.estimator.intercept_])).sum(axis=1).max()
        return min(FLOAT_TOLERANCE * max(1.0, float(size)), _LARGEST_TOLERANCE)

    @property
    def inputs(self) -> tuple[Input, ...]:
        inputs: list[Input] = []
        for step, names in steps(self.prepare):
            if not isinstance(step, OneHotEncoder):
                inputs += [self.number(name) for name in names]
                continue
            for name, values in zip(names, step.categories_, strict=True):
                categories = texts(name, values)
                count = len(categories)
                inputs.append(
                    Input(name, "category", categories=categories, missing=float(count), unknown=float(count + 1))
                )
        return tuple(inputs)

    def write(self, graph: Graph) -> str:
        weights = np.atleast_2d(self.estimator.coef_).astype(np.float64)  # (k, columns)
        terms, column, weight = [], 0, 0
        for step, names in steps(self.prepare):
            places = list(range(column, column + len(names)))
            column += len(names)
            if isinstance(step, OneHotEncoder):
                tables = _tables(step, names, weights[:, weight:])
                terms.append(_looked_up(graph, places, tables))
                weight += _width(step)
            else:
                imputer, scaler = _numeric_steps(step)
                scaled, width = self._scaled(graph, imputer, scaler, names, places)
                terms.append(graph.node("MatMul", scaled, graph.constant(weights[:, weight : weight + width].T.copy())))
                weight += width
        if weight != weights.shape[1]:
            raise NoExporter(f"the linear model has {weights.shape[1]} weights for {weight} columns; fit it again")
        intercept = np.atleast_1d(np.asarray(self.estimator.intercept_, dtype=np.float64))
        total = graph.constant(np.broadcast_to(intercept, (1, weights.shape[0])))
        for term in terms:
            total = graph.node("Add", term, total)
        if isinstance(self.estimator, Ridge):
            return total
        return graph.node("Sigmoid", total) if weights.shape[0] == 1 else graph.node("Softmax", total, axis=1)

    def _scaled(
        self, graph: Graph, imputer: SimpleImputer, scaler: StandardScaler, names: list[str], places: list[int]
    ) -> tuple[str, int]:
        """Fill, flag and scale numbers, in float32 if all of them are, as scikit-learn does; returns float64 (n, k)."""
        in_float = all(self.dtypes.get(name) == "float32" for name in names)
        dtype, kind = (np.float32, FLOAT) if in_float else (np.float64, DOUBLE)
        values = graph.columns(FEATURES, places)
        values = graph.cast(values, kind) if in_float else values
        missing = graph.node("IsNaN", values)
        filled = graph.node("Where", missing, graph.constant(imputer.statistics_.astype(dtype)), values)
        flagged = [] if imputer.indicator_ is None else [int(i) for i in imputer.indicator_.features_]
        if flagged:
            filled = graph.node("Concat", filled, graph.cast(graph.columns(missing, flagged), kind), axis=1)
        centred = graph.node("Sub", filled, graph.constant(scaler.mean_.astype(dtype)))
        scaled = graph.node("Div", centred, graph.constant(scaler.scale_.astype(dtype)))
        return graph.cast(scaled, DOUBLE) if in_float else scaled, len(names) + len(flagged)


def _numeric_steps(step: object) -> tuple[SimpleImputer, StandardScaler]:
    if not isinstance(step, Pipeline):
        raise unexpected(step)
    match [part for _, part in step.steps]:
        case [SimpleImputer() as imputer, StandardScaler() as scaler]:
            if np.isnan(imputer.statistics_).any():
                raise NoExporter("a column of the linear model had no value in training; fit it again without it")
            return imputer, scaler
        case parts:
            raise unexpected(parts[0])


def _tables(encoder: OneHotEncoder, names: list[str], weights: Floats) -> list[Floats]:
    """What each column adds to the scores (k,): by category, then for a missing value, then for an unknown category.

    The fitted encoder itself encodes each of them, so that its rules for rare and unknown ones hold.
    """
    tables, first = [], 0
    for position, (name, width) in enumerate(zip(names, _widths(encoder), strict=True)):
        categories = texts(name, encoder.categories_[position])
        values = [*categories, np.nan, unknown_text(categories)]
        frame = pd.DataFrame({other: pd.Series([np.nan] * len(values), dtype=object) for other in names})
        frame[name] = pd.Series(values, dtype=object)
        encoded = encoder.transform(frame)
        dense = np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded, dtype=np.float64)
        tables.append(dense[:, first : first + width] @ weights[:, first : first + width].T)
        first += width
    return tables


def _widths(encoder: OneHotEncoder) -> list[int]:
    """The number of encoded columns of each column."""
    rare = getattr(encoder, "infrequent_categories_", [None] * len(encoder.categories_))
    together = [0 if values is None else len(values) - 1 for values in rare]
    return [len(values) - less for values, less in zip(encoder.categories_, together, strict=True)]


def _width(encoder: OneHotEncoder) -> int:
    return sum(_widths(encoder))


def _looked_up(graph: Graph, places: list[int], tables: list[Floats]) -> str:
    """The sum of the columns' rows in their tables, which are one below the other."""
    first = np.cumsum([0, *(len(table) for table in tables[:-1])])
    codes = graph.cast(graph.columns(FEATURES, places), INT64)
    rows = graph.node("Add", codes, graph.constant(first.astype(np.int64)))
    each = graph.node("Gather", graph.constant(np.concatenate(tables)), rows, axis=0)  # (n, columns, k)
    return graph.node("ReduceSum", each, graph.constant(np.array([1], dtype=np.int64)), keepdims=0)
