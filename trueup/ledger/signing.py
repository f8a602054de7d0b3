"""The ledger's signature: Ed25519 over an entry's hash (of `ledger.entries.HASHED`), so that only the key's owner can sign.

The key comes from the environment, or from a file that only its owner may read, generated at the first start. Entries
signed with an earlier key are trusted when the environment names its public key; a list beside the ledger would not do,
because a forger could add to it. With the key, everything can be rewritten except anchors in other places.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trueup.errors import LedgerError
from trueup.ledger.write_once import made_once

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_FILE: Final = "ledger.key"
_SIZE: Final = 32  # bytes of an Ed25519 key, private or public
_MAKE = 'python -c "import secrets; print(secrets.token_hex(32))"'


@dataclass(frozen=True)
class Signer:
    """Signs with one key, and knows the public keys of earlier ones."""

    key_id: str
    public: str  # the public key in hex, for others to check with
    _private: Ed25519PrivateKey
    _believed: Mapping[str, Ed25519PublicKey]

    def sign(self, digest: str) -> str:
        """The signature of an entry's hash, in hex."""
        return self._private.sign(digest.encode()).hex()

    def verifies(self, key_id: str, digest: str, signature: str) -> bool | None:
        """Whether a signature is right; None for an unknown key."""
        from cryptography.exceptions import InvalidSignature

        if (key := self._believed.get(key_id)) is None:
            return None
        try:
            key.verify(bytes.fromhex(signature), digest.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


def open_signer(folder: Path, key_text: str | None = None, earlier: str | None = None, *, keep: bool = True) -> Signer:
    """The signer of a home: `key_text` is the key from the environment, else the file `ledger.key` in the folder has it.

    `earlier` are public keys in hex, separated by commas. Without `keep` (for reading only) a missing key file is not
    written, and one that others may read is accepted. Raises LedgerError for an invalid key, and for a file that others
    may read, or that this account may not.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    seed = _bytes(key_text, "TRUEUP_LEDGER_KEY") if key_text is not None else _from_file(folder / KEY_FILE, keep)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    others = [_bytes(text, "TRUEUP_LEDGER_EARLIER_KEYS") for text in (earlier or "").split(",") if text.strip()]
    believed = {_key_id(key): Ed25519PublicKey.from_public_bytes(key) for key in (public, *others)}
    return Signer(_key_id(public), public.hex(), private, believed)


def _key_id(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:16]


def _from_file(file: Path, keep: bool) -> bytes:
    """The key in a file, generated at the first start. Raises LedgerError if others may read it, or this account may not."""
    try:
        text = made_once(file, lambda: os.urandom(_SIZE).hex(), keep=keep)
    except PermissionError as error:
        raise LedgerError(
            f"{error.filename} cannot be read by this account, so no signature can be checked: let the owner of the home "
            "run it, or set TRUEUP_LEDGER_KEY"
        ) from None
    if keep and (problem := exposed(file.parent)) is not None:
        raise LedgerError(problem)
    return _bytes(text, str(file))


def exposed(folder: Path) -> str | None:
    """The problem with a home's key that others may read; None for no problem."""
    file = folder / KEY_FILE
    if not file.exists() or not (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
        return None
    return (
        f"{file} can be read by others (mode {mode:o}), so what it signs proves nothing; "
        f"run `chmod 600 {file}`, and make a new key if others may have read it"
    )


def _bytes(text: str, where: str) -> bytes:
    cleaned = text.strip()
    for read in (bytes.fromhex, lambda t: base64.b64decode(t, validate=True)):
        with suppress(ValueError, binascii.Error):
            if len(key := read(cleaned)) == _SIZE:
                return key
    raise LedgerError(f"{where}: not a key; it has {_SIZE} bytes in hex or base64; {_MAKE} makes a private one")
