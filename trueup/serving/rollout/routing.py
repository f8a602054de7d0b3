"""Which version answers a row while a rollout is under way, and the figures of both versions on the same rows.

Keys are assigned by a hash, so a key gets its answers from the same version in all workers and after a restart, and a
higher share only adds keys. Each worker counts what it saw and writes its counts to a file of its own once a second;
`figures.read_figures` adds the workers up.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from trueup.serving import state
from trueup.serving.rollout.figures import Figures, Outcome, RowsOf, Scale, figures_folder
from trueup.serving.rollout.recorder import Recorder
from trueup.serving.texts import text_of

Role = Literal["champion", "canary"]

_SEPARATOR: Final = "\x1f"


def bucket(key: str, salt: str) -> float:
    """Return the place of a key in [0, 1): the first 53 bits of BLAKE2b (8 bytes, big-endian) of salt, 0x1F and key.

    A key belongs to the canary if its place is below the canary's share. The places of a key under two salts are
    independent.

    >>> [round(bucket(key, "a salt"), 3) for key in ("JFK", "LGA")]
    [0.404, 0.104]
    """
    digest = hashlib.blake2b(f"{salt}{_SEPARATOR}{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def row_key(row: Mapping[str, object], columns: Sequence[str]) -> str | None:
    r"""Join the key columns of a row as text, in the order of the state's `key`; None if one is missing.

    >>> row_key({"origin": "JFK", "flight": 12.0}, ["origin", "flight"]), row_key({"origin": "JFK"}, ["origin", "flight"])
    ('JFK\x1f12', None)
    """
    texts = [text_of(row.get(column)) for column in columns]
    known = [text for text in texts if text is not None]
    return _SEPARATOR.join(known) if known and len(known) == len(texts) else None


def worker_name() -> str:
    """Name this process uniquely over machines and restarts: host, process id and start in microseconds."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{time.time_ns() // 1000}"


class Routing:
    """Assigns the rows of one model to versions, and counts what both versions did.

    `folder` is the model's folder in `HOME/serving`, `name` that of the worker (`worker_name`). With `before`, the
    routing of the previous state, the counts and the breaker of the same rollout go on; otherwise close that one. Raises
    WorkError for limits that no value can have.
    """

    def __init__(self, rollout: state.Rollout, folder: Path, name: str, before: Routing | None = None) -> None:
        self.rollout = rollout
        limits = rollout.limits
        self.timeout_s = float(limits.get("timeout_ms", 1000)) / 1000
        self._share = rollout.share if rollout.phase == "canary" else 0.0
        scale = Scale.of(limits)
        same = before if before is not None and before.rollout.id == rollout.id else None
        self.shown: set[str] = same.shown if same else set()  # kinds of the challenger's errors that a log has
        place = figures_folder(folder, rollout.id) / f"{name}.json"
        self._recorder: Recorder = same._recorder if same else Recorder(rollout.id, place, scale)

    @property
    def tripped(self) -> bool:
        """Whether the breaker stopped the canary in this worker: 20 of the challenger's last 40 calls failed."""
        return self._recorder.tripped

    def role(self, key: str | None) -> Role:
        """Return who answers a row with this key. A row without a key is the champion's.

        A paused rollout keeps its share.
        """
        if self._share <= 0 or key is None or self.tripped:
            return "champion"
        return "canary" if bucket(key, self.rollout.salt) < self._share else "champion"

    def sampled(self, key: str | None) -> bool:
        """Whether the challenger predicts, in shadow, a row that the champion answers.

        The choice depends on the key, and is random for a row without one.
        """
        if self.rollout.sample >= 1:
            return True
        place = random.random() if key is None else bucket(key, f"{self.rollout.salt}{_SEPARATOR}sample")
        return place < self.rollout.sample

    def note(
        self, rows: RowsOf, champion: Outcome | None, challenger: Outcome | None, *, fallback: bool = False
    ) -> None:
        """Count one call: what both versions did with the same rows, None for a version that was not asked.

        `rows` is "canary" if they were the challenger's to answer, "shadow" otherwise; with `fallback` the champion
        answered rows of the canary. Safe in any thread.
        """
        self._recorder.note(self.rollout.step, rows, champion, challenger, fallback)

    def dropped(self, rows: RowsOf) -> None:
        """Count a call whose other version was not asked, because the queue for that was full."""
        self._recorder.dropped(self.rollout.step, rows)

    def figures(self) -> Figures:
        """Return a copy of this worker's counts."""
        return self._recorder.copy()

    def flush(self) -> None:
        """Write the counts now. Raises WorkError if the disk does not take them; they are kept, and written later."""
        self._recorder.write()

    def close(self) -> None:
        """Write the counts a last time and end the thread. A failure to write is not raised, as nobody could act on it."""
        self._recorder.close()
