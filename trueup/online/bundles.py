"""The bundles of the versions that servers load, each with a copy for the case that it is damaged."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from trueup import files
from trueup.errors import NoExporter, UntrustedModel, UsageError, WorkError
from trueup.ledger.signing import Signer
from trueup.model import Model
from trueup.serving import published
from trueup.serving.loading.manifest import Manifest, read_bundle
from trueup.serving.state import BUNDLES, COPIES, ServedVersion, State

log = logging.getLogger(__name__)


def versions_of(state: State) -> Iterator[ServedVersion]:
    """The versions that a state names: its champion, and its challenger if there is one."""
    return (version for version in (state.champion, state.challenger) if version is not None)


def is_right(bundles: Path, version: ServedVersion, signer: Signer) -> bool:
    """Whether a folder of bundles has that of a version, as it was signed."""
    try:
        read_bundle(bundles / version.bundle, signer, version.manifest_sha256)
    except UntrustedModel:
        return False
    return True


def bundle_of(
    model: Model, folder: Path, version: int, epoch: int, seq: int, registered: str
) -> tuple[ServedVersion, Manifest]:
    """A version with its bundle, which is written unless it is there.

    `seq` is the ledger entry that put it there, `registered` the digest of its files in the registry. Raises UsageError for
    a version without an ONNX form, and WorkError and its kinds if it cannot be exported or written.
    """
    name, manifest, digest = _present(model, folder, version, registered) or _exported(
        model, folder / BUNDLES, version, registered
    )
    served = ServedVersion(
        version=version, epoch=epoch, seq=seq, manifest_digest=registered, bundle=name, manifest_sha256=digest
    )
    return served, manifest


def _present(model: Model, folder: Path, version: int, registered: str) -> tuple[str, Manifest, str] | None:
    """The newest sound bundle of a version; one that is sound only as a copy is put back in its place."""
    for part in (BUNDLES, COPIES):
        places = (folder / part).glob(f"{_stem(version, registered)}-*")
        for place in sorted(places, key=lambda p: p.stat().st_mtime, reverse=True):
            with suppress(UntrustedModel):
                manifest, _, digest = read_bundle(place, model.home.signer)
                if (manifest.model, manifest.version) == (model.config.model, version):
                    original = folder / BUNDLES / place.name
                    if part == COPIES:
                        _copy(place, original)
                    os.utime(original)  # so that it is kept for a while after the state that names it
                    return place.name, manifest, digest
    return None


def _exported(model: Model, bundles: Path, version: int, registered: str) -> tuple[str, Manifest, str]:
    """Write a version's bundle beside its place, and move it there: a server never sees a part of it."""
    from trueup.export.bundle import export  # imports scikit-learn and onnx, which are needed for a new version only

    beside = bundles / f".{uuid4().hex}.tmp"
    try:
        export(model, version, beside)
        manifest, _, digest = read_bundle(beside, model.home.signer)
        name = f"{_stem(version, registered)}-{digest[:12]}"
        if (there := bundles / name).exists():  # damaged, or it had been used
            shutil.rmtree(there)
        beside.replace(there)
    except NoExporter as error:
        raise UsageError(
            f"{model.config.model}: version {version} has no ONNX form, so it cannot be served: {error}; choose another "
            "family in train.families, or remove `serve`"
        ) from error
    except OSError as error:
        raise WorkError(
            f"{bundles} cannot be written: {error.strerror or error}; make room, and publish again"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return name, manifest, digest


def keep_copies(folder: Path, state: State, signer: Signer) -> None:
    """Copy a published state and its bundles, and remove the copies that it does not name.

    A server that starts loads a copy if the original is damaged. Copies are no links, because a damaged file would be
    damaged in both places. If they cannot be written, that is a warning: the state itself is published.
    """
    copies, named = folder / COPIES, {version.bundle for version in versions_of(state)}
    try:
        for version in versions_of(state):
            if not is_right(copies, version, signer):
                _copy(folder / BUNDLES / version.bundle, copies / version.bundle)
        published.copy(folder, state, signer)
    except WorkError as error:
        log.warning("what is published has no copy for the case that it is damaged: %s", error)
        return
    for place in copies.iterdir():
        if place.is_dir() and place.name not in named:
            shutil.rmtree(place, ignore_errors=True)


def _copy(bundle: Path, place: Path) -> None:
    """Put a copy of a bundle in a place, instead of what is there. Raises WorkError."""
    try:
        with files.whole_folder(place, place.with_name(f".{uuid4().hex}.tmp")) as beside:
            for file in bundle.iterdir():
                with files.whole(beside / file.name) as stream, file.open("rb") as content:
                    shutil.copyfileobj(content, stream)
    except OSError as error:
        raise WorkError(
            f"{place} cannot be written: {error.strerror or error}; make room, and publish again"
        ) from error


def _stem(version: int, registered: str) -> str:
    return f"v{version}-{registered[:12]}"
