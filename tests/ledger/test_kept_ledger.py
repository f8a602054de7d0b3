"""A ledger that an earlier version wrote, kept as it was: this one verifies it, reads it, and would write the same."""

import gzip
import json
import re
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
    home = Home(Settings(home=folder / "home", configs=configs, ledger_public_keys=KEY, reports=False))
    yield home
    home.close()


def test_chain_and_signatures_are_right(home):
    assert home.ledger.verify() == []
    entries = home.ledger.entries()
    assert [e.kind for e in entries] == KINDS
    assert entries[-1].hash == HEAD


def test_every_body_would_be_written_as_it_was(home):
    for entry in home.ledger.entries():
        assert canonical(entry.body.plain()) == entry.text


def test_the_command_lists_its_decisions(home, monkeypatch):
    monkeypatch.setenv("TRUEUP_HOME", str(home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(home.configs))
    shown = CliRunner().invoke(app, ["ledger", "show", "toy", "--json"])
    entries = json.loads(shown.stdout.splitlines()[-1])["entries"]
    assert [e["outcome"] for e in reversed(entries)] == KINDS
    assert [e["version"] for e in reversed(entries)] == [2, 4, 6, 6, 4, 8, 8, None]
    assert entries[1]["reasons"] == ["rejected by Ann: too close to the holidays"]


def dossier(home, version):
    made = make(Model(load_model(home.configs, "toy"), home), version, bill=False)
    return json.loads(Path(made.data).read_text()), Path(made.page).read_text()


def rows(page, heading):
    """The cells of the first table under a heading, as text."""
    table = page.split(f'<h2 id="{heading}">')[1].split("<table>")[1].split("</table>")[0]
    return [re.split(r"</t[dh]><t[dh][^>]*>", row) for row in re.findall(r"<tr><t[dh]>(.*?)</t[dh]></tr>", table)]


def test_the_page_shows_the_deciding_loss_first_and_the_slices_with_their_intervals(home):
    _, page = dossier(home, 4)
    head, *metrics = rows(page, "metrics")
    assert head[:3] == ["metric", "challenger", "champion"]
    assert [row[0].split()[0] for row in metrics] == ["log-loss", "Brier", "AUC", "average", "calibration"]
    assert re.fullmatch(r"0\.\d{4} to 0\.\d{4}", metrics[0][-1])
    head, *slices = rows(page, "slices")
    assert head[1:] == ["rows", "challenger", "its 95 %", "champion", "difference", "its 95 %"]
    assert {row[0] for row in slices} == {"group=a", "group=b", "group=c"}
    assert "family gradient_boosting, " in page


def test_the_refitted_model_is_not_shown_as_the_one_judged(home):
    """It was trained on the gate rows: a page without this would look as if the gate cheated."""
    _, page = dossier(home, 4)
    spans = {row[0]: [moment[:10] for moment in row[1:3]] for row in rows(page, "data")}
    assert spans["this version was fitted on"][1] > spans["judged on (gate window)"][0]
    judged = spans["version 3, which was judged, was fitted on"]
    assert judged[1] <= spans["judged on (gate window)"][0]


@pytest.mark.parametrize(
    ("version", "standing"),
    [
        (4, "champion since 2024-03-04"),
        (6, "no longer champion: rolled back on 2024-03-04 by version 4"),
        (8, "never champion: rejected"),
    ],
)
def test_its_versions_have_dossiers(home, version, standing):
    facts, page = dossier(home, version)
    assert facts["standing"] == standing
    assert facts["decision"]["problems"] == []
    assert facts["evaluation"]["metrics"]["challenger"]["log_loss"] > 0
    assert standing in page
