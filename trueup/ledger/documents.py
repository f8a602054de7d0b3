"""Signatures of documents by the ledger's key: of what leaves a home, and of what servers load."""

from __future__ import annotations

import json
from typing import Final

from trueup.ledger.canonical import canonical
from trueup.ledger.signing import Signer

BUNDLE: Final = "trueup-bundle-1"  # the kinds of documents: a manifest,
TRUST: Final = "trueup-trust-1"  # a trust anchor,
SERVING: Final = "trueup-serving-1"  # the state that servers load,
MODEL: Final = "trueup-model-1"  # the manifest of a model for another environment,
RECEIPT: Final = "trueup-receipt-1"  # and the receipt for one
_EARLIER: Final = "if it was yours, name its public key in TRUEUP_LEDGER_EARLIER_KEYS"


def signature_of(signer: Signer, kind: str, content: bytes) -> dict[str, str]:
    """The signature of a document, with the id of its key."""
    return {"key_id": signer.key_id, "signature": signer.sign_document(kind, content)}


def signature_line(signer: Signer, kind: str, content: bytes) -> bytes:
    """The signature of a document as a line of JSON, for a file beside it."""
    return f"{canonical(signature_of(signer, kind, content))}\n".encode()


def signature_problem(signer: Signer, kind: str, content: bytes, line: bytes, if_unknown: str = _EARLIER) -> str | None:
    """The problem with a document's signature from `signature_line`; None without one.

    `if_unknown` is the next step for a key that the signer does not know.
    """
    try:
        named = json.loads(line)
        key_id, signature = named["key_id"], named["signature"]
        right = signer.verifies_document(kind, key_id, content, signature)
    except (ValueError, LookupError, TypeError):
        return "it has no signature that can be read"
    if right is None:
        return f"it is signed with another key ({key_id}): {if_unknown}"
    return None if right else "its signature is not right: it was changed after it was signed"
