"""A home that began on SQLite, moved to PostgreSQL with its history: by a backup, and a restore on other settings."""

import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa
from pandas.testing import assert_frame_equal

from tests import streams
from tests.postgres import PASSWORD
from tests.upkeep.test_backup import history, opened, told  # noqa: F401  (a fixture)
from trueup.adapters.sql.engines import connect
from trueup.audit import verify
from trueup.config.settings import Settings
from trueup.errors import UsageError, WorkError
from trueup.home import HOME_TAG
from trueup.ledger.tables import DECISIONS, OUTBOX
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile
from trueup.model import Model
from trueup.upkeep import backup


@pytest.fixture(scope="module")
def copy(told, tmp_path_factory):  # noqa: F811
    """A backup, what it has to bring back, and the first home out of the way from then on."""
    reconcile(told.model)
    verify.anchor(told.home)
    told.home.tracking.start("toy", "still at work", {HOME_TAG: told.home.identity})
    with closing(sqlite3.connect(prefect_in(told.home.root))):
        pass
    copy = tmp_path_factory.mktemp("copies") / "copy"
    assert backup.backup(told.home, copy).elsewhere == ()
    told.before, told.seen = history(told), mlflow_of(told)
    told.served = [told.predictions(week) for week in range(8)]
    told.anchored = verify.verify({"toy": told.config}, told.home).anchors
    told.home.close()
    told.home.root.rename(told.folder / "aside")
    yield copy
    (told.folder / "aside").rename(told.home.root)


def prefect_in(home):
    (home / "prefect").mkdir(exist_ok=True)
    return home / "prefect" / "prefect.db"


@pytest.fixture
def places(new_database):
    return {"database_url": new_database(), "mlflow_backend": new_database()}


@pytest.fixture
def home_at(told):  # noqa: F811
    """Opens homes of the story at other places, and closes them at the end."""
    stories = []

    def made(home, **places):
        stories.append(opened(told, home, **places))
        return stories[-1]

    yield made
    for story in stories:
        story.home.close()


def mlflow_of(story):
    """All that MLflow tells of the story, with the places that may differ cut off, and the home's name."""
    client, root, name = story.home.tracking.client, str(story.home.root), story.home.identity
    experiments = client.search_experiments()
    ids = [e.experiment_id for e in experiments]
    model = client.get_registered_model("toy")
    told_of = [
        [(e.experiment_id, e.name, e.artifact_location, e.tags) for e in experiments if e.name != "Default"],
        [_in_order(r.to_dictionary()) for r in client.search_runs(ids)],
        [(m.to_dictionary()) for m in client.search_logged_models(ids)],
        [(v.version, v.run_id, v.source, v.status, v.tags) for v in client.search_model_versions("name = 'toy'")],
        (model.aliases, model.tags, model.creation_timestamp, model.last_updated_timestamp),
    ]
    return str(told_of).replace(root, "HOME").replace(name, "NAME")


def _in_order(run):
    run["data"]["tags"] = dict(sorted(run["data"]["tags"].items()))
    return run


def ask(url, query):
    engine = connect(url)
    with engine.connect() as connection:
        found = connection.execute(query).all()
    engine.dispose()
    return found


def is_empty(url):
    engine = connect(url)
    with engine.connect() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        found = {t.name for t in tables.sorted_tables if connection.execute(sa.select(t).limit(1)).first()}
    engine.dispose()
    return found <= {"alembic_version", "workspaces"}


def test_a_home_moves_to_postgresql_and_goes_on(told, copy, places, new_database, home_at, tmp_path):  # noqa: F811
    folder = tmp_path / "elsewhere" / "home"
    prefect = new_database()
    moved = home_at(folder, **places, prefect_database_url=prefect)
    saved = backup.restore(moved.home.settings, copy)
    named = {what: sa.make_url(url).render_as_string() for what, url in {**places, "prefect": prefect}.items()}
    assert [place.split(": ")[0] for place in saved.loaded] == ["ledger and store", "MLflow"]
    assert f"ledger and store: {named['database_url']}" == saved.loaded[0]
    assert saved.left == (f"Prefect's history; `trueup up` deploys again into {named['prefect']}",)
    assert PASSWORD not in str(saved)
    assert not list(folder.rglob("*.db*"))

    home = moved.home
    assert history(moved) == told.before
    assert mlflow_of(moved) == told.seen
    for week, frame in enumerate(told.served):
        assert_frame_equal(moved.predictions(week), frame)
    assert Model(moved.config, home).champion().load(home) is not None
    checked = verify.verify({"toy": moved.config}, home)
    assert checked.problems == ()
    assert checked.anchors == told.anchored  # also the one that is MLflow's tag, though PostgreSQL gives another name
    assert reconcile(Model(moved.config, home)).alias is None
    assert len(home.tracking.open_runs("toy", {HOME_TAG: home.identity})) == 0  # the one that was at work is closed
    with pytest.raises(sa.exc.DBAPIError, match="can only be appended to"), home.engine.begin() as connection:
        connection.execute(sa.delete(DECISIONS))

    runs, versions = len(told.seen.split("'run_id'")), home.registry.versions("toy")
    turn.cycle(steps, Model(moved.config, home), streams.week(8), retrain="never")
    assert history(moved) == told.before
    assert turn.cycle(steps, Model(moved.config, home), streams.week(9), retrain="never").scored[-1].new == 560
    decided = turn.challenge(steps, Model(moved.config, home), streams.week(10), "manual")
    numbers = [v.version for v in home.registry.versions("toy")]
    assert numbers == list(range(1, decided.version + 1))
    assert decided.version > versions[-1].version
    assert len(mlflow_of(moved).split("'run_id'")) > runs
    hashes = [e.hash for e in home.ledger.entries("toy")]
    assert hashes[: len(told.before["entries"])] == told.before["entries"]
    assert len(hashes) > len(told.before["entries"])
    verify.anchor(home)
    assert verify.verify({"toy": moved.config}, home).problems == ()
    told_of = [id for (id,) in ask(places["database_url"], sa.select(OUTBOX.c.id).order_by(OUTBOX.c.id))]
    assert told_of == list(range(1, len(told_of) + 1))
    client = home.tracking.client
    known = {e.experiment_id for e in client.search_experiments()}
    assert client.create_experiment("one more") not in known  # its number is not one that was brought along

    again = backup.backup(home, tmp_path / "again")
    assert again.elsewhere == (*saved.loaded, f"Prefect: {named['prefect']}")
    with pytest.raises(UsageError, match=r"is used already: there are rows in its table decisions") as refused:
        backup.restore(Settings(home=tmp_path / "second", **places), copy)
    assert PASSWORD not in str(refused.value)
    assert not list(tmp_path.glob("second*"))
    # What was elsewhere when the backup was made stays there, and is what the restored home uses.
    other = home_at(tmp_path / "second", **places)
    assert backup.restore(other.home.settings, tmp_path / "again").loaded == ()
    assert [e.hash for e in other.home.ledger.entries("toy")] == hashes


def test_the_command_line_moves_a_home(told, copy, places, tmp_path, command_line, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TRUEUP_DATABASE_URL", places["database_url"])
    monkeypatch.setenv("TRUEUP_MLFLOW_URI", places["mlflow_backend"])
    trueup = command_line(told.folder, tmp_path / "home")
    done = trueup("restore", str(copy))
    assert done.code == 0, done.err
    assert done.err == ""
    assert "  loaded: ledger and store: postgresql://trueup:***@127.0.0.1:" in done.out
    assert "  loaded: MLflow: postgresql+psycopg://trueup:***@127.0.0.1:" in done.out
    assert "left behind" not in done.out  # Prefect's database is in the home
    assert prefect_in(tmp_path / "home").exists()
    verified = trueup("ledger", "verify")
    assert verified.code == 0, verified.out + verified.err
    again = trueup("restore", str(copy))
    assert again.code == 2
    assert "is not empty" in again.err


def test_if_one_database_cannot_be_filled_nothing_is_there(copy, places, new_database, home_at, tmp_path):
    """And when the cause is mended, the same command does it."""
    home = tmp_path / "home"
    used = new_database()
    home_at(tmp_path / "x", mlflow_uri=used).home.tracking.start("toy", "somebody else's")
    port = sa.make_url(used).port
    for mlflow, error, why in (
        (used, UsageError, "is used already: there are rows in its table (experiments|runs)"),
        (used.replace(f":{port}/", ":1/"), WorkError, "MLflow's tables cannot be made in .*: connection failed"),
    ):
        with pytest.raises(error, match=why) as failed:
            backup.restore(Settings(home=home, database_url=places["database_url"], mlflow_backend=mlflow), copy)
        assert PASSWORD not in str(failed.value)
        assert not list(tmp_path.glob("home*"))
        assert is_empty(places["database_url"])
    with pytest.raises(WorkError, match="cannot be opened"):
        backup.restore(Settings(home=home, database_url=used.replace(f":{port}/", ":1/")), copy)
    with pytest.raises(UsageError, match="is inside the home"):
        backup.restore(Settings(home=home, database_url=f"sqlite:///{home}/other.db"), copy)
    assert not list(tmp_path.glob("home*"))
    backup.restore(Settings(home=home, **places), copy)
    assert not is_empty(places["database_url"])
    assert not is_empty(places["mlflow_backend"])


def test_another_version_of_mlflow_is_refused(copy, places, tmp_path):
    backup.restore(Settings(home=tmp_path / "first", mlflow_backend=places["mlflow_backend"]), copy)
    engine = connect(places["mlflow_backend"])
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'another'"))
    engine.dispose()
    with pytest.raises(UsageError, match=r"in sqlite:.*mlflow.db and at version another .* `mlflow db upgrade"):
        backup.restore(Settings(home=tmp_path / "home", mlflow_backend=places["mlflow_backend"]), copy)
    assert not list(tmp_path.glob("home*"))


def test_other_files_of_sqlite_are_filled_too(told, copy, home_at, tmp_path):  # noqa: F811
    places = {"database_url": "other.db", "mlflow_backend": "mlflow.db"}
    urls = {what: f"sqlite:///{tmp_path}/{name}" for what, name in places.items()}
    moved = home_at(tmp_path / "home", **urls)
    assert len(backup.restore(moved.home.settings, copy).loaded) == 2
    assert [file.name for file in (tmp_path / "home").rglob("*.db")] == ["prefect.db"]
    assert history(moved) == told.before
    assert mlflow_of(moved) == told.seen
    assert verify.verify({"toy": moved.config}, moved.home).anchors == told.anchored
    kept = home_at(tmp_path / "kept", database_url=f"sqlite:///{tmp_path}/kept/trueup.db")
    assert backup.restore(kept.home.settings, copy).loaded == ()  # its own, by its whole address
    assert history(kept) == told.before
