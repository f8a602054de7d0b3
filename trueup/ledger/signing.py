"""The ledger's signature: Ed25519 over an entry's hash (of `ledger.entries.HASHED`), so that only the key's owner can sign.

The same key signs documents that leave the home, such as the manifest of an edge bundle. Their bytes are signed behind the
name of their kind, so that no document's signature is one of an entry, nor one of a document of another kind.

The key comes from the environment, from a file of a secret store, or from a file that only its owner may read, generated
at the first start. It is never in the database or beside the files of a shared home: who may write there could sign
again. Entries signed with an earlier key are trusted when the environment names its public key; a list beside the ledger
would not do, because a forger could add to it. With the key, everything can be rewritten except anchors in other places.

A process that only verifies needs no private key: it is given the public ones. A home whose key is not the one that
signed the newest entry signs nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
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
_SAME_KEY = "set TRUEUP_LEDGER_KEY or TRUEUP_LEDGER_KEY_FILE to the key of the home that signed it, on each machine"
_MAKE = 'python -c "import secrets; print(secrets.token_hex(32))"'


@dataclass(frozen=True)
class Signer:
    """Signs with one key, and knows the public keys of earlier ones. Without a private key it only verifies."""

    key_id: str
    public: str  # the public key in hex, for others to check with
    _private: Ed25519PrivateKey | None
    _believed: Mapping[str, Ed25519PublicKey]

    def sign(self, digest: str) -> str:
        """The signature of an entry's hash, in hex. Raises LedgerError without a private key."""
        return self._key().sign(digest.encode()).hex()

    def verifies(self, key_id: str, digest: str, signature: str) -> bool | None:
        """Whether an entry's signature is right; None for an unknown key."""
        return self._verifies(key_id, digest.encode(), signature)

    def sign_document(self, kind: str, content: bytes) -> str:
        """The signature of a document's bytes as one of its kind, in hex.

        Raises ValueError for an unsuitable kind, LedgerError without a private key.
        """
        return self._key().sign(_document(kind, content)).hex()

    def verifies_document(self, kind: str, key_id: str, content: bytes, signature: str) -> bool | None:
        """Whether a document's signature is right for its kind; None for an unknown key."""
        return self._verifies(key_id, _document(kind, content), signature)

    def public_of(self, key_id: str) -> str | None:
        """The public key of that id in hex; None for an unknown one."""
        key = self._believed.get(key_id)
        return None if key is None else key.public_bytes_raw().hex()

    def require_signed(self, key_id: str | None) -> None:
        """Raise LedgerError if an entry has a signature of a key that is neither this one nor a trusted one."""
        if key_id is not None and key_id not in self._believed:
            raise LedgerError(
                f"the ledger is signed with the key {key_id}, and this home has the key {self.key_id}, so nothing was signed; "
                f"{_SAME_KEY}. If you changed the key on purpose, name the public key of {key_id} in "
                "TRUEUP_LEDGER_EARLIER_KEYS"
            )

    def _key(self) -> Ed25519PrivateKey:
        if self._private is None:
            raise LedgerError(
                "this process has only public keys (TRUEUP_LEDGER_PUBLIC_KEYS), so it signs nothing; set "
                "TRUEUP_LEDGER_KEY_FILE where runs and decisions are made"
            )
        return self._private

    def _verifies(self, key_id: str, message: bytes, signature: str) -> bool | None:
        from cryptography.exceptions import InvalidSignature

        if (key := self._believed.get(key_id)) is None:
            return None
        try:
            key.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Keys:
    """The keys that the environment names, each None if it does not. Private keys are 32 bytes in hex or base64."""

    text: str | None = None  # the private key
    file: Path | None = None  # a file with the private key, of a secret store
    earlier: str | None = None  # further trusted public keys, separated by commas
    public: str | None = None  # public keys, the present one first, for a process that only verifies

    @property
    def names_private(self) -> bool:
        """Whether a private key is named."""
        return self.text is not None or self.file is not None


def open_signer(folder: Path, keys: Keys | None = None, *, keep: bool = True, signed_with: str | None = None) -> Signer:
    """The signer of a home: the key that the environment names, else the one in the file `ledger.key` in the folder.

    If only public keys are named, no private key is read. Without `keep` (for reading only) a missing key file is not
    written, and one that others may read is accepted. `signed_with` is the id of the key that signed the ledger's newest
    entry, if it has one: no other key is made, and an untrusted one is refused. Raises LedgerError for an invalid or
    another key, and for a file that others may read, or that this account may not.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    keys = keys or Keys()
    further = _listed(keys.public, "TRUEUP_LEDGER_PUBLIC_KEYS"), _listed(keys.earlier, "TRUEUP_LEDGER_EARLIER_KEYS")
    others, private = [key for each in further for key in each], None
    if keys.names_private or keys.public is None:
        private = Ed25519PrivateKey.from_private_bytes(_seed(folder, keys, keep, signed_with))
        others.insert(0, private.public_key().public_bytes_raw())
    if not others:
        raise LedgerError("TRUEUP_LEDGER_PUBLIC_KEYS names no key; list public keys in hex, separated by commas")
    believed = {key_id_of(key): Ed25519PublicKey.from_public_bytes(key) for key in others}
    signer = Signer(key_id_of(others[0]), others[0].hex(), private, believed)
    signer.require_signed(signed_with)
    return signer


def _seed(folder: Path, keys: Keys, keep: bool, signed_with: str | None) -> bytes:
    if keys.text is not None and keys.file is not None:
        raise LedgerError("TRUEUP_LEDGER_KEY and TRUEUP_LEDGER_KEY_FILE are both set; unset one of them")
    if keys.text is not None:
        return _bytes(keys.text, "TRUEUP_LEDGER_KEY")
    if keys.file is not None:
        return _of_secret_store(keys.file)
    if keep and signed_with is not None and not (folder / KEY_FILE).exists():
        raise LedgerError(
            f"the ledger is signed with the key {signed_with}, and this home has none, so nothing was signed; {_SAME_KEY}"
        )
    return _from_file(folder / KEY_FILE, keep)


def _listed(text: str | None, where: str) -> list[bytes]:
    return [_bytes(part, where) for part in (text or "").split(",") if part.strip()]


def _of_secret_store(file: Path) -> bytes:
    try:
        text, mode = file.read_text(encoding="ascii"), stat.S_IMODE(file.stat().st_mode)
    except (OSError, UnicodeError) as error:
        raise LedgerError(
            f"TRUEUP_LEDGER_KEY_FILE: {file} cannot be read: {error}; check the path and its owner"
        ) from None
    if mode & 0o007:  # a secret store may let a group read it
        raise LedgerError(
            f"TRUEUP_LEDGER_KEY_FILE: {file} can be read by everybody (mode {mode:o}), so what it signs proves nothing; "
            "mount it with mode 0400 or 0440"
        )
    return _bytes(text, "TRUEUP_LEDGER_KEY_FILE")


def verifier(text: str | None, variable: str) -> Signer | None:
    """What verifies with the public keys that a variable names; None without any. Raises LedgerError for what is no key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not (keys := _listed(text, variable)):
        return None
    believed = {key_id_of(key): Ed25519PublicKey.from_public_bytes(key) for key in keys}
    return Signer(key_id_of(keys[0]), keys[0].hex(), None, believed)


def public_key(text: str, where: str) -> bytes:
    """A public key (32 bytes) from hex or base64. Raises LedgerError, beginning with `where`."""
    return _bytes(text, where)


def key_id_of(public: bytes) -> str:
    """The short name of a public key: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def _document(kind: str, content: bytes) -> bytes:
    """The signed message. The dash in the kind's name keeps it from being an entry's hash, which is hexadecimal."""
    if re.fullmatch(r"[a-z]+(-[a-z]+)*-\d+", kind) is None:
        raise ValueError(f"{kind!r} names no kind of document; write it as trueup-bundle-1")
    return kind.encode() + b"\n" + content


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
