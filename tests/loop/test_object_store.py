"""A home in an object store on PostgreSQL: the loop decides and predicts as in a folder, and machines share it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from pandas.testing import assert_frame_equal

from tests import buckets, streams
from tests.fixtures import CommandLine
from tests.postgres import execute
from tests.story import Story, stream
from trueup.audit.dossier import make
from trueup.audit.verify import verify
from trueup.config.settings import Settings
from trueup.errors import LedgerError, RegistryUnavailable, UsageError
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.orchestration import links
from trueup.orchestration.stack.reports import application
from trueup.reporting.jobs import IMPORTANCE, data_docs_folder, draw_retrain, render_data_docs, run_folder
from trueup.serving.settings import places_of
from trueup.upkeep.retention import gc, gc_shared

pytestmark = pytest.mark.in_a_folder  # it compares both

KEY = "11" * 32


@pytest.fixture(scope="module")
def server():
    with buckets.running() as one:
        yield one


def both(folder: Path, rows: pd.DataFrame, weeks: Sequence[int], server: buckets.Server, postgres_server: sa.URL):
    """The same turns of one stream in a folder, and in a bucket with PostgreSQL."""
    names = [f"{name}_{uuid4().hex[:8]}" for name in ("loop", "models")]
    for name in names:
        execute(postgres_server, f"CREATE DATABASE {name}")
    databases = [postgres_server.set(database=name).render_as_string(hide_password=False) for name in names]
    places = {"home": server.bucket() + "/home", "database_url": databases[0], "mlflow_uri": databases[1]}
    places |= {"ledger_key": KEY, "cache": folder / "cache"}
    local, shared = Story(folder / "one", rows), Story(folder / "two", rows, **places)
    for one in (local, shared):
        one.decided = [one.turn(week).decided.outcome for week in weeks]
    return SimpleNamespace(folder=folder, rows=rows, places=places, local=local, shared=shared)


def require_equal(local: Story, shared: Story, weeks: int) -> None:
    """Decisions and predictions are equal, digit by digit."""
    assert local.decided == shared.decided
    entries = [story.home.ledger.entries("toy") for story in (local, shared)]
    assert [*map(of, entries[0])] == [*map(of, entries[1])]
    for week in range(weeks):
        assert local.batch(week).rows.sha256 == shared.batch(week).rows.sha256
        columns = [c for c in local.predictions(week) if c != "predicted_at"]
        assert_frame_equal(local.predictions(week)[columns], shared.predictions(week)[columns], check_exact=True)
    assert len(shared.predictions(weeks - 1)) > 100


@pytest.fixture(scope="module")
def told(server, postgres_server, tmp_path_factory):
    """Six weeks."""
    return both(tmp_path_factory.mktemp("told"), stream(6 * 7), (5, 6), server, postgres_server)


@pytest.fixture(scope="module")
def elsewhere(told):
    """The shared home as another machine sees it."""
    return Story(told.folder / "three", told.rows, **told.places | {"cache": told.folder / "elsewhere"})


def of(entry: Entry) -> dict:
    """A decision without what differs between any two homes: ids, places, times on the clock."""
    body = entry.body
    judged = body.evaluation
    return {
        "kind": entry.kind,
        "as_of": entry.as_of,
        "reasons": body.reasons,
        "verdicts": [v for v in body.verdicts if v.check != "budget"],
        "inputs": body.inputs,
        "slices": judged and judged.slices,
        "skill": judged and judged.skill,
        "recipe": body.model and body.model.recipe,
    }


def test_decisions_and_predictions_are_those_of_a_local_home(told):
    local, shared = told.local, told.shared
    require_equal(local, shared, 6)
    assert shared.decided[0] == "promoted"
    assert not [*(told.folder / "two").rglob("*.parquet")]
    assert not Path("s3:").exists()
    assert verify({"toy": shared.config}, shared.home).problems == ()


@pytest.mark.thorough
def test_they_are_over_a_change_of_the_world_in_a_busy_store(server, postgres_server, tmp_path, monkeypatch):
    monkeypatch.setattr("trueup.adapters.files.bucket._LONGEST_PAUSE", 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "busy", True)  # two of five requests are refused
        told = both(tmp_path, stream(13 * 7, change_on=7 * 7), range(5, 14), server, postgres_server)
        require_equal(told.local, told.shared, 13)
    assert told.shared.decided.count("promoted") > 1, told.shared.decided
    assert verify({"toy": told.shared.config}, told.shared.home).problems == ()


@pytest.mark.thorough
def test_a_store_that_lists_late_stops_a_run_and_the_next_one_goes_on(server, new_database, tmp_path):
    places = {"home": server.bucket() + "/home", "database_url": new_database(), "mlflow_uri": new_database()}
    story = Story(tmp_path, stream(6 * 7), **places, ledger_key=KEY, cache=tmp_path / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "stale", 3600.0)
        with pytest.raises(
            RegistryUnavailable, match="while downloading"
        ):  # MLflow lists a model's files to fetch them
            story.turn(5)
    assert story.home.ledger.entries("toy") == []
    story.home.close()
    story.open()
    assert story.turn(5).decided.outcome == "promoted"
    assert [ref.revision for ref in story.home.store.batches("toy/rows")] == [1] * 5
    assert verify({"toy": story.config}, story.home).problems == ()


def test_another_machine_sees_the_batches_and_finds_the_turn_done(told, elsewhere):
    before = told.shared.home.ledger.entries("toy")
    assert elsewhere.model.batches(streams.week(6)) == told.shared.model.batches(streams.week(6))
    assert_frame_equal(elsewhere.predictions(5), told.shared.predictions(5), check_exact=True)
    assert elsewhere.turn(6).decided.outcome == "none"
    assert elsewhere.home.ledger.entries("toy") == before


def test_reports_are_in_the_bucket_for_every_machine(told, elsewhere):
    shared, files = told.shared, told.shared.home.files
    render_data_docs(shared.home.settings)
    entry = next(e for e in shared.home.ledger.entries("toy") if e.kind == "promoted")
    draw_retrain(shared.home.settings, shared.config, entry.challenge)
    shared.home.close()
    page = run_folder(elsewhere.home.root, "toy", entry.body.judged.run_id) / IMPORTANCE
    assert elsewhere.home.fetched(page).read_bytes().startswith(b"\x89PNG")
    made = make(elsewhere.model, bill=False)
    keys = {e.key for e in files.listed("reports")}
    assert {
        "reports/data_docs/index.html",
        f"reports/dossiers/toy/toy-v{made.version}.html",
        "reports/data_docs/toy/2024-01-01_r1.html",
    } <= {*keys}, keys
    assert Path(made.page).is_relative_to(elsewhere.home.root)
    render_data_docs(elsewhere.home.settings)
    docs = data_docs_folder(elsewhere.home.root)
    assert len([*(docs / "toy").glob("*.html")]) == 6, "pages that another machine drew are taken over"
    link = links.address(elsewhere.home, Path(made.page))
    assert link == told.places["home"] + f"/reports/dossiers/toy/toy-v{made.version}.html"


def test_retention_removes_from_the_bucket(elsewhere):
    files = elsewhere.home.files
    put = [e.key for e in files.listed("reports")]
    assert put
    elsewhere.later(days=4000)
    gc(elsewhere.model, dry_run=True)
    assert [e.key for e in files.listed("reports")] == put
    gc(elsewhere.model)
    gc_shared([elsewhere.config], elsewhere.home)
    left = {e.key for e in files.listed("reports")}
    assert [key for key in left if "/data_docs/" in key] == ["reports/data_docs/index.html"]
    assert any("/dossiers/" in key for key in left), "the champion's evidence stays"
    assert not [f for f in data_docs_folder(elsewhere.home.root).rglob("*_r1.*") if f.is_file()]


def test_the_reports_are_served_from_the_bucket(told):
    home = Home(Settings(**told.places | {"cache": told.folder / "served"}))
    folder = home.root / "reports"
    put = next(e for e in home.files.listed("reports/dossiers") if e.name.endswith(".html"))
    page = "/" + put.key.removeprefix("reports/")

    async def ask(path):
        transport = httpx.ASGITransport(application(folder, fetch=home.fetched))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    first = asyncio.run(ask(page))
    assert "dossier, version" in asyncio.run(ask("/")).text
    assert first.status_code == asyncio.run(ask("/data_docs/")).status_code == 200
    assert "<html" in first.text
    assert asyncio.run(ask("/dossiers/toy/none.html")).status_code == 404
    assert asyncio.run(ask("/%2e%2e/copies")).status_code == 404


def test_files_and_rows_of_two_homes_are_not_mixed(told, server):
    for other in ({"home": server.bucket()}, {"database_url": told.places["mlflow_uri"]}):
        mixed = Home(Settings(**told.places | other))
        if "home" in other:
            mixed.files.put_new("home.json", b'{"id": "of another"}')
        with pytest.raises(UsageError, match="names another home than the database"):
            _ = mixed.store
        mixed.close()


class TestRefused:
    def test_sqlite_below_an_object_store(self):
        with pytest.raises(UsageError, match=r"s3://b/home .*no?t? have an SQLite database; set TRUEUP_DATABASE_URL"):
            Settings(home="s3://b/home")
        with pytest.raises(UsageError, match="set TRUEUP_DATABASE_URL"):
            Settings(home="s3://b/home", database_url="sqlite:////tmp/a.db")
        with pytest.raises(UsageError, match="set TRUEUP_MLFLOW_URI"):
            Settings(home="s3://b/home", database_url="postgresql://u@h/d")
        Settings(home="s3://b/home", database_url="postgresql://u@h/d", mlflow_uri="http://mlflow")

    def test_on_the_command_line_it_is_one_line_and_no_folder_appears(self, trueup: CommandLine, monkeypatch, tmp_path):
        monkeypatch.setenv("TRUEUP_HOME", "s3://bucket/home")
        monkeypatch.chdir(tmp_path)
        answer = trueup("run", "toy")
        assert answer.code == 2
        assert "set TRUEUP_DATABASE_URL to a PostgreSQL database" in " ".join(answer.err.split())
        assert not list(tmp_path.glob("s3:*"))

    def test_what_is_no_address_of_an_object_store(self):
        with pytest.raises(UsageError, match="no address of an object store"):
            Settings(home="ftp://host/home")

    def test_a_key_is_never_made_for_a_shared_home(self, tmp_path):
        home = Home(
            Settings(
                home="s3://b/home", database_url="postgresql://u@h/d", mlflow_uri="postgresql://u@h/m", cache=tmp_path
            )
        )
        with pytest.raises(LedgerError, match="set TRUEUP_LEDGER_KEY"):
            _ = home.signer
        assert not list(tmp_path.rglob("ledger.key"))


def test_servers_find_the_part_of_the_home_on_this_machine(tmp_path):
    given = {"TRUEUP_HOME": "s3://b/home", "TRUEUP_DATABASE_URL": "postgresql://u@h/d", "TRUEUP_CACHE": str(tmp_path)}
    settings = Settings(
        home="s3://b/home", database_url="postgresql://u@h/d", mlflow_uri="postgresql://u@h/m", cache=tmp_path
    )
    assert places_of(given).home == settings.root
    assert settings.root.parent == tmp_path
    with pytest.raises(UsageError, match="set TRUEUP_DATABASE_URL"):
        places_of({"TRUEUP_HOME": "s3://b/home"})
