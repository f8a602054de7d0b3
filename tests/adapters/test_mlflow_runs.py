"""MLflow's runs, on a real MLflow store in SQLite."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.free import free_port
from trueup.adapters.mlflow.database import build_database
from trueup.adapters.mlflow.runs import Tracking
from trueup.domain.types import BatchRef, Metric, Window
from trueup.errors import RegistryUnavailable


def open_at(home):
    return Tracking(f"sqlite:///{home}/mlflow.db", home / "mlartifacts")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """One store for all tests here: making one takes MLflow's 60 migrations."""
    return open_at(tmp_path_factory.mktemp("home"))


def run_of(tracking, run_id):
    return tracking.client.get_run(run_id)


class TestRuns:
    def test_a_run_keeps_what_it_was_told(self, tracking, tmp_path):
        report = tmp_path / "report.txt"
        report.write_text("fine")
        folder = tmp_path / "plots"
        folder.mkdir()
        (folder / "roc.txt").write_text("curve")
        with tracking.run("flights", "challenger 2013-03-01", {"trueup.as_of": datetime(2013, 3, 1)}) as run_id:
            tracking.log(
                run_id,
                params={"family": "linear", "C": 0.5},
                metrics=[Metric("log_loss", 0.48, 100, 0.47, 0.49, 0.95), Metric("auc carrier=UA", 0.7, 100)],
                tags={"role": "challenger"},
            )
            tracking.log(run_id, metrics={"champion_auc": 0.69})
            tracking.log_files(run_id, report)
            tracking.log_files(run_id, folder, "plots")
        run = run_of(tracking, run_id)
        assert run.info.status == "FINISHED"
        assert run.info.run_name == "challenger 2013-03-01"
        assert run.data.params == {"family": "linear", "C": "0.5"}
        assert run.data.metrics == {
            "log_loss": 0.48,
            "log_loss_low": 0.47,
            "log_loss_high": 0.49,
            "auc carrier_UA": 0.7,
            "champion_auc": 0.69,
        }
        assert run.data.tags["role"] == "challenger"
        assert run.data.tags["trueup.as_of"] == "2013-03-01 00:00:00"
        kept = {f.path for f in tracking.client.list_artifacts(run_id)}
        assert kept == {"report.txt", "plots"}

    def test_more_than_one_call_can_hold(self, tracking):
        with tracking.run("flights", "many") as run_id:
            tracking.log(run_id, metrics={f"m{i}": i for i in range(1200)}, params={f"p{i}": i for i in range(150)})
        assert len(run_of(tracking, run_id).data.metrics) == 1200
        assert len(run_of(tracking, run_id).data.params) == 150

    @pytest.mark.parametrize(("raised", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
    def test_a_run_that_raises_does_not_stay_running(self, tracking, raised, status):
        with pytest.raises(raised), tracking.run("flights", "broken") as run_id:
            raise raised
        assert run_of(tracking, run_id).info.status == status

    def test_the_lineage_shows_as_datasets(self, tracking):
        window = Window(datetime(2013, 1, 1), datetime(2013, 2, 1))
        ref = BatchRef("flights/rows", window, 2, 7, "data/x.parquet", "ab" * 32, 27004)
        with tracking.run("flights", "lineage") as run_id:
            tracking.log_inputs(run_id, [ref])
        (logged,) = run_of(tracking, run_id).inputs.dataset_inputs
        assert logged.dataset.name == "flights/rows [2013-01-01, 2013-02-01) r2"
        assert json.loads(logged.dataset.source)["sha256"] == ref.sha256
        assert json.loads(logged.dataset.profile) == {"num_rows": 27004}
        assert [(t.key, t.value) for t in logged.tags] == [("mlflow.data.context", "training")]

    def test_two_trackings_share_an_experiment(self, tracking):
        other = Tracking(tracking.uri, "/elsewhere")
        ids = [t.start("shared", "run") for t in (tracking, other)]
        assert len({run_of(tracking, i).info.experiment_id for i in ids}) == 1
        for run_id in ids:
            tracking.finish(run_id)

    def test_a_mistake_of_the_caller_is_not_called_an_outage(self, tracking):
        with tracking.run("flights", "fixed") as run_id:
            tracking.log(run_id, params={"a": 1})
            with pytest.raises(Exception, match="Changing param values is not allowed"):
                tracking.log(run_id, params={"a": 2})


class TestOutages:
    def test_a_server_that_is_not_there(self):
        port = free_port()
        with pytest.raises(
            RegistryUnavailable, match=rf"127.0.0.1:{port}: Connection refused; start it, set TRUEUP_MLFLOW"
        ):
            Tracking(f"http://user:secret@127.0.0.1:{port}", "/nowhere").start("flights", "x")

    def test_no_password_in_the_message(self):
        with pytest.raises(RegistryUnavailable) as raised:
            Tracking("postgresql://me:secret@127.0.0.1:1/mlflow", "/nowhere").start("flights", "x")
        assert "secret" not in str(raised.value)

    def test_a_file_that_is_not_a_database(self, tmp_path):
        (tmp_path / "mlflow.db").write_text("not a database at all" * 100)
        with pytest.raises(RegistryUnavailable, match="is an MLflow database"):
            open_at(tmp_path).start("flights", "x")

    def test_an_error_inside_a_run_is_not_hidden_by_an_outage(self, tmp_path):
        tracking = open_at(tmp_path / "file" / "below")
        (tmp_path / "file").write_text("where a folder should be")
        with pytest.raises(ValueError, match="the real one"), tracking.closing_on_error("some run"):
            raise ValueError("the real one")


def _first_use(home, barrier, results):
    try:
        tracking = open_at(home)
        barrier.wait(60)
        for number in range(3):
            with tracking.run("flights", f"{os.getpid()}-{number}") as run_id:
                tracking.log(run_id, metrics={"a": 1.0})
        results.put(None)
    except Exception as error:
        results.put(repr(error))


def test_eight_first_runs_on_an_empty_home_make_one_healthy_database(tmp_path):
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - imported once, so that the eight start at once

    home = tmp_path / "home"
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    workers = [context.Process(target=_first_use, args=(home, barrier, results)) for _ in range(8)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=170) for _ in workers] == [None] * 8
    for worker in workers:
        worker.join(60)
    tracking = open_at(home)
    experiment = tracking.client.get_experiment_by_name("flights")
    runs = tracking.client.search_runs([experiment.experiment_id])
    assert len(runs) == 24
    assert {r.info.status for r in runs} == {"FINISHED"}
    with sqlite3.connect(home / "mlflow.db") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


def test_a_database_left_half_made_is_made_again(tmp_path):
    for name in ("mlflow.db.new", "mlflow.db.new-wal"):
        (tmp_path / name).write_text("torn")
    build_database(tmp_path / "mlflow.db")
    assert not list(tmp_path.glob("*.new*"))
    tracking = open_at(tmp_path)
    tracking.finish(tracking.start("flights", "x"))


def test_files_are_logged_without_mlflow_where_mlflow_finds_them(tmp_path, tracking):
    run_id = tracking.start("files", "a run")
    (tmp_path / "figures" / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt"):
        (tmp_path / "figures" / name).write_text(name)
    code = f"""
import sys
from pathlib import Path
from trueup.adapters.mlflow.runs import Tracking
here = Path({str(tmp_path)!r}) / "figures"
tracking = Tracking({tracking.uri!r}, {tracking.artifact_root!r})
tracking.log_files({run_id!r}, here, "report")
tracking.log_files({run_id!r}, here / "a.txt")
sys.exit("mlflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    listed = [f.path for at in (None, "report", "report/deep") for f in tracking.client.list_artifacts(run_id, at)]
    assert sorted(listed) == ["a.txt", "report", "report/a.txt", "report/deep", "report/deep/b.txt"]
    with pytest.raises(RegistryUnavailable, match="cannot be used"):
        tracking.log_files(run_id, tmp_path / "nowhere")
    tracking.finish(run_id)


def test_nothing_is_imported_printed_or_left_behind_without_need(tmp_path):
    """In a process of its own: what is quiet here must be quiet for the command line's last line of JSON."""
    code = f"""
import sys
from pathlib import Path
from trueup.adapters.mlflow.runs import Tracking
tracking = Tracking("sqlite:///{tmp_path}/home/mlflow.db", Path("{tmp_path}/home/artifacts"))
assert "mlflow" not in sys.modules
with tracking.run("flights", "quiet") as run_id:
    tracking.log(run_id, metrics={{"a": 1.0}})
import mlflow
assert mlflow.active_run() is None
assert str(mlflow.get_tracking_uri()) != tracking.uri
"""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(cwd.iterdir()) == []
