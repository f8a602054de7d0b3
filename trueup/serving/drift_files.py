"""The drift counts of all workers of a server: each writes its own, and any of them adds them up."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from trueup.errors import WorkError
from trueup.files import whole
from trueup.serving.drift import Counted

_SUFFIX: Final = ".drift"


class DriftFiles:
    """Files in the folder that the workers of a server share, one a worker and model.

    The file of a worker that ended stays: its requests of the last hour were requests of the server.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, model: str, own: Counted) -> None:
        """Replace this worker's counts. A disk without room leaves the older ones there."""
        with suppress(WorkError), whole(self._folder / f"{os.getpid()}.{model}{_SUFFIX}", durable=False) as stream:
            stream.write(msgspec.msgpack.encode(own))

    def others(self, model: str) -> list[Counted]:
        """The counts of the other workers."""
        files = self._folder.glob(f"[!.]*.{model}{_SUFFIX}")
        return [
            msgspec.msgpack.decode(file.read_bytes(), type=Counted)
            for file in sorted(files)
            if file.name.split(".")[0] != str(os.getpid())
        ]
