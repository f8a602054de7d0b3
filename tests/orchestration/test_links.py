"""Links from Prefect's pages lead to the reports, and only where reports are made."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import streams
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.home import Home
from trueup.model import Model
from trueup.orchestration import links

MODEL = SimpleNamespace(run_id="r", version=3)


@pytest.fixture
def config(tmp_path):
    return load_model(streams.write(tmp_path, streams.Stream(days=1).frame()), "toy")


def opened(folder: Path, **changes: object) -> Home:
    return Home(Settings(home=folder / "home", **changes))


def test_they_lead_to_the_files_and_to_where_these_are_served(tmp_path, config):
    page = tmp_path / "home" / "reports" / "drift" / "a b.html"
    assert links.address(opened(tmp_path), page) == page.as_uri()
    home = opened(tmp_path, reports_pages="http://here:1/", mlflow_pages="http://there:2")
    assert links.address(home, page) == "http://here:1/drift/a%20b.html"
    assert links.line(links.of_model(Model(config, home), MODEL)) == (
        "[MLflow run](http://there:2/#/runs/r) · [Dossier](http://here:1/dossiers/toy/toy-v3.html)"
    )


def test_where_no_reports_are_made_none_is_linked_and_none_is_rendered(tmp_path, config):
    home = opened(tmp_path, reports=False, reports_pages="http://here:1", mlflow_pages="http://there:2")
    assert links.line(links.of_model(Model(config, home), MODEL)) == "[MLflow run](http://there:2/#/runs/r)"
    assert links.picture(Model(config, home), "r") is None
    home.background.submit("nothing", Path.touch, tmp_path / "made")
    assert home.background.wait() == []
    assert not (tmp_path / "made").exists()
