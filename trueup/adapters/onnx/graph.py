"""Writes an ONNX graph node by node, the same bytes for the same calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper, numpy_helper

ML = "ai.onnx.ml"
FEATURES, PREDICTION = "features", "prediction"
# IR 10 and opset 21 are of 2024; a runtime that knows TreeEnsemble of ai.onnx.ml 5 knows them too.
_IR, _OPSET = 10, 21
DOUBLE, FLOAT, INT64 = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64


class Graph:
    """A graph with the input `features`, float64 (n, columns). Values are known by their names.

    `ml` is the version of the operators of ai.onnx.ml.
    """

    def __init__(self, columns: int, ml: int = 5) -> None:
        self._columns = columns
        self._ml = ml
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, array: NDArray[Any]) -> str:
        """Add an array; returns its name."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator; returns the name of its output. Attributes may be arrays of integers, float32 or text."""
        name = f"n{len(self._nodes)}"
        node = helper.make_node(operator, list(inputs), [name], domain=domain)
        node.attribute.extend(_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def columns(self, value: str, positions: list[int]) -> str:
        """Take some columns of a value (n, any)."""
        return self.node("Gather", value, self.constant(np.array(positions, dtype=np.int64)), axis=1)

    def cast(self, value: str, to: int) -> str:
        return self.node("Cast", value, to=to)

    def repeated(self, row: NDArray[np.float64]) -> str:
        """The same row (k,) for every row of the input: (n, k)."""
        count = self.node("Shape", FEATURES, start=0, end=1)
        shape = self.node("Concat", count, self.constant(np.array([len(row)], dtype=np.int64)), axis=0)
        return self.node("Expand", self.constant(row.reshape(1, -1)), shape)

    def file(self, result: str, columns: int, metadata: dict[str, str]) -> bytes:
        """The checked file, with `result` (n, columns) as the output `prediction`."""
        nodes = [*self._nodes, helper.make_node("Identity", [result], [PREDICTION])]
        graph = helper.make_graph(
            nodes,
            "trueup",
            [helper.make_tensor_value_info(FEATURES, DOUBLE, ["n", self._columns])],
            [helper.make_tensor_value_info(PREDICTION, DOUBLE, ["n", columns])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(ML, self._ml)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="trueup")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def _attribute(name: str, value: Any) -> Any:
    """Like `make_attribute`, which checks each element of an array in Python and takes a second for a forest."""
    if not isinstance(value, np.ndarray):
        return helper.make_attribute(name, value)
    attribute = AttributeProto(name=name)
    if value.dtype.kind in "ib":
        attribute.type = AttributeProto.INTS
        attribute.ints.extend(value.astype(np.int64).tolist())
    elif value.dtype == np.float32:
        attribute.type = AttributeProto.FLOATS
        attribute.floats.extend(value.tolist())
    else:
        attribute.type = AttributeProto.STRINGS
        attribute.strings.extend(text.encode() for text in value.tolist())
    return attribute
