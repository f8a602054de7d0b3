"""Which versions were made again from their record, and what came of it: a note beside the reports, for the dossier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trueup import files
from trueup.home import Home


def note_rebuilt(home: Home, model: str, version: int, said: str) -> None:
    """Note what making a version again came to. Raises WorkError."""
    found = {"at": home.now().isoformat(timespec="seconds"), "said": said}
    files.write_text(_place(home.root, model, version), json.dumps(found))


def last_rebuilt(root: Path, model: str, version: int) -> dict[str, Any] | None:
    """When a version was last made again here, and what came of it; None where it never was."""
    try:
        found: dict[str, Any] = json.loads(_place(root, model, version).read_text())
    except (OSError, ValueError):
        return None
    return found


def _place(root: Path, model: str, version: int) -> Path:
    return root / "reports" / "rebuilt" / f"{model}-v{version}.json"
