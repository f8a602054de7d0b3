"""The places of dossiers, and their redrawing after a decision."""

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
from trueup.ledger.entries import Entry
from trueup.model import Model


def dossiers_folder(root: Path, model: str) -> Path:
    """The folder of a model's dossiers, unless another is named."""
    return root / "reports" / "dossiers" / model


def stem(model: str, version: int) -> str:
    """The name of a version's dossier, without its ending."""
    return f"{model}-v{version}"


def dossier_page(root: Path, model: str, version: int) -> Path:
    """The page of a version."""
    return dossiers_folder(root, model) / f"{stem(model, version)}.html"


@contextmanager
def dossiers_kept_current(home: Home) -> Iterator[None]:
    """After the block, redraws in the background the dossier of each version that a decision in the block is about."""
    before = _appended(home)
    try:
        yield
    finally:
        for entry in _appended(home)[len(before) :]:
            with suppress(UnknownModel, ConfigError):  # without a valid config the model's data cannot be read
                show_dossiers(Model(load_model(home.configs, entry.model), home), entry)


def _appended(home: Home) -> list[Entry]:
    """The entries that this process has recorded. Does not open the ledger."""
    return list(home.ledger.appended) if "ledger" in home.__dict__ else []


def show_dossiers(model: Model, entry: Entry) -> None:
    """Queue the dossiers of the versions that an entry is about, and of the champion that it replaced."""
    about = versions_of(entry) | ({entry.body.rollout.version} if entry.body.rollout else set())
    if entry.body.promotion and (before := entry.body.previous):
        about.add(before.version)
    if about:
        what = f"the dossiers in {dossiers_folder(model.home.root, model.config.model)}"
        model.home.background.submit(what, draw, model.home.settings, model.config, sorted(about))


def draw(settings: Settings, config: ModelConfig, versions: Sequence[int]) -> None:
    """Make dossiers, without the bill of materials, which takes longer than they do."""
    from trueup.audit.dossier import make  # here, so that a decision does not wait for matplotlib

    home = Home(settings)
    for version in versions:
        make(Model(config, home), version, bill=False)
    home.close()
