"""The folder of a device: the bundle in use, the last good one before it, and how far epochs have risen.

    state.json     which bundles are in use; one rename switches
    bundles/       one folder a bundle, never changed once it is there
    incoming/      what an update fetches; removed at its end, and at the start of the next
    lock           held while an update runs

A device's folder must be writable for the updating account only: an account that can write `state.json` can go back to an older bundle.
"""

from __future__ import annotations

import hashlib
import logging
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from trueup_edge.bundle import Bundle, open_bundle, read_manifest
from trueup_edge.errors import AnotherModel, EdgeError, Expired, NotTrusted, Unavailable, UsageError
from trueup_edge.files import read_regular, write_whole
from trueup_edge.manifest import MANIFEST, MODEL, SIZE_LIMIT, Manifest
from trueup_edge.strict_json import canonical, parse
from trueup_edge.trust import TrustAnchor, read_anchor

STATE: Final = "state.json"
BUNDLES: Final = "bundles"
FORMAT: Final = "trueup-edge-state/1"

_STATE_LIMIT: Final = 64 * 1024
_BUNDLE_NAME: Final = re.compile(r"e\d{1,18}-[0-9a-f]{16}")

_SHOWN: Final = ("model", "version", "epoch", "issued", "expires", "trained_until")

log = logging.getLogger("trueup_edge")


@dataclass(frozen=True)
class State:
    """Which bundles are in use, by folder name, and the newest that was ever installed."""

    model: str
    current: str
    previous: str | None
    epoch: int  # the highest that was ever installed
    issued: str  # when its newest manifest was issued, ISO 8601 in UTC
    manifest: str  # SHA-256 of that manifest
    graph: str  # SHA-256 of its model.onnx

    @property
    def issued_at(self) -> datetime:
        """`issued` as a moment."""
        return datetime.fromisoformat(self.issued)


def bundle_name(manifest: Manifest) -> str:
    """The folder of a bundle below `bundles/`."""
    return f"e{manifest.epoch}-{manifest.digest[:16]}"


def state_after(manifest: Manifest, previous: str | None) -> State:
    """The state once a bundle is in use."""
    graph = manifest.files[MODEL].sha256
    issued = manifest.issued.isoformat()
    return State(manifest.model, bundle_name(manifest), previous, manifest.epoch, issued, manifest.digest, graph)


def write_state(folder: Path, state: State, scratch: Path) -> None:
    """Switch to a state, in one step that survives a power cut. Raises Unavailable; the old state holds then."""
    content = asdict(state)
    digest = hashlib.sha256(canonical(content)).hexdigest()
    written = canonical({"format": FORMAT, "sha256": digest, "state": content}) + b"\n"
    path = folder / STATE
    if not path.is_file() or path.read_bytes() != written:  # flash memory wears out
        write_whole(path, written, scratch)


def is_device(folder: Path) -> bool:
    """Whether a folder is that of a device, and not one bundle."""
    return (folder / STATE).exists() or (folder / BUNDLES).is_dir()


def read_state(folder: Path, anchor: TrustAnchor | None) -> State | None:
    """Read the state; None if nothing was installed yet.

    A damaged state is derived from the bundles that the anchor trusts: the newest is in use, whole or not, so that epochs do
    not fall. Without an anchor a damaged state raises NotTrusted.
    """
    path = folder / STATE
    if path.exists() or path.is_symlink():
        try:
            return _state(read_regular(path, _STATE_LIMIT), path)
        except NotTrusted as error:
            if anchor is None:
                raise
            log.warning("%s; it is derived from the installed bundles", error)
    return None if anchor is None else _derived(folder, anchor)


def _state(data: bytes, path: Path) -> State:
    raw = parse(data, str(path))
    content: Any = raw.get("state")
    if raw.get("format") != FORMAT or raw.get("sha256") != hashlib.sha256(canonical(content)).hexdigest():
        raise NotTrusted(f"{path} is damaged; pull again")
    try:
        state = State(**content)
    except TypeError:
        raise NotTrusted(f"{path} has other members than this runtime knows; update trueup-edge") from None
    if not all(_BUNDLE_NAME.fullmatch(name) for name in (state.current, state.previous) if name is not None):
        raise NotTrusted(f"{path} is damaged; pull again")
    return state


def _derived(folder: Path, anchor: TrustAnchor) -> State | None:
    manifests, whole = list[Manifest](), set[str]()
    for place in bundle_folders(folder):
        with suppress(EdgeError):
            manifests.append(read_manifest(place, anchor, allow_expired=True))
            open_bundle(place, anchor, allow_expired=True)
            whole.add(place.name)
    if not manifests:
        return None
    manifests.sort(key=lambda manifest: manifest.order)
    newest = manifests.pop()
    kept = [bundle_name(manifest) for manifest in manifests if bundle_name(manifest) in whole]
    return state_after(newest, kept[-1] if kept else None)


def bundle_folders(folder: Path) -> list[Path]:
    """The folders of all bundles that are there, in use or not."""
    if not (folder / BUNDLES).is_dir():
        return []
    try:
        return sorted(place for place in (folder / BUNDLES).iterdir() if _BUNDLE_NAME.fullmatch(place.name))
    except OSError as error:
        raise Unavailable(f"{folder / BUNDLES} cannot be read: {error.strerror or error}") from None


def installed_bundle(
    folder: Path, anchor: TrustAnchor, now: datetime | None = None, *, allow_expired: bool = False
) -> Bundle:
    """Open the bundle in use; if its files are damaged, the last good one before it, with a warning in the log.

    Raises UsageError if nothing is installed, and as `open_bundle` does.
    """
    state = _installed(folder, anchor)
    while True:
        try:
            return open_bundle(folder / BUNDLES / state.current, anchor, now, allow_expired=allow_expired)
        except (AnotherModel, Expired):
            raise
        except EdgeError as error:
            before, state = state, _installed(folder, anchor)
            if state.current != before.current:  # updates meanwhile removed what was in use
                continue
            if state.previous is None:
                raise NotTrusted(f"the bundle in use is damaged, and no other is installed: {error}") from None
            try:
                bundle = open_bundle(folder / BUNDLES / state.previous, anchor, now, allow_expired=allow_expired)
            except EdgeError as of_previous:
                raise NotTrusted(
                    f"the bundle in use is damaged ({error}), and the one before it cannot be used: {of_previous}"
                ) from None
            log.warning(
                "the bundle in use is damaged: %s; %s is used, the last good one before it", error, bundle.manifest
            )
            return bundle


def _installed(folder: Path, anchor: TrustAnchor | None) -> State:
    if (state := read_state(folder, anchor)) is None:
        raise UsageError(f"{folder}: nothing is installed; run `python -m trueup_edge pull SOURCE --into {folder}`")
    return state


def status(folder: Path, trust: Path | None) -> dict[str, Any]:
    """Describe the bundles of a device's folder: `current` and `previous`, with `problem` (None if verified).

    Without a trust anchor nothing is verified, and `problem` is the reason. Raises UsageError if nothing is installed.
    """
    anchor = None if trust is None else read_anchor(trust)
    state = _installed(folder, anchor)
    return {
        "current": _bundle(folder, state.current, trust),
        "previous": None if state.previous is None else _bundle(folder, state.previous, trust),
        "highest_epoch": state.epoch,
    }


def _bundle(folder: Path, name: str, trust: Path | None) -> dict[str, Any]:
    place = folder / BUNDLES / name
    try:
        raw = parse(read_regular(place / MANIFEST, SIZE_LIMIT), str(place / MANIFEST))
    except EdgeError as error:
        return {"folder": str(place), "problem": str(error)}
    problem: str | None = "not verified: give --trust"
    if trust is not None:
        try:
            open_bundle(place, read_anchor(trust))
            problem = None
        except EdgeError as error:
            problem = str(error)
    return {"folder": str(place)} | {name: raw.get(name) for name in _SHOWN} | {"problem": problem}


def status_text(described: dict[str, Any]) -> str:
    """Write a status in a line for each bundle."""
    lines = []
    for role, words in (("current", "in use"), ("previous", "kept")):
        if (bundle := described[role]) is not None:
            problem = bundle["problem"] or "verified"
            version = f"{bundle.get('model')} version {bundle.get('version')}, epoch {bundle.get('epoch')}"
            lines.append(f"{words}: {version}, expires {bundle.get('expires')}; {problem}")
    return "\n".join(lines)
