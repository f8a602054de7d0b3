"""An update: fetch, verify, self-test, switch. Whatever happens in between, the bundle in use stays whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from trueup_edge.bundle import open_bundle, require_apart
from trueup_edge.device import (
    BUNDLES,
    STATE,
    State,
    bundle_folders,
    bundle_name,
    read_state,
    state_after,
    write_state,
)
from trueup_edge.errors import AnotherModel, EdgeError, OlderEpoch, SelfTestFailed, Unavailable, UsageError
from trueup_edge.files import lock_alone, read_regular, sync_folder, write_whole
from trueup_edge.manifest import (
    MANIFEST,
    MODEL,
    SIGNATURE,
    SIGNATURE_LIMIT,
    SIZE_LIMIT,
    Manifest,
    verify_manifest,
)
from trueup_edge.sources import Source, copy_checked, open_source, read_small
from trueup_edge.trust import ANCHOR_LIMIT, TrustAnchor, read_anchor, successor

MAX_BYTES: Final = 256 * 2**20
SECONDS: Final = 900.0

_INCOMING: Final = "incoming"
_LOCK: Final = "lock"
_SELF_TEST_SECONDS: Final = 300


def pull(source: str, into: Path, trust: Path, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> str:
    """Install the bundle at `source` in the device's folder `into`, if it is newer than the one in use.

    The signed manifest comes first: trust, model, expiry and epoch are judged before anything else is fetched. The files
    are fetched beside the bundle in use, compared with the manifest, and tested in a fresh process; then one rename
    switches. The bundle that was in use is kept as the last good one, older ones are removed.

    Returns what was done, in one line. Raises an error of `trueup_edge.errors`; the bundle in use stays then.
    """
    anchor = read_anchor(trust)
    if "://" not in source:
        require_apart(Path(source), anchor)
    with _locked(into, trust):
        incoming = into / _INCOMING
        try:
            _clear(incoming)
            incoming.mkdir()
            with open_source(source, incoming, max_bytes, seconds) as opened:
                return _install(opened, into, anchor, max_bytes)
        except OSError as error:
            raise Unavailable(
                f"{into} cannot be written: {error.strerror or error}; make room, then run again"
            ) from None
        finally:
            with suppress(OSError):  # the next update tries again
                _clear(incoming)


def unpack(archive: Path, folder: Path, anchor: TrustAnchor) -> Path:
    """Unpack a verified `.zip` below a folder; returns the bundle's folder. Raises NotTrusted or Unavailable."""
    with open_source(str(archive), folder, MAX_BYTES, SECONDS) as source:
        signed, signature, manifest = _signed(source, anchor)
        return _fetch(source, signed, signature, manifest, folder)


def _install(source: Source, into: Path, anchor: TrustAnchor, max_bytes: int) -> str:
    signed, signature, manifest = _signed(source, anchor)
    state = read_state(into, anchor)
    current_is_whole = state is not None and _is_whole(into / BUNDLES / state.current, anchor)
    if state is not None:
        if manifest.digest == state.manifest and current_is_whole:
            # An earlier update may have ended before it did this.
            write_state(into, state, into / _INCOMING)
            _remove_others(into, {state.current, state.previous})
            return f"{manifest}: up to date"
        _check_newer(manifest, state)
    if (size := sum(entry.bytes for entry in manifest.files.values())) > max_bytes:
        raise Unavailable(f"{manifest} has {size} bytes, more than {max_bytes}; raise --max-bytes if that is right")
    fetched = _fetch(source, signed, signature, manifest, into / _INCOMING)
    _self_test(fetched, anchor)
    _place(fetched, into, anchor)
    previous = None if state is None else state.current if current_is_whole else state.previous
    write_state(into, state_after(manifest, previous), into / _INCOMING)
    _remove_others(into, {bundle_name(manifest), previous})
    return f"{manifest}: installed"


def _signed(source: Source, anchor: TrustAnchor) -> tuple[bytes, bytes, Manifest]:
    signed = read_small(source, MANIFEST, SIZE_LIMIT)
    signature = read_small(source, SIGNATURE, SIGNATURE_LIMIT)
    return signed, signature, verify_manifest(signed, signature, anchor)


def _fetch(source: Source, signed: bytes, signature: bytes, manifest: Manifest, into: Path) -> Path:
    """Copy the files of a bundle into a new folder, each compared with the manifest."""
    source.check(manifest)
    folder = into / bundle_name(manifest)
    folder.mkdir()
    write_whole(folder / MANIFEST, signed)
    write_whole(folder / SIGNATURE, signature)
    for name, entry in manifest.files.items():
        copy_checked(source, name, entry, folder / name)
    sync_folder(folder)
    return folder


def _check_newer(manifest: Manifest, state: State) -> None:
    """Refuse what would go back: a lower epoch, or at the same one another model or an earlier manifest."""
    if manifest.model != state.model:
        raise AnotherModel(f"{manifest} is offered, this device runs {state.model}; use another folder for it")
    if manifest.epoch < state.epoch:
        raise OlderEpoch(
            f"{manifest} is offered, but epoch {state.epoch} was installed; to go back to an older version, run `trueup "
            f"rollback {manifest.model}` at its home and export the champion again"
        )
    if manifest.epoch > state.epoch or manifest.digest == state.manifest:  # the same again repairs a damaged bundle
        return
    if manifest.files[MODEL].sha256 != state.graph:
        raise OlderEpoch(
            f"{manifest} has another {MODEL} than epoch {state.epoch} that was installed; a higher epoch is needed"
        )
    if manifest.issued <= state.issued_at:
        raise OlderEpoch(f"the manifest of {manifest} was issued before the installed one; a newer one is needed")


def _is_whole(folder: Path, anchor: TrustAnchor) -> bool:
    try:
        open_bundle(folder, anchor, allow_expired=True)
    except EdgeError:
        return False
    return True


def _self_test(folder: Path, anchor: TrustAnchor) -> None:
    """Run the self-test in a fresh process: a crash there harms nothing. Raises SelfTestFailed."""
    package = str(Path(__file__).resolve().parents[1])
    others = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = os.pathsep.join([package, *map(os.path.abspath, others)])
    arguments = [sys.executable, "-m", "trueup_edge", str(folder.absolute())]
    arguments += ["--trust", str(anchor.path.absolute()), "--selftest"]
    try:
        done = subprocess.run(
            arguments,
            env=os.environ | {"PYTHONPATH": path},
            cwd=package,  # Python imports from there first: never from a stick on which an update may run
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SELF_TEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SelfTestFailed(
            f"the self-test took more than {_SELF_TEST_SECONDS} s; this device is too slow for it"
        ) from None
    except OSError as error:
        raise SelfTestFailed(f"the self-test could not be started: {error}; free memory, then run again") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        reason = next((line for line in reversed(lines) if line.strip()), "no reason given")
        died = f"the self-test died of signal {-done.returncode}: " if done.returncode < 0 else ""
        raise SelfTestFailed(f"{died}{reason.removeprefix('SelfTestFailed: ')}")


def _place(fetched: Path, into: Path, anchor: TrustAnchor) -> None:
    """Move a verified bundle to its place. One that an interrupted update left there is used if it is whole."""
    place = into / BUNDLES / fetched.name
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        if _is_whole(place, anchor):
            return
        shutil.rmtree(place)
    fetched.rename(place)
    sync_folder(place.parent)
    sync_folder(into)


def _remove_others(into: Path, used: set[str | None]) -> None:
    for place in bundle_folders(into):
        if place.name not in used:
            shutil.rmtree(place, ignore_errors=True)  # the next update tries again


def _clear(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _locked(into: Path, trust: Path) -> Iterator[None]:
    """Create the device's folder, and keep other updates out. Raises UsageError for a folder that holds other things."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        others = {path.name for path in into.iterdir()} - {trust.name, "lost+found"}
        if others and not others & {STATE, BUNDLES, _LOCK}:
            raise UsageError(
                f"{into} holds other files, such as {sorted(others)[0]}; give a folder for this model only"
            )
        lock = (into / _LOCK).open("ab")
    except OSError as error:
        raise Unavailable(
            f"{into} cannot be written: {error.strerror or error}; give a folder of this account"
        ) from None
    with lock:
        if not lock_alone(lock.fileno()):
            raise Unavailable(f"another update of {into} is running; wait for its end")
        yield


def replace_anchor(new: str, anchor: Path) -> str:
    """Put a new trust anchor, a file or a `https://` address, in the place of an old one that signed it.

    Returns what was done, in one line. Raises NotTrusted, AnotherModel, OlderEpoch or Unavailable.
    """
    read_anchor(anchor)
    if "://" in new:
        with open_source(new, anchor.parent, ANCHOR_LIMIT, SECONDS) as source:
            data = read_small(source, "", ANCHOR_LIMIT)
    elif not Path(new).exists():
        raise UsageError(f"{new}: no such file; give the trust anchor that `trueup export-trust` wrote")
    else:
        data = read_regular(Path(new), ANCHOR_LIMIT)
    with _only_one(anchor.parent):  # of two replacements, the one with the lower number must not come last
        old = read_anchor(anchor)
        if data == read_regular(anchor, ANCHOR_LIMIT):
            return f"{anchor}: up to date, number {old.number}"
        successor_of_old = successor(data, old, new)
        write_whole(anchor, data)
    return f"{anchor}: replaced by number {successor_of_old.number}, keys {', '.join(sorted(successor_of_old.keys))}"


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep other replacements of a trust anchor in a folder out, without a file that stays; Windows opens no folders."""
    if os.name == "nt":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not lock_alone(handle):
            raise Unavailable(f"another replacement of a trust anchor in {folder} is running; run again")
        yield
    finally:
        os.close(handle)
