"""A ledger that an earlier version wrote, kept as it was: this one verifies it, reads it, and would write the same."""

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import streams
from tests.story import PLAIN, stream
from trueup.audit.dossier import make
from trueup.cli.main import app
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.home import Home
from trueup.ledger.canonical import canonical
from trueup.model import Model

DATA = Path(__file__).parent / "data"
KEY = (DATA / "ledger.pub").read_text().strip()
KINDS = ["promoted", "promoted", "pending", "promoted", "rolled_back", "pending", "rejected", "cleared"]
HEAD = "4530a31ef7eaf84d30f8ff6c63dd2204aca243bf5f45cdb76b0d0c2e8099d9ad"  # the hash of its newest entry


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with nothing but that ledger, beside the config of its model."""
    folder = tmp_path_factory.mktemp("kept")
    configs = streams.write(folder, stream(7), PLAIN)
    (folder / "home").mkdir()
    (folder / "home" / "trueup.db").write_bytes(gzip.decompress((DATA / "ledger.db.gz").read_bytes()))
    home = Home(Settings(home=folder / "home", configs=configs, ledger_earlier_keys=KEY, reports=False))
    yield home
    home.close()


def test_chain_and_signatures_are_right(home):
    assert home.ledger.verify() == []
    entries = home.ledger.entries()
    assert [e.kind for e in entries] == KINDS
    assert entries[-1].hash == HEAD


def test_every_body_would_be_written_as_it_was(home):
    for entry in home.ledger.entries():
        assert canonical(entry.body) == entry.text


def test_the_command_lists_its_decisions(home, monkeypatch):
    monkeypatch.setenv("TRUEUP_HOME", str(home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(home.configs))
    shown = CliRunner().invoke(app, ["ledger", "show", "toy", "--json"])
    entries = json.loads(shown.stdout.splitlines()[-1])["entries"]
    assert [e["outcome"] for e in reversed(entries)] == KINDS
    assert [e["version"] for e in reversed(entries)] == [2, 4, 6, 6, 4, 8, 8, None]
    assert entries[1]["reasons"] == ["rejected by Ann: too close to the holidays"]


@pytest.mark.parametrize(
    ("version", "standing"),
    [
        (4, "in office since 2024-03-04"),
        (6, "out of office: rolled back on 2024-03-04 by version 4"),
        (8, "never in office: rejected"),
    ],
)
def test_its_versions_have_dossiers(home, version, standing):
    made = make(Model(load_model(home.configs, "toy"), home), version, bill=False)
    facts = json.loads(Path(made.data).read_text())
    assert facts["standing"] == standing
    assert facts["decision"]["problems"] == []
    assert facts["evaluation"]["metrics"]["challenger"]["log_loss"] > 0
    assert standing in Path(made.page).read_text()
