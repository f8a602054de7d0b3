"""Sends a champion to another environment: writes the bundle that `trueup receive` reads there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trueup import files
from trueup.across.bundle import BASELINE, ENTRY, FORMAT, LAYOUT, REGISTERED, Manifest, facts_of, packed, written_entry
from trueup.adapters.files.port import read_bytes
from trueup.adapters.mlflow import model_files
from trueup.config.environments import VARIABLE
from trueup.errors import LedgerError, UsageError, WorkError
from trueup.export import archive
from trueup.export.manifest import LedgerEntry
from trueup.governance.recorded_inputs import config_then
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.ledger.record import Fitted
from trueup.model import Model


@dataclass(frozen=True)
class Sent:
    """A bundle that was written."""

    model: str
    version: int
    file: str
    bytes: int
    entry: int  # of the promotion, with its hash
    hash: str
    key_id: str  # that signed it
    public: str  # the key that the receiver pins


def send(model: Model, version: int | None, file: Path, issued: datetime | None = None) -> Sent:
    """Write the bundle of a version that was promoted here, by default of the champion.

    `issued` (with offset, by default now) and the same version make the same bytes. Raises UsageError for a version that
    was never promoted here and for a file that holds something else, LedgerError if the entry about the version is not
    right, UntrustedModel if its files are not, and WorkError if the sample of its training rows is gone.
    """
    _require_free(file)
    entry = _promotion(model, version)
    fitted = entry.challenge.model
    contents = {**_registered(model.home, fitted), BASELINE: _baseline(model, fitted), ENTRY: written_entry(entry)}
    signer = model.home.signer
    manifest = Manifest(
        format=FORMAT,
        model=model.config.model,
        task=model.config.task,
        version=fitted.version,
        environment=os.environ.get(VARIABLE, ""),
        issued=(issued or model.home.now()).astimezone(UTC).replace(microsecond=0),
        timezone=_zone(model, entry),
        function=entry.body.recorded.get("function"),
        entry=LedgerEntry(
            seq=entry.seq,
            hash=entry.hash,
            key_id=entry.key_id or "",
            signature=entry.signature or "",
            public=signer.public_of(entry.key_id or "") or "",
        ),
        files={name: facts_of(content) for name, content in sorted(contents.items())},
    )
    whole = packed(manifest, contents, signer)
    with files.whole(file) as stream:
        stream.write(whole)
    return Sent(
        model.config.model, fitted.version, str(file), len(whole), entry.seq, entry.hash, signer.key_id, signer.public
    )


def _promotion(model: Model, version: int | None) -> Entry:
    """The entry of a version's newest promotion, which the ledger verifies."""
    name, entries = model.config.model, model.home.ledger.entries(model.config.model)
    promotions = [(e, e.body.promotion) for e in entries if e.body.promotion is not None]
    if not promotions:
        raise UsageError(f"{name} has no champion yet; make one: trueup run {name}")
    chosen = version if version is not None else promotions[-1][1].version
    about = [e for e, promotion in promotions if promotion.version == chosen]
    if not about:
        served = ", ".join(str(v) for v in sorted({promotion.version for _, promotion in promotions}))
        raise UsageError(
            f"{name}: version {chosen} was never promoted here, so it is not sent; those that were: {served}"
        )
    if wrong := [problem for problem in model.home.ledger.verify() if problem.seq == about[-1].seq]:
        raise LedgerError(
            f"{name}: version {chosen} is not sent, because the ledger is not right about it: {wrong[0]}; "
            "next: trueup ledger verify"
        )
    return about[-1]


def _registered(home: Home, fitted: Fitted) -> dict[str, bytes]:
    """The registered files, each checked against the ledger."""
    with home.registry.files(fitted.uri) as folder:
        read = {name: model_files.read(folder, name, fitted.manifest_digest, fitted.uri) for name in REGISTERED}
    return {name: content for name, content in read.items() if content is not None}


def _baseline(model: Model, fitted: Fitted) -> bytes:
    """The sample of the training rows with which the receiver checks the model and measures drift."""
    store, path = model.home.store, fitted.baseline_path
    if (digest := store.evaluation_digest(path)) is None or digest != fitted.baseline_digest:
        state = "gone" if digest is None else "not the recorded one"
        raise WorkError(
            f"{model.config.model}: version {fitted.version} is not sent, because the sample of its training rows is "
            f"{state} ({path}); restore it from a backup"
        )
    return read_bytes(store.files, path)


def _zone(model: Model, entry: Entry) -> str:
    """The time zone of the training; today's if no config of then is kept."""
    try:
        return config_then(model.config.model, entry.body, model.home).ingest.timezone
    except WorkError:
        return model.config.ingest.timezone


def _require_free(file: Path) -> None:
    """Raise UsageError if the file holds anything but such a bundle."""
    if not file.exists():
        return
    try:
        Manifest.read(archive.read_bundle(file, LAYOUT)[archive.MANIFEST])
    except WorkError:
        raise UsageError(f"{file}: holds something other than a model's bundle; name another file") from None
