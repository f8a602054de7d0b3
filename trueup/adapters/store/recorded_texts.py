"""Texts that decisions depend on: configs, and the code of functions beside them, each named by its digest."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from trueup import files
from trueup.adapters.old_files import older
from trueup.adapters.store.tables import Shelf, folder_name
from trueup.errors import WorkError

_FOLDER = "recorded"


class Texts(Shelf):
    """Recorded texts of a model."""

    def put_text(self, model: str, content: bytes) -> str:
        """Store a text and return its SHA-256 in hex, its key. Idempotent."""
        digest = hashlib.sha256(content).hexdigest()
        if not (path := self._text(model, digest)).exists():
            with files.whole(path) as stream:
                stream.write(content)
        return digest

    def read_text(self, model: str, digest: str) -> bytes:
        """Read the text of a digest. Raises WorkError if it is gone or was changed."""
        path = self._text(model, digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WorkError(f"{path} cannot be read: {error.strerror}; a backup may have it") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise WorkError(f"{path} is not what was kept: its digest is not its name; restore it from a backup")
        return content

    def texts(self, model: str, before: datetime) -> list[Path]:
        """Files of a model's texts from before a moment, each named by its digest."""
        return older((self.home / _FOLDER / folder_name(model)).glob("[!.]*"), before)

    def _text(self, model: str, digest: str) -> Path:
        return self.home / _FOLDER / folder_name(model) / folder_name(digest)
