"""The trust anchor of a model: the keys that a device believes. It is installed apart from every bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trueup import files
from trueup.home import Home
from trueup.ledger.canonical import canonical
from trueup.ledger.documents import TRUST, signature_of
from trueup.ledger.signing import key_id_of, public_key

FORMAT: Final = "trueup-trust/1"


@dataclass(frozen=True)
class Anchored:
    """A trust anchor that was written."""

    model: str
    file: str
    number: int
    keys: tuple[str, ...]  # ids


def anchor_of(home: Home, model: str, also: Sequence[str] = ()) -> dict[str, Any]:
    """The trust anchor of a model: the present key and the public keys `also` (hex or base64), signed with the present one.

    Its number is the time in seconds since 1970, so that a later anchor has a higher one. Raises LedgerError for what is
    no key.
    """
    publics = [bytes.fromhex(home.signer.public), *(public_key(text, "--also") for text in also)]
    keys = [{"key_id": key_id_of(public), "public": public.hex()} for public in dict.fromkeys(publics)]
    content = {"format": FORMAT, "model": model, "number": int(home.now().timestamp()), "keys": keys}
    return content | {"signed": signature_of(home.signer, TRUST, canonical(content).encode())}


def write_anchor(home: Home, model: str, file: Path, also: Sequence[str] = ()) -> Anchored:
    """Write the trust anchor of a model. Raises LedgerError as `anchor_of` does, and WorkError."""
    content = anchor_of(home, model, also)
    files.write_text(file, f"{canonical(content)}\n")
    return Anchored(model, str(file), content["number"], tuple(key["key_id"] for key in content["keys"]))
