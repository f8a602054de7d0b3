"""The configs of a folder, read again when their files have changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trueup.config import environments
from trueup.config.load import load_model, model_names
from trueup.config.schema import ModelConfig
from trueup.errors import TrueupError

_AT_ONCE: Final = 0.25  # seconds in which configs are read in one call; one takes about 0.02


class Configs:
    """The configs of a folder. Many new ones are read over several calls, so that no scrape waits for all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[object, ModelConfig | str]] = {}

    def current(self) -> dict[str, ModelConfig | str | None]:
        """Each model with its config, with what is wrong with it, or None while it has not been read."""
        begun, names = time.monotonic(), model_names(self._folder)
        shared = self._state(self._environments())
        for name in names:
            state = (shared, self._state(self._files(name)))
            known = self._read.get(name)
            if (known is None or known[0] != state) and time.monotonic() - begun < _AT_ONCE:
                self._read[name] = (state, self._one(name))
        return {name: self._read[name][1] if name in self._read else None for name in names}

    def _one(self, name: str) -> ModelConfig | str:
        try:
            return load_model(self._folder, name)
        except TrueupError as error:
            return str(error)

    def _files(self, name: str) -> Iterator[Path]:
        yield self._folder / f"{name}.yaml"
        known = self._read.get(name)
        if known is not None and isinstance(known[1], ModelConfig) and (contract := known[1].ingest.contract):
            yield self._folder / contract

    def _environments(self) -> Iterator[Path]:
        yield from sorted((self._folder.resolve().parent / environments.FOLDER).glob("*.yaml"))

    @staticmethod
    def _state(files: Iterator[Path]) -> tuple[object, ...]:
        return tuple(_stat(file) for file in files)


def _stat(file: Path) -> object:
    try:
        stat = file.stat()
    except OSError:
        return None
    return str(file), stat.st_mtime_ns, stat.st_size
