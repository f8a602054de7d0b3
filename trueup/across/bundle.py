"""The bundle in which a model moves: its registered files, a sample of its training rows, and the ledger entry about it.

It is an archive with a signed manifest, as the bundles for devices are. Nothing in it is used before the manifest's
signature is right by a pinned key, and every file has the digest that the manifest names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import AwareDatetime, Field

from trueup.adapters.mlflow import model_files
from trueup.adapters.onnx import ONNX_FILE
from trueup.config.tasks import Task
from trueup.errors import LedgerError, UntrustedModel, WorkError
from trueup.export import archive
from trueup.export.manifest import DIGEST, FileFacts, LedgerEntry, Part, read_manifest
from trueup.ledger import documents
from trueup.ledger.canonical import canonical
from trueup.ledger.elsewhere import Elsewhere
from trueup.ledger.entries import Entry, entry_hash
from trueup.ledger.signing import Signer

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FORMAT: Final = "trueup-model/1"
ENTRY: Final = "entry.json"
BASELINE: Final = "baseline.parquet"
REGISTERED: Final = (*model_files.FILES, ONNX_FILE)
LAYOUT: Final = archive.Layout(
    (archive.MANIFEST, archive.SIGNATURE, ENTRY, BASELINE, *REGISTERED), "trueup send", frozenset({ONNX_FILE})
)
_UNKNOWN: Final = "if it is the sender's, name its public key in TRUEUP_SENDERS; `trueup ledger key` prints it there"


class Manifest(Part):
    """What a bundle holds, and where that comes from."""

    format: Literal["trueup-model/1"]
    model: str
    task: Task
    version: int
    environment: str  # name of the sender's environment; empty without one
    issued: AwareDatetime
    timezone: str  # of the event times, and of the calendar features
    function: str | None = Field(pattern=DIGEST)  # SHA-256 of the module of `features.custom`
    entry: LedgerEntry  # of the version's newest promotion
    files: dict[str, FileFacts]

    def content(self) -> bytes:
        """The bytes of the file: canonical JSON."""
        return canonical(self.model_dump(mode="json")).encode()

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read the bytes of the file. Raises WorkError."""
        return read_manifest(cls, content, "use the same Trueup on both sides")


@dataclass(frozen=True)
class Parcel:
    """A bundle that was opened: its signature and digests are right."""

    manifest: Manifest
    entry: Entry  # of the sender's ledger
    contents: Mapping[str, bytes]
    origin: Elsewhere

    def write_model(self, folder: Path) -> None:
        """Write the registered files into an empty folder."""
        for name in REGISTERED:
            if name in self.contents:
                (folder / name).write_bytes(self.contents[name])

    def load(self) -> Pipeline:
        """The fitted pipeline, its files checked against the entry. Raises UntrustedModel."""
        with TemporaryDirectory(prefix="trueup-parcel-") as private:
            self.write_model(Path(private))
            return model_files.load(Path(private), self.entry.challenge.model.manifest_digest, "the bundle")


def packed(manifest: Manifest, contents: Mapping[str, bytes], signer: Signer) -> bytes:
    """The archive of a bundle, with its signed manifest."""
    content = manifest.content()
    signature = documents.signature_line(signer, documents.MODEL, content)
    return archive.packed({archive.MANIFEST: content, archive.SIGNATURE: signature, **contents}, LAYOUT)


def facts_of(content: bytes) -> FileFacts:
    """Size and digest of a file."""
    return FileFacts(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def written_entry(entry: Entry) -> bytes:
    """The file with a ledger entry: all that its hash covers, and its signature."""
    return canonical({**entry.columns, "body": entry.text}).encode()


def open_parcel(place: Path, believed: Signer) -> Parcel:
    """Read a bundle and check it by the pinned keys. Raises UsageError without one there, WorkError with all problems."""
    contents = archive.read_bundle(place, LAYOUT)
    content = contents[archive.MANIFEST]
    problem = documents.signature_problem(believed, documents.MODEL, content, contents[archive.SIGNATURE], _UNKNOWN)
    if problem is not None:
        raise _refused(place, [problem])
    try:
        manifest = Manifest.read(content)
        problems = list(_files(manifest, contents))
        entry = None if problems else _entry(manifest, contents[ENTRY])
    except (WorkError, ValueError, LookupError, TypeError) as error:
        raise _refused(place, [str(error)]) from None
    if entry is None:
        raise _refused(place, problems)
    key_id = json.loads(contents[archive.SIGNATURE])["key_id"]
    origin = Elsewhere(
        bundle=hashlib.sha256(content).hexdigest(),
        environment=manifest.environment,
        key_id=key_id,
        entry=entry.seq,
        hash=entry.hash,
        kind=entry.kind,
        version=manifest.version,
    )
    return Parcel(manifest, entry, contents, origin)


def _refused(place: Path, problems: list[str]) -> WorkError:
    return WorkError(f"{place}: nothing was received: {'; '.join(problems)}")


def _files(manifest: Manifest, contents: Mapping[str, bytes]) -> Iterator[str]:
    """Whether the files are those that the manifest lists."""
    for name in sorted((contents.keys() - {archive.MANIFEST, archive.SIGNATURE}) ^ manifest.files.keys()):
        yield f"{name} is not in both, the manifest and the bundle"
    for name, facts in manifest.files.items():
        if name in contents and facts_of(contents[name]) != facts:
            yield f"{name} was changed: it has another digest than in the manifest"


def _entry(manifest: Manifest, content: bytes) -> Entry:
    """The sender's ledger entry. Raises WorkError if it is not the one that the manifest names."""
    row = json.loads(content)
    entry = Entry.from_row(row)
    if not entry_hash(row) == entry.hash == manifest.entry.hash:
        raise WorkError(f"{ENTRY} is not the ledger entry that the manifest names: its content does not match the hash")
    promotion = entry.body.promotion
    if entry.model != manifest.model or promotion is None or promotion.version != manifest.version:
        raise WorkError(f"{ENTRY} does not promote version {manifest.version} of {manifest.model}")
    if entry.challenge.model.version != manifest.version:
        raise WorkError(f"{ENTRY} does not describe version {manifest.version}")
    return entry


def require_loadable(place: Path, parcel: Parcel) -> Pipeline:
    """Load the pipeline of a bundle. Raises WorkError if it is not the one of the entry, or cannot be loaded here."""
    try:
        return parcel.load()
    except (UntrustedModel, LedgerError) as error:
        raise _refused(place, [str(error)]) from None
