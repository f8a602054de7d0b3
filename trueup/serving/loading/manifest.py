"""The manifest of a version's bundle, as a server reads it: signature first, then digests, then content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from trueup.errors import UntrustedModel
from trueup.ledger.documents import BUNDLE, signature_problem
from trueup.ledger.signing import Signer

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
GRAPH: Final = "model.onnx"
PARITY: Final = "parity.jsonl"


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """An input of the model: a column of the graph's single input, in order."""

    name: str
    kind: Literal["number", "category"]
    dtype: Literal["float64", "float32"]  # a number is rounded to it
    categories: tuple[str, ...] = ()  # the code of each is its position
    missing: float | None  # the number for a missing value; None for NaN
    unknown: float | None  # the number for a category that is not in the list; None for NaN
    of: Literal["numeric", "categorical", "calendar", "history", "custom"]
    column: str = ""  # of a calendar part: the column with the time
    part: str = ""  # of a calendar part, such as hour
    definition: dict[str, Any] = {}
    unit: str = ""
    infinite: bool  # whether the model takes infinite numbers


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What the model predicts."""

    name: str  # the label's column
    unit: str = ""
    classes: tuple[str, ...] = ()  # of a multiclass task, in the order of the probabilities


class _File(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds. When it expires concerns devices: a server answers with what its signed state names."""

    format: Literal["trueup-bundle/1"]
    model: str
    task: Literal["binary", "multiclass", "regression"]
    version: int
    epoch: int
    trained_until: str
    timezone: str
    files: dict[str, _File]
    inputs: tuple[Input, ...]
    output: Output
    tolerance: float  # of the predictions, relative to max(1, |value|)


def read_bundle(folder: Path, signer: Signer, sha256: str | None = None) -> tuple[Manifest, Mapping[str, bytes], str]:
    """Verify a bundle; returns its manifest, its files by name, and the manifest's SHA-256.

    Raises UntrustedModel if the manifest has another digest than `sha256`, or none of the signer's keys signed it, and
    if a file is missing or differs from what was signed.
    """
    content = _bytes(folder / MANIFEST)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 not in {digest, None}:
        raise UntrustedModel(
            f"{folder / MANIFEST} has the digest {digest[:16]}…, not {sha256[:16] if sha256 else ''}… of the state; "
            "next: publish the model again"
        )
    if (problem := signature_problem(signer, BUNDLE, content, _bytes(folder / SIGNATURE))) is not None:
        raise UntrustedModel(f"{folder / MANIFEST}: {problem}; next: publish the model again")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise UntrustedModel(f"{folder / MANIFEST} cannot be read ({error}); update the older program") from None
    if lacking := {GRAPH, PARITY} - manifest.files.keys():
        raise UntrustedModel(f"{folder / MANIFEST} lists no {min(lacking)}; next: publish the model again")
    return manifest, {name: _checked(folder / name, manifest.files[name]) for name in (GRAPH, PARITY)}, digest


def _checked(file: Path, entry: _File) -> bytes:
    content = _bytes(file)
    if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UntrustedModel(f"{file} is not what was signed: it is torn or was changed; next: publish the model again")
    return content


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UntrustedModel(
            f"{file} cannot be read: {error.strerror or error}; next: publish the model again"
        ) from None
