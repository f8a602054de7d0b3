"""The trust anchor: the model's name and the public keys of its signers, installed apart from any bundle.

A later anchor replaces it only if one of its keys signed the later one (see `successor`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trueup_edge.ed25519 import is_usable, verify
from trueup_edge.errors import AnotherModel, NotTrusted, OlderEpoch, UsageError
from trueup_edge.files import read_regular
from trueup_edge.strict_json import canonical, parse

FORMAT: Final = "trueup-trust/1"
ANCHOR_LIMIT: Final = 64 * 1024  # bytes

_DOMAIN: Final = b"trueup-trust-1\n"
_SIGNATURE: Final = re.compile("[0-9a-f]{128}")


@dataclass(frozen=True)
class TrustAnchor:
    """Model name, number (rises with each rotation) and public keys (32 bytes) by key id."""

    model: str
    number: int
    keys: Mapping[str, bytes]
    path: Path

    def verify(self, key_id: object, signature: object, message: bytes, where: str) -> None:
        """Check a signature in hex. Raises NotTrusted if no key of this anchor made it."""
        if not isinstance(key_id, str) or (public := self.keys.get(key_id)) is None:
            raise NotTrusted(
                f"{where} is signed with the key {key_id!r}, which {self.path} does not have (it has "
                f"{', '.join(sorted(self.keys))}); get it from the owner of the model, or rotate the keys first"
            )
        valid = isinstance(signature, str) and _SIGNATURE.fullmatch(signature)
        if not valid or not verify(public, message, bytes.fromhex(str(signature))):
            raise NotTrusted(f"{where}: the signature is wrong; it was changed after it was signed, get it again")


def read_anchor(path: Path | str) -> TrustAnchor:
    """Read a trust anchor. Raises UsageError for no such file, NotTrusted for one that is broken."""
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: no such trust anchor; install the file that `trueup export-trust` wrote")
    return _anchor(read_regular(path, ANCHOR_LIMIT), path)


def successor(data: bytes, anchor: TrustAnchor, where: str) -> TrustAnchor:
    """Read the anchor that is to replace another.

    Raises NotTrusted if no key of `anchor` signed it, AnotherModel, and OlderEpoch if its number is not higher.
    """
    raw = parse(data, where)
    signed = raw.pop("signed", None)
    if not isinstance(signed, dict):
        raise NotTrusted(f"{where} is not signed; only an anchor signed with a key of {anchor.path} may replace it")
    anchor.verify(signed.get("key_id"), signed.get("signature"), _DOMAIN + canonical(raw), where)
    new = _anchor(data, Path(where))
    if new.model != anchor.model:
        raise AnotherModel(f"{where} is for the model {new.model!r}, {anchor.path} for {anchor.model!r}")
    if new.number <= anchor.number:
        raise OlderEpoch(f"{where} has number {new.number}, {anchor.path} has {anchor.number}; a newer one is needed")
    return new


def _anchor(data: bytes, path: Path) -> TrustAnchor:
    raw = parse(data, str(path))
    if raw.get("format") != FORMAT:
        raise NotTrusted(
            f"{path} has the format {raw.get('format')!r}, this runtime reads {FORMAT}; update one of them"
        )
    model, number, keys = raw.get("model"), raw.get("number"), raw.get("keys")
    if not (isinstance(model, str) and model and type(number) is int and isinstance(keys, list) and keys):
        raise NotTrusted(f"{path} lacks a model, a number or keys; write it again with `trueup export-trust`")
    return TrustAnchor(model, number, dict(_key(entry, path) for entry in keys), path)


def _key(entry: Any, path: Path) -> tuple[str, bytes]:
    key_id, text = (entry.get("key_id"), entry.get("public")) if isinstance(entry, dict) else (None, None)
    public = bytes.fromhex(text) if isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) else b""
    if not is_usable(public) or key_id != key_id_of(public):
        raise NotTrusted(
            f"{path}: {key_id!r} is not a usable key with its id; write it again with `trueup export-trust`"
        )
    return key_id, public


def key_id_of(public: bytes) -> str:
    """The id of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]
