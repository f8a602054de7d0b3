"""Dossiers: where they are, and how they are made anew after a decision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.errors import ConfigError, UnknownModel
from trueup.governance.ledger_queries import versions_of
from trueup.home import Home
from trueup.ledger.entries import PROMOTION, Entry
from trueup.model import Model


def dossiers_folder(root: Path, model: str) -> Path:
    """Where a model's dossiers lie, unless another place is named."""
    return root / "reports" / "dossiers" / model


def stem(model: str, version: int) -> str:
    """What a version's dossier is called, before the dot."""
    return f"{model}-v{version}"


def dossier_page(root: Path, model: str, version: int) -> Path:
    """Where the page of a version lies."""
    return dossiers_folder(root, model) / f"{stem(model, version)}.html"


@contextmanager
def dossiers_kept_current(home: Home) -> Iterator[None]:
    """Makes the dossiers anew, in the background, of every version that a decision of this process in the block is about."""
    before = _appended(home)
    try:
        yield
    finally:
        for entry in _appended(home)[len(before) :]:
            with suppress(UnknownModel, ConfigError):  # without a sound config nobody can read the model's data
                show_dossiers(Model(load_model(home.configs, entry.model), home), entry)


def _appended(home: Home) -> list[Entry]:
    """The entries that this process has recorded; a ledger that was not needed is not opened for it."""
    return list(home.ledger.appended) if "ledger" in home.__dict__ else []


def show_dossiers(model: Model, entry: Entry) -> None:
    """Starts the rendering of the dossiers of the versions that an entry is about, and of the champion it replaced."""
    about = versions_of(entry)
    if PROMOTION in entry.body and (before := entry.body["previous"]):
        about.add(before["version"])
    if about:
        what = f"the dossiers in {dossiers_folder(model.home.root, model.config.model)}"
        model.home.background.submit(what, draw, model.home.settings, model.config, sorted(about))


def draw(settings: Settings, config: ModelConfig, versions: Sequence[int]) -> None:
    """Make dossiers, without the bill of materials: that takes longer than they do, and comes with `trueup dossier`."""
    from trueup.audit.dossier import make  # here, because who decides need not wait for matplotlib

    home = Home(settings)
    for version in versions:
        make(Model(config, home), version, bill=False)
    home.close()
