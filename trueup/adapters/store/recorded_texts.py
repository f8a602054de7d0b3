"""Texts that decisions rest on: configs, and the code of functions beside them, each named by the digest of its bytes."""

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
    """Texts of a model that are kept as they were."""

    def put_text(self, model: str, content: bytes) -> str:
        """Keep a text; give its SHA-256, in hex, by which it is found again. The same again changes nothing."""
        digest = hashlib.sha256(content).hexdigest()
        if not (path := self._text(model, digest)).exists():
            with files.whole(path) as stream:
                stream.write(content)
        return digest

    def read_text(self, model: str, digest: str) -> bytes:
        """Read what was kept under a digest. Raises WorkError when it is gone or is not what was kept."""
        path = self._text(model, digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WorkError(f"{path} cannot be read: {error.strerror}; a backup may have it") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise WorkError(f"{path} is not what was kept: its digest is not its name; restore it from a backup")
        return content

    def texts(self, model: str, before: datetime) -> list[Path]:
        """List the files of a model's texts that are from before a moment; each is named by its digest."""
        return older((self.home / _FOLDER / folder_name(model)).glob("[!.]*"), before)

    def _text(self, model: str, digest: str) -> Path:
        return self.home / _FOLDER / folder_name(model) / folder_name(digest)
