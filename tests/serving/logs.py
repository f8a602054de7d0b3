"""Prediction logs of tests, and what is in them."""

from pathlib import Path

from trueup.serving.log_format import Record, decoded, encoded, log_files, read_frames
from trueup.serving.state import Serve


def serve(**changes) -> Serve:
    """The section `serve` with its defaults."""
    values = {"durability": "process", "on_full": "refuse", "log_mib": 64.0, "max_kib": 1024.0, "max_rows": 1000}
    values |= {"queue": 256, "features": None, "max_skew": 0.01, "personal": (), "log_bodies": False}
    return Serve(**(values | changes))


def record(id: str, **changes) -> Record:
    """A record of the champion of `toy`."""
    values = {"at": 1, "model": "toy", "version": 1, "epoch": 1, "role": "champion", "key": {"id": id}}
    values |= {"event_time": "2026-01-05T10:00:00", "features": bytes(16), "prediction": 0.5, "recorded": True}
    return Record(id, **(values | changes))


def payloads(*ids: str, **changes) -> list[bytes]:
    """The bytes of some records."""
    return [encoded(record(id, **changes)) for id in ids]


def logged(folder: Path) -> list[str]:
    """The ids of all records in a folder, in the order of files and frames."""
    records = [decoded(payload) for file in log_files(folder) for payload in read_frames(file).payloads]
    return [record.id for record in records if record is not None]
