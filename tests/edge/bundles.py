"""Small bundles for the tests of the edge runtime: a real graph and real signatures, and what it must predict."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

EDGE = Path(__file__).parents[2] / "edge"
CLASSES = ("early", "on time", "late")

INPUTS = (
    {"name": "distance", "kind": "number", "dtype": "float64", "of": "numeric", "unit": "miles", "infinite": True},
    {"name": "rate", "kind": "number", "dtype": "float32", "of": "history", "definition": {"of": "label"}},
    {"name": "speed", "kind": "number", "dtype": "float64", "of": "numeric", "missing": 7.5},
    {"name": "carrier", "kind": "category", "categories": ["AA", "UA", "5"], "missing": 3, "unknown": 4},
    {"name": "warm", "kind": "category", "categories": ["false", "true"], "missing": None, "unknown": None},
    {"name": "at_weekday", "kind": "number", "dtype": "float32", "of": "calendar", "column": "at", "part": "weekday"},
    {"name": "at_hour", "kind": "number", "dtype": "float32", "of": "calendar", "column": "at", "part": "hour"},
)
NAMES = tuple(column["name"] for column in INPUTS)

# Rows with their codes, written by hand: what the runtime must make of them.
ROWS = (
    ({"distance": 1, "rate": 0.1, "speed": 2.5, "carrier": "AA", "warm": "true", "at_weekday": 6, "at_hour": 18},
     (1, float(np.float32(0.1)), 2.5, 0, 1, 6, 18)),
    ({"distance": None, "rate": None, "speed": None, "carrier": None, "warm": None, "at_weekday": None, "at_hour": None},
     (math.nan, math.nan, 7.5, 3, math.nan, math.nan, math.nan)),
    ({"distance": "Infinity", "rate": 1, "speed": -1, "carrier": "ZZ", "warm": "no", "at_weekday": 0, "at_hour": 0},
     (math.inf, 1, -1, 4, math.nan, 0, 0)),
    ({"distance": "-Infinity", "rate": 16777217, "speed": 0, "carrier": "5", "warm": "FALSE", "at_weekday": 1, "at_hour": 2},
     (-math.inf, 16777216, 0, 2, 0, 1, 2)),
)  # fmt: skip


def predicted(codes: Sequence[float], task: str = "binary") -> list[float]:
    """What the graph of `graph` computes, in numpy."""
    clean = np.where(np.isnan(codes), -1.0, codes)
    weights, bias = _weights(task, len(codes))
    with np.errstate(all="ignore"):
        score = np.clip(clean, -1e6, 1e6) @ weights + bias
        if task == "binary":
            return [1 / (1 + math.exp(-score[0]))] if score[0] > -700 else [0.0]
        if task == "multiclass":
            powers = np.exp(score - score.max())
            return (powers / powers.sum()).tolist()
    return score.tolist()


def graph(task: str = "binary", width: int = len(INPUTS)) -> bytes:
    """A linear model in double: missing counts as -1."""
    weights, bias = _weights(task, width)
    constants = {"fill": np.array(-1.0), "low": np.array(-1e6), "high": np.array(1e6), "weights": weights, "bias": bias}
    last = {"binary": "Sigmoid", "multiclass": "Softmax", "regression": "Identity"}[task]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["absent"]),
        helper.make_node("Where", ["absent", "fill", "features"], ["filled"]),
        helper.make_node("Clip", ["filled", "low", "high"], ["clean"]),
        helper.make_node("MatMul", ["clean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["score"]),
        helper.make_node(last, ["score"], ["prediction"]),
    ]
    return model_bytes(nodes, constants, width, len(bias))


def trees(width: int, count: int = 40, depth: int = 4, seed: int = 0) -> bytes:
    """Random trees in double, like those of a gradient boosting model: `TreeEnsemble` of ai.onnx.ml 5 and Sigmoid."""
    draw = np.random.default_rng(seed)
    inner, leaves = 2**depth - 1, 2**depth
    below = np.arange(inner)
    is_leaf = (2 * below + 1 >= inner).astype(np.int64)
    left, right = 2 * below + 1, 2 * below + 2
    per_tree = {
        "nodes_trueleafs": is_leaf,
        "nodes_falseleafs": is_leaf,
        "nodes_truenodeids": np.where(is_leaf, left - inner, left),
        "nodes_falsenodeids": np.where(is_leaf, right - inner, right),
    }
    attributes: dict[str, object] = {}
    for name, values in per_tree.items():
        steps = [values + tree * np.where(is_leaf, leaves, inner) for tree in range(count)]
        attributes[name] = np.concatenate([values] * count if "leafs" in name else steps).tolist()
    node = helper.make_node(
        "TreeEnsemble",
        ["features"],
        ["sum"],
        domain="ai.onnx.ml",
        tree_roots=[tree * inner for tree in range(count)],
        nodes_featureids=draw.integers(0, width, inner * count).tolist(),
        nodes_splits=numpy_helper.from_array(draw.normal(size=inner * count), "nodes_splits"),
        nodes_modes=numpy_helper.from_array(np.zeros(inner * count, np.uint8), "nodes_modes"),
        nodes_missing_value_tracks_true=draw.integers(0, 2, inner * count).tolist(),
        leaf_targetids=[0] * (leaves * count),
        leaf_weights=numpy_helper.from_array(draw.normal(scale=0.1, size=leaves * count), "leaf_weights"),
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        **attributes,
    )
    return model_bytes([node, helper.make_node("Sigmoid", ["sum"], ["prediction"])], {}, width, 1)


def run(model: bytes, codes: Sequence[float]) -> list[float]:
    """What onnxruntime predicts for one row of codes."""
    session = onnxruntime.InferenceSession(model)
    return session.run(None, {"features": np.array([codes], dtype=np.float64)})[0][0].tolist()


def model_bytes(nodes, constants: Mapping[str, np.ndarray], width: int, outputs: int) -> bytes:
    """An ONNX file with one input `features` and one output `prediction`, checked."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["N", width])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["N", outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _weights(task: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    outputs = len(CLASSES) if task == "multiclass" else 1
    draw = np.random.default_rng(1)
    return draw.normal(scale=0.1, size=(width, outputs)), draw.normal(size=outputs)


@dataclass(frozen=True)
class Key:
    """A signing key from a seed."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> str:
        return self.private.public_key().public_bytes_raw().hex()

    @property
    def key_id(self) -> str:
        return hashlib.sha256(bytes.fromhex(self.public)).hexdigest()[:16]

    def entry(self) -> dict[str, str]:
        return {"key_id": self.key_id, "public": self.public}

    def seal(self, message: bytes) -> dict[str, str]:
        return {"key_id": self.key_id, "signature": self.private.sign(message).hex()}


def key(seed: int = 1) -> Key:
    """The key number `seed`."""
    return Key(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def trust(path: Path, *keys: Key, model: str = "toy", number: int = 1, signed_by: Key | None = None) -> Path:
    """Write a trust anchor."""
    anchor: dict[str, object] = {
        "format": "trueup-trust/1",
        "model": model,
        "number": number,
        "keys": [k.entry() for k in keys or (key(),)],
    }
    if signed_by is not None:
        anchor["signed"] = signed_by.seal(b"trueup-trust-1\n" + canonical(anchor))
    path.write_bytes(canonical(anchor))
    return path


def parity(task: str = "binary") -> bytes:
    """The lines of parity.jsonl for `ROWS`."""
    lines = [canonical({"row": row, "prediction": predicted(codes, task)}) for row, codes in ROWS]
    return b"\n".join(lines) + b"\n"


def manifest(files: Mapping[str, bytes], **changes: object) -> dict[str, object]:
    """A manifest that fits the files; `changes` replace its members."""
    task = changes.get("task", "binary")
    output = {"name": "late", "unit": "probability"}
    return {
        "format": "trueup-bundle/1",
        "model": "toy",
        "task": task,
        "version": 3,
        "epoch": 5,
        "issued": "2024-03-01T00:00:00Z",
        "expires": "2124-03-01T00:00:00Z",
        "trained_until": "2024-02-01T00:00:00",
        "timezone": "America/New_York",
        "ledger": {"seq": 1, "hash": "00", "key_id": key().key_id, "signature": "00", "public": key().public},
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
        "inputs": [{"dtype": "float64", "missing": None, "unknown": None, "infinite": False} | c for c in INPUTS],
        "output": output | ({"classes": list(CLASSES)} if task == "multiclass" else {}),
        "tolerance": 1e-9,
        **changes,
    }


def write(folder: Path, signer: Key | None = None, files: Mapping[str, bytes] | None = None, **changes: object) -> Path:
    """Write a bundle into a new folder: the files of the default model, or others, and members of its manifest."""
    task = str(changes.get("task", "binary"))
    files = {"model.onnx": graph(task), "parity.jsonl": parity(task)} | dict(files or {})
    signed = canonical(manifest(files, **changes))
    seal = (signer or key()).seal(b"trueup-bundle-1\n" + signed)
    folder.mkdir(parents=True)
    for name, data in {**files, "manifest.json": signed, "manifest.sig": canonical(seal) + b"\n"}.items():
        (folder / name).write_bytes(data)
    return folder
