"""Dossiers kept current: where they lie, and that they are made anew when a decision says something new of a version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.governance.ledger_queries import versions_of
from trueup.home import Ports
from trueup.ledger.entries import PROMOTION, Entry


def dossiers_folder(root: Path, model: str) -> Path:
    """Where a model's dossiers lie, unless another place is named."""
    return root / "reports" / "dossiers" / model


def stem(model: str, version: int) -> str:
    """What a version's dossier is called, before the dot."""
    return f"{model}-v{version}"


def dossier_page(root: Path, model: str, version: int) -> Path:
    """Where the page of a version lies."""
    return dossiers_folder(root, model) / f"{stem(model, version)}.html"


def show_dossiers(config: ModelConfig, ports: Ports, entry: Entry) -> None:
    """Let the dossiers of the versions that an entry is about be made, and of the one that it put out of office."""
    about = versions_of(entry)
    if PROMOTION in entry.body and (before := entry.body["previous"]):
        about.add(before["version"])
    if about:
        what = f"the dossiers in {dossiers_folder(ports.root, config.model)}"
        ports.background.submit(what, draw, ports.settings, config, sorted(about))


def draw(settings: Settings, config: ModelConfig, versions: Sequence[int]) -> None:
    """Make dossiers, without the bill of materials: that takes longer than they do, and comes with `trueup dossier`."""
    from trueup.audit.dossier import make  # here, because who decides need not wait for matplotlib

    ports = Ports(settings)
    for version in versions:
        make(config, ports, version, bill=False)
    ports.close()
