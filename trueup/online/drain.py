"""Drains the prediction log: what was served becomes the predictions that the monitor compares with the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pandas as pd

from trueup import files
from trueup.adapters.store import CHAMPION
from trueup.config.tasks import Task
from trueup.domain.types import EVENT_TIME
from trueup.errors import WorkError
from trueup.export.joined import Storing, frame_of, windows_of
from trueup.export.spool_file import Served
from trueup.handoffs import Drained
from trueup.model import Model
from trueup.online.served_versions import ServedVersion, ServedVersions
from trueup.serving.log_format import (
    DRAINED,
    Record,
    decoded,
    drained_offsets,
    is_written,
    log_files,
    read_frames,
    record_at,
)
from trueup.serving.published import folder_of
from trueup.serving.state import LOG

_AT_ONCE: Final = 32 * 2**20  # bytes of files that are stored together, which take about ten times as much memory
_RECORDS: Final = 50_000  # of the home's database that are stored together
_SINCE: Final = datetime(1970, 1, 1, tzinfo=UTC)


def log_folder(model: Model) -> Path:
    """The folder of a model's prediction log."""
    return folder_of(model.home.root, model.config.model) / LOG


def drain(model: Model) -> Drained:
    """Store what servers logged since the last call: predictions of record, their features, and those in shadow.

    Predictions are stored first and the log is let go afterwards: a repeated call after a crash stores nothing twice.
    Raises WorkError if another process has been at it for minutes, and as the store does.
    """
    with model.home.draining(model.config.model) as alone:
        if not alone:
            raise WorkError(f"{model.config.model}: another process has been draining the log; end it, and run again")
        work = _Draining(model)
        work.files(log_folder(model))
        work.table()
        return Drained(**work.counts)


@dataclass(frozen=True)
class _Read:
    """What is new in a file."""

    file: Path
    records: list[Record]
    end: int  # how far it is read
    complete: bool  # nothing more will come


class _Draining:
    """Stores records, and counts what becomes of them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._versions: ServedVersions | None = None
        self.counts = Counter[str]()

    def files(self, folder: Path) -> None:
        """Drain the files of a log. A complete one is removed."""
        offsets = drained_offsets(folder)
        for some in _chunks(_by_time(log_files(folder), offsets)):
            read = [self._read(file, offsets.get(file.name, 0)) for file in some]
            self._store([record for one in read for record in one.records])
            before, offsets = offsets, offsets | {one.file.name: one.end for one in read}
            if offsets != before:
                _note(folder, offsets)
            for one in read:
                if one.complete:
                    one.file.unlink(missing_ok=True)
        if stale := {name for name in offsets if not (folder / name).exists()}:
            _note(folder, {name: end for name, end in offsets.items() if name not in stale})

    def table(self) -> None:
        """Drain the log in the home's database."""
        store, name = self._model.home.store, self._model.config.model
        more = True
        while more and (rows := store.logged(name, _RECORDS)):
            self._store(self._decoded(payload for _, payload in rows))
            store.drop_logged([number for number, _ in rows])
            more = len(rows) == _RECORDS

    def _read(self, file: Path, start: int) -> _Read:
        written = is_written(file)  # before the reading: what comes after it is read the next time
        frames = read_frames(file, start)
        self.counts["broken"] += frames.broken
        if frames.torn and not written:
            self.counts["torn"] += 1
        return _Read(file, self._decoded(frames.payloads), frames.end, not written)

    def _decoded(self, payloads: Iterable[bytes]) -> list[Record]:
        records = []
        for payload in payloads:
            if (record := decoded(payload)) is not None:
                records.append(record)
            elif any(payload):  # else it was erased
                self.counts["broken"] += 1
        return records

    def _store(self, records: Sequence[Record]) -> None:
        """Store the records that count."""
        self.counts["records"] += len(records)
        if not records:
            return
        self._versions = self._versions or ServedVersions(self._model)
        made = self._predictions(records)
        answers = [record for record in made if record.role != "shadow" and record.recorded]
        shadows = [record for record in made if record.role == "shadow" and record.recorded]
        self.counts["tests"] += len(made) - len(answers) - len(shadows)
        self._store_role(answers, CHAMPION)
        for version in sorted({record.version for record in shadows}):
            self._store_role([record for record in shadows if record.version == version], f"shadow:{version}")

    def _predictions(self, records: Sequence[Record]) -> list[Record]:
        """The records with a prediction, of versions that the ledger knows."""
        assert self._versions is not None
        made = [r for r in records if r.error is None and r.prediction is not None]
        known = [r for r in made if r.model == self._model.config.model and self._versions.knows(r)]
        self.counts["errors"] += len(records) - len(made)
        self.counts["unknown_versions"] += len(made) - len(known)
        return known

    def _store_role(self, records: Sequence[Record], role: str) -> None:
        """Store predictions in a role of the store, and the features of those that were answered."""
        joinable = [record for record in records if _names_a_row(record)]
        served = [self._served(number, record) for number, record in enumerate(joinable)]
        frame = frame_of(self._model, served, self._classes(joinable))
        self.counts["unjoinable"] += len(records) - len(frame)
        if frame.empty:
            return
        storing = Storing(self._model, role)
        storing.store(frame, self._ends(joinable))
        if role != CHAMPION:
            self.counts["shadows"] += storing.counts["new"]
            return
        self.counts["again"] += storing.counts["equal"] + storing.counts["different"]
        self.counts.update({name: storing.counts[name] for name in ("new", "unmatched", "before", "retired")})
        self._store_features(frame, joinable)

    def _served(self, number: int, record: Record) -> Served:
        assert self._versions is not None
        version = self._versions.find(record.version)
        made_at = (_SINCE + timedelta(microseconds=record.at)).isoformat()
        about = (record.model, record.version, record.epoch, record.key or {}, record.event_time or "")
        return Served(number, "", made_at, *about, None if version is None else version.prediction(record))

    def _classes(self, records: Sequence[Record]) -> dict[int, frozenset[str]]:
        if self._model.config.task is not Task.MULTICLASS:
            return {}
        return {v.number: frozenset(v.form.classes) for v in self._found(records)}

    def _ends(self, records: Sequence[Record]) -> dict[tuple[int, int], pd.Timestamp]:
        ends = {version.number: version.trained_until for version in self._found(records)}
        return {(r.version, r.epoch): ends[r.version] for r in records}

    def _found(self, records: Sequence[Record]) -> list[ServedVersion]:
        assert self._versions is not None
        found = (self._versions.find(number) for number in sorted({record.version for record in records}))
        return [version for version in found if version is not None]

    def _store_features(self, frame: pd.DataFrame, records: Sequence[Record]) -> None:
        """Store the features as they were used, for `stages.monitoring.skew`."""
        store, name = self._model.home.store, self._model.config.model
        versions = {version.number: version for version in self._found(records)}
        used = [versions[records[place].version].has_features(records[place]) for place in frame["record"]]
        frame = frame[np.asarray(used, dtype=bool)]
        windows = windows_of(frame[EVENT_TIME], self._model.config.ingest.period)
        for window, number in sorted(set(zip(windows, frame["model_version"], strict=True))):
            rows = frame[((windows == window) & (frame["model_version"] == number)).to_numpy()]
            features = versions[number].features([records[place] for place in rows["record"]])
            named = pd.DataFrame(features, columns=versions[number].inputs)
            self.counts["features"] += store.save_served(name, window, rows, named)


def _names_a_row(record: Record) -> bool:
    plain = all(isinstance(value, str | int | float | bool | None) for value in (record.key or {}).values())
    return bool(record.key and record.event_time) and plain


def _by_time(some: Sequence[Path], offsets: Mapping[str, int]) -> list[Path]:
    """Files of all processes by their first new record: of repeated predictions of a row the first one made counts."""
    first = dict.fromkeys(some, 0)
    for file in some:
        with suppress(OSError):
            record = record_at(file, offsets.get(file.name, 0))
            first[file] = 0 if record is None else record.at
    return sorted(some, key=first.__getitem__)


def _chunks(some: Sequence[Path]) -> Iterator[list[Path]]:
    """Files in order, so many that they are stored together."""
    chunk, size = list[Path](), 0
    for file in some:
        chunk.append(file)
        with suppress(FileNotFoundError):
            size += file.stat().st_size
        if size >= _AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _note(folder: Path, offsets: dict[str, int]) -> None:
    with files.whole(folder / DRAINED) as stream:
        stream.write(msgspec.json.encode(offsets))
