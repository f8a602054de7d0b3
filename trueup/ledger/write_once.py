"""Files with a text that is generated once: the name of a home, its key."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


def made_once(file: Path, make: Callable[[], str], *, keep: bool = True) -> str:
    """The text of a file; the first process makes it, readable by its owner only.

    Without `keep` a missing file is not written: the text is generated for this call.
    """
    if not file.exists():
        if not keep:
            return make()
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{uuid4().hex}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as new:
            new.write(make() + "\n")
        with suppress(FileExistsError):  # else another was faster
            file.hardlink_to(beside)
        beside.unlink()
    return file.read_text(encoding="ascii").strip()
