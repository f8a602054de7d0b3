"""The configs of a folder, read again when their files have changed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from trueup.config import environments
from trueup.config.load import load_model, model_names
from trueup.config.schema import ModelConfig
from trueup.errors import TrueupError


class Configs:
    """The configs of a folder, by model. Reading one takes about 0.02 s, so what must not wait reads them bit by bit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._read: dict[str, tuple[object, ModelConfig | str]] = {}

    def names(self) -> list[str]:
        """The models with a config."""
        return model_names(self._folder)

    def get(self, name: str) -> ModelConfig | str | None:
        """A config, what is wrong with it, or None while it has not been read."""
        with self._lock:
            found = self._read.get(name)
        return None if found is None else found[1]

    def read_changed(self, seconds: float = math.inf) -> set[str]:
        """Read configs with changed files for so many seconds; the next call continues. Their names."""
        begun, changed = time.monotonic(), set()
        shared = _state(self._environments())
        for name in self.names():
            state = (shared, _state(self._files(name)))
            with self._lock:
                known = self._read.get(name)
            if (known is not None and known[0] == state) or time.monotonic() - begun >= seconds:
                continue
            try:
                read: ModelConfig | str = load_model(self._folder, name)
            except TrueupError as error:
                read = str(error)
            with self._lock:
                self._read[name] = (state, read)
            changed.add(name)
        return changed

    def _files(self, name: str) -> Iterator[Path]:
        yield self._folder / f"{name}.yaml"
        known = self.get(name)
        if isinstance(known, ModelConfig) and (contract := known.ingest.contract):
            yield self._folder / contract

    def _environments(self) -> Iterator[Path]:
        yield from sorted((self._folder.resolve().parent / environments.FOLDER).glob("*.yaml"))


def _state(files: Iterator[Path]) -> tuple[object, ...]:
    return tuple(_stat(file) for file in files)


def _stat(file: Path) -> object:
    try:
        stat = file.stat()
    except OSError:
        return None
    return str(file), stat.st_mtime_ns, stat.st_size
