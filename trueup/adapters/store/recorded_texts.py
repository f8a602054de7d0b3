"""Texts that decisions depend on: configs, and the code of functions beside them, each named by its digest."""

from __future__ import annotations

import hashlib
from datetime import datetime

from trueup.adapters.files.port import Entry, older, read_bytes
from trueup.adapters.store.tables import Shelf, folder_name
from trueup.errors import WorkError

_FOLDER = "recorded"


class Texts(Shelf):
    """Recorded texts of a model."""

    def put_text(self, model: str, content: bytes) -> str:
        """Store a text and return its SHA-256 in hex, its key. Idempotent."""
        digest = hashlib.sha256(content).hexdigest()
        if not self.files.exists(key := _text(model, digest)):
            with self.files.writing(key) as stream:
                stream.write(content)
        return digest

    def read_text(self, model: str, digest: str) -> bytes:
        """Read the text of a digest. Raises WorkError if it is gone or was changed."""
        place = self.at(_text(model, digest))
        try:
            content = read_bytes(self.files, place.key, fresh=True)
        except OSError as error:
            raise WorkError(f"{place} cannot be read: {error.strerror or error}; a backup may have it") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise WorkError(f"{place} is not what was kept: its digest is not its name; restore it from a backup")
        return content

    def texts(self, model: str, before: datetime) -> list[Entry]:
        """Files of a model's texts from before a moment, each named by its digest."""
        listed = self.files.listed(f"{_FOLDER}/{folder_name(model)}")
        return older((entry for entry in listed if not entry.name.startswith(".")), before)


def _text(model: str, digest: str) -> str:
    return f"{_FOLDER}/{folder_name(model)}/{folder_name(digest)}"
