"""Faulty challengers: ONNX graphs that raise, are slow, give NaN, or predict otherwise, made of a graph that is right.

Each function takes a graph with the input `features` (rows, inputs) and the output `prediction` (rows, outputs) as bytes,
and returns another one. `share` is the share of rows that have the fault; which ones they are depends on their features
alone, so the same row has it each time.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from trueup.export import archive
from trueup.ledger import documents
from trueup.ledger.canonical import canonical
from trueup.ledger.signing import Signer

Alter = Callable[[bytes], bytes]
_EDGE = Path(__file__).parents[2] / "edge"
_BEFORE = "prediction_before"
_CHOSEN = "fault_chosen"  # (rows, 1), whether a row has the fault
_UNIFORM = "fault_uniform"  # (rows, 1), a number in [0, 1) that a row's features determine
_INFINITE = {"Infinity": np.inf, "-Infinity": -np.inf}
_WAVES = 2000  # numbers whose sine is computed in a turn of the slow loop


def raising(graph: bytes, share: float = 1.0) -> bytes:
    """A graph that fails at run time for a share of the rows: it takes an element of a list that is too short."""
    nodes = [
        helper.make_node("Cast", [_CHOSEN], ["fault_index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["fault_list", "fault_index"], ["fault_nought"]),
        helper.make_node("Add", [_BEFORE, "fault_nought"], ["prediction"]),
    ]
    return _altered(graph, share, nodes, {"fault_list": np.zeros(1)})


def nan(graph: bytes, share: float = 1.0) -> bytes:
    """A graph that predicts NaN for a share of the rows."""
    nodes = [helper.make_node("Where", [_CHOSEN, "fault_nan", _BEFORE], ["prediction"])]
    return _altered(graph, share, nodes, {"fault_nan": np.array(np.nan)})


def shifted(graph: bytes, by: float, share: float = 1.0, low: float = -np.inf, high: float = np.inf) -> bytes:
    """A graph of one output that predicts more by `by`, and at least `low` and at most `high`, for a share of the rows."""
    nodes = [
        helper.make_node("Add", [_BEFORE, "fault_by"], ["fault_sum"]),
        helper.make_node("Clip", ["fault_sum", "fault_low", "fault_high"], ["fault_moved"]),
        helper.make_node("Where", [_CHOSEN, "fault_moved", _BEFORE], ["prediction"]),
    ]
    numbers = {"fault_by": np.array(by), "fault_low": np.array(low), "fault_high": np.array(high)}
    return _altered(graph, share, nodes, numbers)


def worse(graph: bytes, weight: float) -> bytes:
    """A graph of one probability that is mixed with a random number of that weight, so that its loss is larger."""
    nodes = [
        helper.make_node("Mul", [_BEFORE, "fault_rest"], ["fault_kept"]),
        helper.make_node("Mul", [_UNIFORM, "fault_weight"], ["fault_noise"]),
        helper.make_node("Add", ["fault_kept", "fault_noise"], ["prediction"]),
    ]
    return _altered(graph, 1.0, nodes, {"fault_rest": np.array(1 - weight), "fault_weight": np.array(weight)})


def scattered(graph: bytes, weight: float) -> bytes:
    """A graph of one probability that is moved by a random part, at most `weight`, of its distance to the nearer of 0 and 1.

    The move is nothing on average, so that the loss is larger and the mean prediction stays.
    """
    nodes = [
        helper.make_node("Sub", ["fault_one", _BEFORE], ["fault_above"]),
        helper.make_node("Min", [_BEFORE, "fault_above"], ["fault_room"]),
        helper.make_node("Sub", [_UNIFORM, "fault_half"], ["fault_centred"]),
        helper.make_node("Mul", ["fault_centred", "fault_twice"], ["fault_part"]),
        helper.make_node("Mul", ["fault_room", "fault_part"], ["fault_move"]),
        helper.make_node("Add", [_BEFORE, "fault_move"], ["prediction"]),
    ]
    return _altered(graph, 1.0, nodes, {"fault_half": np.array(0.5), "fault_twice": np.array(2 * weight)})


def slow(graph: bytes, more: float, share: float = 1.0) -> bytes:
    """A graph that takes about `more` seconds longer if one of the rows is of the share; it predicts the same."""
    few, many = 4, 24
    sessions = [open_session(slow_by_turns(graph, turns)) for turns in (few, many)]
    rows = np.zeros((1, sessions[0].get_inputs()[0].shape[1]))
    a_turn = (seconds(sessions[1], rows) - seconds(sessions[0], rows)) / (many - few)
    return slow_by_turns(graph, max(round(more / max(a_turn, 1e-7)), 1), share)


def slow_by_turns(graph: bytes, turns: int, share: float = 1.0) -> bytes:
    """A graph with a loop of so many turns of some microseconds each, if one of the rows is of the share."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Sin", ["waves"], ["next_waves"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn_number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("waves", TensorProto.DOUBLE, [_WAVES]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_waves", TensorProto.DOUBLE, [_WAVES]),
        ],
    )
    nodes = [
        helper.make_node("Cast", [_CHOSEN], ["fault_counts"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["fault_counts"], ["fault_any"], keepdims=0),
        helper.make_node("Mul", ["fault_any", "fault_turns"], ["fault_trips"]),
        helper.make_node("Loop", ["fault_trips", "fault_true", "fault_waves"], ["fault_last"], body=body),
        helper.make_node("ReduceSum", ["fault_last"], ["fault_total"], keepdims=0),
        helper.make_node("Mul", ["fault_total", "fault_zero"], ["fault_nought"]),
        helper.make_node("Add", [_BEFORE, "fault_nought"], ["prediction"]),
    ]
    constants = {
        "fault_turns": np.array(turns, np.int64),
        "fault_true": np.array(True),
        "fault_waves": np.linspace(0, 1, _WAVES),
        "fault_zero": np.array(0.0),
    }
    return _altered(graph, share, nodes, constants)


def plant(bundle: Path, signer: Signer, alter: Alter, **changes: object) -> str:
    """Put an altered graph into a bundle, with a right digest, signature and self-test; returns the manifest's SHA-256.

    What the server checks at load is right then, and the fault shows under traffic only. Rows of the self-test for which
    the graph raises or is not finite are left out. `changes` replace members of the manifest.
    """
    manifest = json.loads((bundle / archive.MANIFEST).read_bytes())
    graph = alter((bundle / archive.GRAPH).read_bytes())
    parity = _parity(graph, manifest, (bundle / archive.PARITY).read_bytes())
    contents = {archive.GRAPH: graph, archive.PARITY: parity}
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    content = canonical({**manifest, "files": files, **changes}).encode()
    signature = documents.signature_line(signer, documents.BUNDLE, content)
    archive.write_folder(bundle, {archive.MANIFEST: content, archive.SIGNATURE: signature, **contents})
    return hashlib.sha256(content).hexdigest()


def _parity(graph: bytes, manifest: Mapping[str, Any], before: bytes) -> bytes:
    """The lines of the self-test with what the graph predicts; those that it does not predict are left out."""
    session, encoder, lines = open_session(graph), _encoder(manifest), []
    for line in filter(None, before.decode().split("\n")):
        row = json.loads(line)["row"]
        numbers = {name: _INFINITE.get(value, value) for name, value in row.items()}
        try:
            (prediction,) = session.run(None, {"features": encoder.encode_one(numbers)})[0]
        except Exception:  # onnxruntime's own exceptions have no common class but this
            continue
        if np.isfinite(prediction).all():
            lines.append(canonical({"row": row, "prediction": prediction.tolist()}))
    if not lines:
        raise ValueError("the graph predicts no row of the self-test; give the fault to a smaller share of the rows")
    return "".join(f"{line}\n" for line in lines).encode()


def _encoder(manifest: Mapping[str, Any]) -> Any:
    """The encoder of the edge runtime, whose rules are those of the server, for a manifest as JSON."""
    if str(_EDGE) not in sys.path:  # a benchmark has it not
        sys.path.append(str(_EDGE))
    from trueup_edge.inputs import Encoder
    from trueup_edge.manifest import Input

    inputs = [
        Input(
            c["name"], c["kind"], c["dtype"], tuple(c.get("categories", ())), _or_nan(c["missing"]),
            _or_nan(c["unknown"]), c["infinite"], c.get("column"), c.get("part"),
        )
        for c in manifest["inputs"]
    ]  # fmt: skip
    return Encoder(SimpleNamespace(inputs=inputs, timezone=manifest["timezone"]))


def _or_nan(number: float | None) -> float:
    return np.nan if number is None else number


def _altered(graph: bytes, share: float, nodes: Sequence[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bytes:
    """The graph with `nodes` behind it, which make `prediction` of `_BEFORE`, `_CHOSEN` and `_UNIFORM`."""
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == "prediction":
                    names[position] = _BEFORE
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    weights = np.random.default_rng(7).normal(size=(width, 1))
    constants = constants | {
        "fault_weights": weights,
        "fault_missing": np.array(0.5),
        "fault_low_end": np.array(-1e9),
        "fault_high_end": np.array(1e9),
        "fault_spread": np.array(1e4 / np.pi),
        "fault_one": np.array(1.0),
        "fault_share": np.array(share),
    }
    choice = [
        helper.make_node("IsNaN", ["features"], ["fault_absent"]),
        helper.make_node("Where", ["fault_absent", "fault_missing", "features"], ["fault_filled"]),
        helper.make_node("Clip", ["fault_filled", "fault_low_end", "fault_high_end"], ["fault_clean"]),
        helper.make_node("MatMul", ["fault_clean", "fault_weights"], ["fault_product"]),
        helper.make_node("Abs", ["fault_product"], ["fault_positive"]),
        helper.make_node("Mul", ["fault_positive", "fault_spread"], ["fault_wide"]),
        helper.make_node("Mod", ["fault_wide", "fault_one"], [_UNIFORM], fmod=1),
        helper.make_node("Less", [_UNIFORM, "fault_share"], [_CHOSEN]),
    ]
    model.graph.node.extend([*choice, *nodes])
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A session of one thread that does not print what fails."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph, options)


def seconds(session: onnxruntime.InferenceSession, rows: np.ndarray) -> float:
    """The shortest time of some runs of these rows."""
    times = []
    for _ in range(7):
        begun = time.perf_counter()
        session.run(None, {"features": rows})
        times.append(time.perf_counter() - begun)
    return min(times)
