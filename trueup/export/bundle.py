"""Writes the bundle of a version: the graph, rows to test it with, and a signed manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from trueup import files
from trueup.adapters.onnx.form import Form
from trueup.errors import LedgerError, UsageError, WorkError
from trueup.export import archive
from trueup.export.forms import Judged, judged_form, parity_lines
from trueup.export.inputs import input_facts
from trueup.export.manifest import FORMAT, FileFacts, LedgerEntry, Manifest, Output
from trueup.governance.ledger_queries import judging_entry, part_about, trained_on, versions_of
from trueup.governance.recorded_inputs import config_then
from trueup.home import Home
from trueup.ledger import documents
from trueup.ledger.entries import Entry
from trueup.model import Model

EXPIRES: Final = timedelta(days=180)


@dataclass(frozen=True)
class Exported:
    """A bundle that was written."""

    model: str
    version: int
    epoch: int
    folder: str
    archive: str | None
    key_id: str
    issued: datetime
    expires: datetime
    inputs: int
    derived: tuple[str, ...]  # inputs that the caller computes: history and custom features
    bytes: int  # of model.onnx
    rows: int  # on which graph and pipeline were compared
    largest: float  # difference of a prediction, relative to max(1, |value|)


def export(
    model: Model,
    version: int | None,
    folder: Path,
    *,
    zipped: bool = False,
    expires: timedelta = EXPIRES,
    issued: datetime | None = None,
) -> Exported:
    """Write the bundle of a version (by default the champion) into a folder; with `zipped` also as `<folder>.zip`.

    `issued` (with offset, by default now) and the same version make the same bytes. Nothing is written before the graph
    was compared with the version's pipeline. Raises UsageError for a version that the ledger does not know and for a
    folder that holds something else, LedgerError if the entry about the version is not right, UntrustedModel if its
    files are not, NoExporter if it has no ONNX form, and WorkError if the form predicts otherwise or cannot be compared,
    or if the files cannot be written. One export at a time writes, so that no bundle has files of two.
    """
    name = model.config.model
    span = _term(issued or model.home.now(), expires)
    chosen = version if version is not None else _champion(model)
    place = _archive_of(folder) if zipped else None
    entry, epoch, judging = _entries_about(model, chosen)
    _require_free(folder, place, name)
    judged = judged_form(model, part_about(judging, chosen), trained_on(judging))
    contents = {archive.GRAPH: judged.form.graph, archive.PARITY: parity_lines(judged)}
    manifest = _manifest(model, chosen, epoch, span, entry, judging, judged, contents)
    with model.home.alone_with_bundles() as alone:
        if not alone:
            raise WorkError(f"{folder}: another export has been writing for a minute; end it, and export again")
        _require_free(folder, place, name)  # another export may have written there meanwhile
        _write(model.home, folder, place, manifest.content(), contents)
    return Exported(
        name,
        chosen,
        epoch,
        str(folder),
        None if place is None else str(place),
        model.home.signer.key_id,
        manifest.issued,
        manifest.expires,
        len(manifest.inputs),
        tuple(column.name for column in manifest.inputs if column.of in {"history", "custom"}),
        len(judged.form.graph),
        judged.rows,
        judged.largest,
    )


def _manifest(
    model: Model,
    version: int,
    epoch: int,
    span: tuple[datetime, datetime],
    entry: Entry,
    judging: Entry,
    judged: Judged,
    contents: Mapping[str, bytes],
) -> Manifest:
    """What the bundle holds: the version, its term, its ledger entry, its files, and its columns."""
    made, features = part_about(judging, version), trained_on(judging)
    return Manifest(
        format=FORMAT,
        model=model.config.model,
        task=model.config.task,
        version=version,
        epoch=epoch,
        issued=span[0],
        expires=span[1],
        trained_until=made.trained_until,
        timezone=_zone(model, judging),
        ledger=_ledger_entry(model.home, entry),
        files={name: _facts(content) for name, content in contents.items()},
        inputs=input_facts(judged.form, features, judging.body.recorded.get("function"), _units(model)),
        output=_output(model, judged.form),
        tolerance=judged.form.tolerance,
    )


def _term(issued: datetime, span: timedelta) -> tuple[datetime, datetime]:
    """The moments of issue and expiry in UTC, in whole seconds. Raises UsageError beyond the year 9999."""
    try:
        begun = issued.astimezone(UTC).replace(microsecond=0)
        return begun, begun + span
    except OverflowError:
        raise UsageError(
            f"a bundle issued at {issued} would expire after the year 9999; name an earlier time"
        ) from None


def _champion(model: Model) -> int:
    if (current := model.champion()) is None:
        raise UsageError(
            f"{model.config.model} has no champion yet; name a version, or make one: trueup run {model.config.model}"
        )
    return current.version


def _entries_about(model: Model, version: int) -> tuple[Entry, int, Entry]:
    """The entry of a version's newest promotion with its epoch, and the one in which it was judged.

    A version that was never promoted has the second one as the first, too, with epoch 0.
    """
    entries = model.home.ledger.entries(model.config.model)
    promotions = [(e, p.epoch) for e in entries if (p := e.body.promotion) is not None and p.version == version]
    judging = judging_entry(model, version)
    if judging is None:
        recorded = ", ".join(str(v) for v in sorted({v for e in entries for v in versions_of(e)}))
        raise UsageError(
            f"{model.config.model}: the ledger has no record of version {version}; it has {recorded or 'none'}; "
            f"`trueup ledger show {model.config.model}` lists the decisions"
        )
    entry, epoch = promotions[-1] if promotions else (judging, 0)
    wrong = [problem for problem in model.home.ledger.verify() if problem.seq in {entry.seq, judging.seq}]
    if wrong:
        raise LedgerError(
            f"{model.config.model}: version {version} is not exported, because the ledger is not right about it: {wrong[0]}; "
            "next: trueup ledger verify"
        )
    return entry, epoch, judging


def _archive_of(folder: Path) -> Path:
    """The archive beside a folder. Raises UsageError for a folder without a name."""
    there = folder.resolve()
    if not there.name:
        raise UsageError(f"{folder}: has no name that the archive could have; name a folder in it")
    return there.with_name(f"{there.name}.zip")


def _require_free(folder: Path, place: Path | None, model: str) -> None:
    """Raise UsageError if the folder, or the archive `place`, holds anything but a bundle of this model."""
    try:
        _require_free_folder(folder, model)
    except OSError as error:
        raise WorkError(f"{folder}: cannot be read ({error.strerror or error}); allow reading it") from error
    if place is None or not place.exists():
        return
    try:
        manifest = archive.read_bundle(place)[archive.MANIFEST] if place.is_file() else None
    except WorkError:
        manifest = None
    if manifest is None:
        raise UsageError(f"{place}: holds something other than a bundle; move it, or name another folder")
    _require_same_model(place, manifest, model)


def _require_free_folder(folder: Path, model: str) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder for the bundle")
    if others := sorted(path.name for path in folder.iterdir() if path.name not in archive.NAMES or path.is_dir()):
        raise UsageError(f"{folder}: holds {others[0]!r}, which belongs to no bundle; name an empty or a new folder")
    if (manifest := folder / archive.MANIFEST).exists():
        _require_same_model(folder, manifest.read_bytes(), model)


def _require_same_model(place: Path, manifest: bytes, model: str) -> None:
    other = _model_of(manifest)
    if other not in {model, None}:
        raise UsageError(f"{place}: holds a bundle of {other}; name another folder for {model}")


def _model_of(manifest: bytes) -> str | None:
    """The model of a manifest; None for one that cannot be read, whose bundle nobody can use."""
    try:
        return Manifest.read(manifest).model
    except WorkError:
        return None


def _zone(model: Model, judging: Entry) -> str:
    """The time zone of a version's training, in which its calendar features are; today's if no config of then is kept."""
    try:
        return config_then(model.config.model, judging.body, model.home).ingest.timezone
    except WorkError:
        return model.config.ingest.timezone


def _ledger_entry(home: Home, entry: Entry) -> LedgerEntry:
    key_id, signature = entry.key_id or "", entry.signature or ""
    public = home.signer.public_of(key_id) or ""
    return LedgerEntry(seq=entry.seq, hash=entry.hash, key_id=key_id, signature=signature, public=public)


def _units(model: Model) -> Mapping[str, str]:
    """The units of inputs, by name."""
    return {} if model.config.export is None else model.config.export.units


def _output(model: Model, form: Form) -> Output:
    label = model.config.ingest.label
    named = {"classes": form.classes} if form.classes else {}
    return Output(name=label.column, unit=label.unit, **named)


def _facts(content: bytes) -> FileFacts:
    return FileFacts(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _write(home: Home, folder: Path, place: Path | None, manifest: bytes, contents: Mapping[str, bytes]) -> None:
    """Sign the manifest, and write all files, also into the archive `place`."""
    signature = documents.signature_line(home.signer, documents.BUNDLE, manifest)
    everything = {archive.MANIFEST: manifest, archive.SIGNATURE: signature, **contents}
    archive.write_folder(folder, everything)
    if place is not None:
        with files.whole(place) as file:
            file.write(archive.packed(everything))
