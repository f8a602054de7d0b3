"""A bundle in a folder, verified: trust anchor, signature, model, expiry and digests, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trueup_edge.errors import NotTrusted, Unavailable, UsageError
from trueup_edge.files import read_regular
from trueup_edge.manifest import (
    MANIFEST,
    SIGNATURE,
    SIGNATURE_LIMIT,
    SIZE_LIMIT,
    FileEntry,
    Manifest,
    verify_manifest,
)
from trueup_edge.trust import TrustAnchor


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `files` has the bytes whose digests were checked, so nothing is read a second time."""

    manifest: Manifest
    files: Mapping[str, bytes]


def open_bundle(
    folder: Path, anchor: TrustAnchor, now: datetime | None = None, *, allow_expired: bool = False
) -> Bundle:
    """Verify the bundle in a folder and read its files.

    Raises UsageError for no such folder, NotTrusted for a wrong signature or key, a missing, changed, additional or linked
    file, and as `verify_manifest` does.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; name the folder of a bundle")
    require_apart(folder, anchor)
    manifest = read_manifest(folder, anchor, now, allow_expired=allow_expired)
    try:
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise Unavailable(f"{folder} cannot be read: {error.strerror or error}") from None
    if additional := sorted(present - {MANIFEST, SIGNATURE, *manifest.files}):
        raise NotTrusted(f"{folder / additional[0]} is not in the manifest; remove it, or get the bundle again")
    return Bundle(manifest, {name: _checked(folder / name, entry) for name, entry in manifest.files.items()})


def read_manifest(
    folder: Path, anchor: TrustAnchor, now: datetime | None = None, *, allow_expired: bool = False
) -> Manifest:
    """Verify and read the manifest in a folder, and nothing else. Raises as `verify_manifest` does."""
    data = read_regular(folder / MANIFEST, SIZE_LIMIT)
    signature = read_regular(folder / SIGNATURE, SIGNATURE_LIMIT)
    return verify_manifest(data, signature, anchor, now, allow_expired=allow_expired)


def require_apart(folder: Path, anchor: TrustAnchor) -> None:
    """Refuse a trust anchor inside a bundle. Raises NotTrusted."""
    if folder.resolve() in anchor.path.resolve().parents:
        raise NotTrusted(
            f"{anchor.path} lies inside the bundle {folder}: a bundle cannot vouch for itself; install the trust anchor apart"
        )


def _checked(path: Path, entry: FileEntry) -> bytes:
    data = read_regular(path, entry.bytes)
    check_content(path, len(data), hashlib.sha256(data).hexdigest(), entry)
    return data


def check_content(path: Path | str, size: int, sha256: str, entry: FileEntry) -> None:
    """Compare a file's size and SHA-256 with the manifest. Raises NotTrusted."""
    if size != entry.bytes:
        raise NotTrusted(f"{path} has {size} of {entry.bytes} bytes; get the bundle again")
    if sha256 != entry.sha256:
        raise NotTrusted(f"{path} differs from what was signed (SHA-256 {sha256[:16]}…); get the bundle again")
