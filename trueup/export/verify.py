"""Checks a bundle against the ledger and the registry of the home that is said to have made it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trueup.config.load import load_model
from trueup.errors import TrueupError, WorkError
from trueup.export import archive
from trueup.export.manifest import Manifest
from trueup.governance.ledger_queries import judging_entry, part_about, trained_on, versions_of
from trueup.home import Home
from trueup.ledger import documents
from trueup.ledger.entries import Entry
from trueup.model import Model


@dataclass(frozen=True)
class CheckedBundle:
    """A bundle, what its manifest says of itself, and what is wrong with it."""

    place: str
    model: str | None
    version: int | None
    problems: tuple[str, ...]


def check_bundle(place: Path, home: Home) -> CheckedBundle:
    """Check a bundle: the signature, the files by their digests, and what the manifest says about ledger and registry.

    Nothing of a manifest is compared before its signature is right. A bundle that has expired is no problem here. Raises
    UsageError without a file or folder there.
    """
    try:
        contents = archive.read_bundle(place)
        content = contents[archive.MANIFEST]
        if (
            problem := documents.signature_problem(home.signer, documents.BUNDLE, content, contents[archive.SIGNATURE])
        ) is not None:
            return CheckedBundle(str(place), None, None, (problem,))
        manifest = Manifest.read(content)
    except WorkError as error:
        return CheckedBundle(str(place), None, None, (str(error),))
    problems = (*_files(manifest, contents), *_origin(manifest, home))
    return CheckedBundle(str(place), manifest.model, manifest.version, problems)


def _files(manifest: Manifest, contents: Mapping[str, bytes]) -> Iterator[str]:
    """Whether the files are those that the manifest lists."""
    for name in sorted({archive.GRAPH, archive.PARITY} ^ manifest.files.keys()):
        yield f"{name} is not in both, the manifest and the bundle"
    for name, facts in manifest.files.items():
        content = contents.get(name, b"")
        if hashlib.sha256(content).hexdigest() != facts.sha256:
            yield f"{name} was changed: it has another digest than in the manifest"


def _origin(manifest: Manifest, home: Home) -> Iterator[str]:
    """Whether ledger and registry have the version as the manifest describes it."""
    entries = home.ledger.entries(manifest.model)
    entry = next((e for e in entries if e.seq == manifest.ledger.seq), None)
    if entry is None:
        yield f"it names ledger entry {manifest.ledger.seq} about {manifest.model}, which this ledger does not have"
        return
    named = (manifest.ledger.hash, manifest.ledger.key_id, manifest.ledger.signature)
    if (entry.hash, entry.key_id, entry.signature) != named:
        yield f"it names ledger entry {entry.seq} with another hash or signature than the entry has"
    if manifest.version not in versions_of(entry):
        yield f"it names ledger entry {entry.seq}, which is not about version {manifest.version}"
        return
    if manifest.epoch and not any(_promotes(e, manifest) for e in entries):
        yield f"it says that version {manifest.version} served in epoch {manifest.epoch}, which the ledger does not"
    yield from _graph(manifest, home)


def _promotes(entry: Entry, manifest: Manifest) -> bool:
    promotion = entry.body.promotion
    return promotion is not None and (promotion.epoch, promotion.version) == (manifest.epoch, manifest.version)


def _graph(manifest: Manifest, home: Home) -> Iterator[str]:
    """Whether the graph is the registered one, or the one that the registered version makes."""
    from trueup.export.forms import version_form  # imports scikit-learn and onnx, which few verifications need

    try:
        model = Model(load_model(home.configs, manifest.model), home)
        judging = judging_entry(model, manifest.version)
        assert judging is not None  # some entry is about the version
        graph = version_form(model, part_about(judging, manifest.version), trained_on(judging)).graph
    except TrueupError as error:
        yield f"{archive.GRAPH} cannot be compared with the registered version: {error}"
        return
    if hashlib.sha256(graph).hexdigest() != manifest.files[archive.GRAPH].sha256:
        yield f"{archive.GRAPH} is not the one of the registered version {manifest.version}"
