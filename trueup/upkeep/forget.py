"""Erases what servers logged about one row key: its records in the prediction log, and its features as they were used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from trueup.domain.types import EVENT_TIME, ROW_ID
from trueup.errors import UsageError, WorkError
from trueup.export.joined import identified
from trueup.export.spool_file import Served
from trueup.governance.decision_record import circumstances
from trueup.hints import did_you_mean
from trueup.ledger.entries import Decision
from trueup.ledger.record import Record, Trigger
from trueup.model import Model
from trueup.online.drain import drain, log_folder
from trueup.serving.log_format import decoded, erase, log_files, read_frames

ERASED: Final = "erased"  # the kind of ledger entry
_AT_ONCE: Final = 50_000  # records of the home's database
_ANY: Final = "2000-01-01T00:00:00"  # for records without an event time


@dataclass(frozen=True)
class Forgotten:
    """What was erased, and the ledger entry about it."""

    model: str
    records: int  # of the prediction log
    features: int  # rows of served features
    sequence: int


def forget(model: Model, key: Mapping[str, str], by: str, why: str) -> Forgotten:
    """Erase a key from the prediction log and the served features. The ledger records how much, without the key.

    What was logged is stored first, so that the predictions themselves still count: they name a row by a digest only.
    Landed batches come from the source, and are not touched. A repeated call is harmless. Raises UsageError unless
    `key` has a value for each column of `ingest.key`.
    """
    _require_key(model, key)
    drain(model)
    with model.home.draining(model.config.model) as alone:
        if not alone:
            raise WorkError(f"{model.config.model}: another process is draining the log; end it, and run again")
        records = _erase_files(model, key) + _erase_rows(model, key)
        features = _erase_features(model, key)
    reason = (
        f"{by} erased a key: {records:,} records of the prediction log and {features:,} rows of served features; {why}"
    )
    entry = model.home.ledger.append(
        Decision(
            decision_id=f"{model.config.model}:{ERASED}:{uuid4().hex}",
            model=model.config.model,
            kind=ERASED,
            as_of=_as_of(model),
            body=circumstances(model)
            | Record(
                outcome=ERASED,
                reasons=(reason,),
                trigger=Trigger(reason="manual", kind="request"),
                by=by,
                verdicts=(),
            ),
        )
    )
    return Forgotten(model.config.model, records, features, entry.seq)


def _require_key(model: Model, key: Mapping[str, str]) -> None:
    name, columns = model.config.model, model.config.ingest.key
    if not columns:
        raise UsageError(
            f"{name}: ingest.key is empty, so that nothing is logged under a key; there is nothing to erase"
        )
    if unknown := next((column for column in key if column not in columns), None):
        hint = did_you_mean(unknown, columns, f"the key is {', '.join(columns)}")
        raise UsageError(f"{name}: {unknown!r} is no column of the key; {hint}")
    if missing := [column for column in columns if column not in key]:
        raise UsageError(f"{name}: the key also needs {', '.join(missing)}; add --key {missing[0]}=VALUE")


def _erase_files(model: Model, key: Mapping[str, str]) -> int:
    """Overwrite the key's records in place, also in files that servers go on writing to."""
    erased = 0
    for file in log_files(log_folder(model)):
        frames = read_frames(file)
        found = _of_key(model, key, frames.payloads)
        erase(file, {frames.starts[place]: len(frames.payloads[place]) for place in found})
        erased += len(found)
    return erased


def _erase_rows(model: Model, key: Mapping[str, str]) -> int:
    """Delete the key's records that servers put into the home's database since it was drained."""
    rows = model.home.store.logged(model.config.model, _AT_ONCE)
    found = _of_key(model, key, [payload for _, payload in rows])
    model.home.store.drop_logged([rows[place][0] for place in found])
    return len(found)


def _of_key(model: Model, key: Mapping[str, str], payloads: Sequence[bytes]) -> list[int]:
    """The places of the records of a key, however their values are written."""
    records = [(place, record) for place, payload in enumerate(payloads) if (record := decoded(payload)) is not None]
    own = [(place, record) for place, record in records if record.key is not None]
    if not own:
        return []
    same = [{c: str(v) for c, v in (record.key or {}).items()} == dict(key) for _, record in own]
    if identified(model, [_named(model, key, _ANY)])[EVENT_TIME].notna().all():  # the columns' kinds allow the key
        theirs, ours = (
            identified(
                model, [_named(model, named or record.key or {}, record.event_time or _ANY) for _, record in own]
            )
            for named in (None, key)
        )
        equal = (theirs[ROW_ID] == ours[ROW_ID]) & theirs[EVENT_TIME].notna() & ours[EVENT_TIME].notna()
        same = [a or b for a, b in zip(same, equal, strict=True)]
    return [place for (place, _), one in zip(own, same, strict=True) if one]


def _named(model: Model, key: Mapping[str, Any], event_time: str) -> Served:
    """A key at a moment, as predictions made elsewhere are named."""
    return Served(0, "", f"{_ANY}Z", model.config.model, 0, 0, key, event_time, None)


def _erase_features(model: Model, key: Mapping[str, str]) -> int:
    """Remove the key's rows from the served features of each window."""
    store, name, erased = model.home.store, model.config.model, 0
    windows = store.served_windows(name)
    rows = identified(model, [_named(model, key, window.start.isoformat()) for window in windows])
    known = rows[EVENT_TIME].notna()  # unless the key is not of its columns' kinds
    for window, row_id, fits in zip(windows, rows[ROW_ID], known, strict=True):
        if fits:
            erased += store.erase_served(name, window, [int(row_id)])
    return erased


def _as_of(model: Model) -> datetime:
    entries = model.home.ledger.entries(model.config.model)
    return max((entry.as_of for entry in entries), default=model.home.local_now(model.config))
