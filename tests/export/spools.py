"""Spools as a device writes them, by the format in `edge/README.md`."""

import json
import zlib
from pathlib import Path

COUNTER = {"spool": "trueup-spool/1", "device": "gate-12", "lost": 0}


def line(record: dict) -> str:
    """A line of a spool."""
    content = json.dumps(record, separators=(",", ":"))
    return f'{{"crc":"{zlib.crc32(content.encode()):08x}","record":{content}}}\n'


def record(n: int, key: object, event_time: object, prediction: object, **changed: object) -> dict:
    """A prediction of the toy model; each is made a second after the one before."""
    return {
        "n": n,
        "device": "gate-12",
        "time": f"2024-02-20T00:{n // 60:02}:{n % 60:02}.000001Z",
        "model": "toy",
        "version": 2,
        "epoch": 1,
        "key": {"id": key},
        "event_time": str(event_time),
        "row": {},
        "prediction": prediction,
    } | changed


def written(file: Path, records: list[dict], lost: int = 0) -> Path:
    """A spool with these records."""
    file.write_text("".join(map(line, [COUNTER | {"lost": lost}, *records])))
    return file
