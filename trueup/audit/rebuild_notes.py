"""Notes beside the reports about versions that were made again, for their dossiers."""

from __future__ import annotations

from pathlib import Path

from trueup import files
from trueup.home import Home
from trueup.ledger.canonical import canonical
from trueup.reporting.dossier_facts import Rebuilt


def note_rebuilt(home: Home, model: str, version: int, message: str) -> None:
    """Note the result of making a version again. Raises WorkError."""
    rebuilt = Rebuilt(at=home.now().replace(microsecond=0), message=message)
    files.write_text(_place(home.root, model, version), canonical(rebuilt.plain()))


def last_rebuilt(root: Path, model: str, version: int) -> Rebuilt | None:
    """The last note about a version; None if it was never made again here."""
    try:
        return Rebuilt.model_validate_json(_place(root, model, version).read_text())
    except (OSError, ValueError):
        return None


def _place(root: Path, model: str, version: int) -> Path:
    return root / "reports" / "rebuilt" / f"{model}-v{version}.json"
