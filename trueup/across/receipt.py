"""Receipts: what the home that received a model decided, signed with its key, for the ledger of the one that sent it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from trueup import files
from trueup.config.environments import VARIABLE
from trueup.config.load import load_model
from trueup.errors import UsageError, WorkError
from trueup.export.manifest import DIGEST, Part
from trueup.governance.approval import standing
from trueup.governance.decision_record import circumstances
from trueup.governance.ledger_queries import RECEIPT
from trueup.home import Home
from trueup.ledger import documents
from trueup.ledger.canonical import canonical
from trueup.ledger.elsewhere import Elsewhere
from trueup.ledger.entries import Decision, Entry
from trueup.ledger.record import Record
from trueup.ledger.signing import verifier
from trueup.model import Model

FORMAT: Final = "trueup-receipt/1"
_UNKNOWN: Final = (
    "if it is the receiver's, name its public key in TRUEUP_RECEIVERS; `trueup ledger key` prints it there"
)


class Sender(Part):
    """The decision that was sent."""

    key_id: str
    entry: int
    hash: str = Field(pattern=DIGEST)
    version: int | None


class Receipt(Part):
    """What the receiver decided about a bundle."""

    format: Literal["trueup-receipt/1"]
    model: str
    bundle: str = Field(pattern=DIGEST)
    sender: Sender
    environment: str
    entry: int  # of the receiver's ledger
    hash: str = Field(pattern=DIGEST)
    kind: str
    version: int | None


@dataclass(frozen=True)
class Recorded:
    """A receipt that is in the ledger."""

    model: str
    sequence: int
    reason: str


def write_receipt(home: Home, entry: Entry, origin: Elsewhere, file: Path) -> None:
    """Write the receipt of the decision in an entry. Raises WorkError."""
    receipt = Receipt(
        format=FORMAT,
        model=entry.model,
        bundle=origin.bundle,
        sender=Sender(key_id=origin.key_id, entry=origin.entry, hash=origin.hash, version=origin.version),
        environment=os.environ.get(VARIABLE, ""),
        entry=entry.seq,
        hash=entry.hash,
        kind=entry.kind,
        version=entry.body.version,
    )
    content: dict[str, Any] = receipt.model_dump(mode="json")
    signed = documents.signature_of(home.signer, documents.RECEIPT, canonical(content).encode())
    files.write_text(file, f"{canonical(content | {'signed': signed})}\n")


def record_receipt(home: Home, file: Path) -> Recorded:
    """Verify a receipt by the pinned keys and record it. The same receipt again returns the recorded entry.

    Raises UsageError without a file or a pinned key, WorkError for a receipt that is not right.
    """
    receipt, key_id = _verified(home, file)
    model = Model(load_model(home.configs, receipt.model), home)
    sent = home.ledger.entry(receipt.sender.entry)
    if sent is None or (sent.model, sent.hash) != (receipt.model, receipt.sender.hash):
        raise _refused(file, f"it names ledger entry {receipt.sender.entry}, which is another one in this ledger")
    about = Elsewhere(
        bundle=receipt.bundle,
        environment=receipt.environment,
        key_id=key_id,
        entry=receipt.entry,
        hash=receipt.hash,
        kind=receipt.kind,
        version=receipt.version,
    )
    version = "" if receipt.version is None else f" (version {receipt.version} there)"
    reason = (
        f"{about.place} received version {receipt.sender.version}{version}: {receipt.kind}, ledger entry {receipt.entry} there "
        f"with the hash {receipt.hash[:12]}"
    )
    entry = home.ledger.append(
        Decision(
            decision_id=f"{receipt.model}:{RECEIPT}:{receipt.hash}",
            model=receipt.model,
            kind=RECEIPT,
            as_of=standing(model),
            body=circumstances(model)
            | Record(outcome=RECEIPT, reasons=[reason], verdicts=[], receipt=about, evidence_of=sent.seq),
        )
    )
    return Recorded(entry.model, entry.seq, entry.body.reasons[0])


def _verified(home: Home, file: Path) -> tuple[Receipt, str]:
    """A receipt whose signature is right, and the id of the key."""
    if (believed := verifier(home.settings.receivers, "TRUEUP_RECEIVERS")) is None:
        raise UsageError(
            "TRUEUP_RECEIVERS names no key; set it to the public key of the home that received the model, which "
            "`trueup ledger key` prints there"
        )
    try:
        content = json.loads(file.read_bytes())
        signed = content.pop("signed")
    except FileNotFoundError:
        raise UsageError(f"{file}: nothing is there; name the receipt that `trueup receive` wrote") from None
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise _refused(file, f"it cannot be read as a receipt ({error})") from None
    line = canonical(signed).encode()
    if (
        problem := documents.signature_problem(believed, documents.RECEIPT, canonical(content).encode(), line, _UNKNOWN)
    ) is not None:
        raise _refused(file, problem)
    try:
        return Receipt.model_validate(content), signed["key_id"]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _refused(file, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _refused(file: Path, problem: str) -> WorkError:
    return WorkError(f"{file}: not recorded: {problem}")
