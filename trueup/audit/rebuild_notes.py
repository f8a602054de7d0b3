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
    place = _place(home.root, model, version)
    with home.sharing(place):
        files.write_text(place, canonical(rebuilt.plain()))


def last_rebuilt(home: Home, model: str, version: int) -> Rebuilt | None:
    """The last note about a version; None if it was never made again here."""
    try:
        return Rebuilt.model_validate_json(home.fetched(_place(home.root, model, version)).read_text())
    except (OSError, ValueError):
        return None


def _place(root: Path, model: str, version: int) -> Path:
    return root / "reports" / "rebuilt" / f"{model}-v{version}.json"
