"""What servers logged becomes the predictions that count, once, whatever is killed; and of every record it is said what became of it."""

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.export.homes import CHAMPION, TRAINED_IN
from tests.serving.logs import payloads, serve
from tests.story import in_week, window
from trueup.errors import WorkError
from trueup.loop.reconcile import reconcile
from trueup.online.__main__ import main
from trueup.online.drain import drain, log_folder
from trueup.online.served_versions import ServedVersions
from trueup.serving.log_format import log_files
from trueup.serving.prediction_log import PredictionLog
from trueup.stages import score

NEXT = TRAINED_IN  # the number of the week after the training


@pytest.fixture
def story(shop, tmp_path):
    return shop.branch(tmp_path / "branch")


def rows(story, count=3):
    return list(story.frame[in_week(story.frame, NEXT)].head(count).itertuples())


def of(row, **changes):
    """A record of the champion about a row of the source."""
    facts = {"key": {"id": int(row.id)}, "event_time": row.t.isoformat(), "version": CHAMPION, "features": None}
    return payloads(str(row.id), **(facts | changes))


def log(story, *records, name="host-1-1"):
    """Write records as a server does that has ended."""
    with closing(PredictionLog(log_folder(story.model), serve(), name)) as written:
        for record in records:
            written.append(record)


def told(story):
    """The counts of a drain that are not 0."""
    return {name: count for name, count in vars(drain(story.model)).items() if count}


def test_a_served_prediction_counts_and_the_batch_is_scored_around_it(story):
    first, second, third = rows(story)
    features = np.arange(len(ServedVersions(story.model).find(CHAMPION).inputs), dtype="<f8")
    log(
        story,
        of(first, prediction=0.1, at=1_707_000_000_000_001, features=features.tobytes()),
        of(second, prediction=0.2, role="canary", version=1, epoch=2),  # a version that was judged, and never promoted
        of(third, prediction=0.3, recorded=False),
    )
    done = story.turn(NEXT + 1)
    assert (done.drained.new, done.drained.tests, done.drained.features) == (2, 1, 1)
    served = story.predictions(NEXT)
    assert len(served) == in_week(story.frame, NEXT).sum()
    ours = served[served["prediction"].isin([0.1, 0.2])].sort_values("prediction")
    assert ours["model_version"].tolist() == [CHAMPION, 1]
    assert ours["event_time"].tolist() == [first.t, second.t]
    assert ours["predicted_at"].iloc[0] == pd.Timestamp("2024-02-03 22:40:00.000001")
    kept = story.home.store.read_served(
        "toy", window(NEXT), CHAMPION, ServedVersions(story.model).find(CHAMPION).inputs
    )
    assert kept["row_id"].tolist() == ours["row_id"].tolist()[:1]
    assert kept.drop(columns="row_id").to_numpy().tolist() == [features.tolist()]
    assert not log_files(log_folder(story.model))
    scored = story.model.scored_labels(story.batch(NEXT), pd.Timestamp("2024-03-01").to_pydatetime())
    assert set(ours["row_id"]) <= set(scored["row_id"])


def test_what_is_served_while_its_batch_is_scored_counts(story, monkeypatch):
    first, _, third = rows(story)
    predicted = score.predictions

    def meanwhile(*words):
        frame = predicted(*words)
        log(story, of(first, prediction=0.1), of(third, prediction=0.3, recorded=False))
        return frame

    monkeypatch.setattr(score, "predictions", meanwhile)
    done = story.turn(NEXT + 1)
    assert (done.drained.records, done.drained.new, done.drained.tests) == (2, 1, 1)
    served = story.predictions(NEXT)
    assert len(served) == in_week(story.frame, NEXT).sum()
    assert (served["prediction"] == 0.1).sum() == 1
    log(story, of(first, prediction=0.2))
    assert drain(story.model).words == ("1 of rows that had a prediction already",)


def test_shadow_predictions_of_answers_of_record_are_kept_beside_them(story):
    first, second, _ = rows(story)
    log(
        story,
        of(first, prediction=0.1),
        of(first, prediction=0.4, role="shadow", version=1, epoch=2),
        of(second, prediction=0.2, recorded=False),
        of(second, prediction=0.5, role="shadow", version=1, epoch=2, recorded=False),
    )
    assert told(story) == {"records": 4, "new": 1, "shadows": 1, "tests": 2}
    shadow = story.home.store.read_predictions("toy", window(NEXT), "shadow:1")
    assert shadow["prediction"].tolist() == [0.4]
    assert shadow["row_id"].tolist() == story.predictions(NEXT)["row_id"].tolist()


def test_of_two_workers_answers_about_a_row_the_first_one_counts_however_long_their_logs_are(story, monkeypatch):
    first, *_ = rows(story)
    monkeypatch.setattr("trueup.online.drain._AT_ONCE", 1)  # each file by itself
    log(story, of(first, prediction=0.9, at=2), name="host-1-1")
    log(story, of(first, prediction=0.1, at=1), name="host-2-1")
    assert told(story) == {"records": 2, "new": 1, "again": 1}
    assert story.predictions(NEXT)["prediction"].tolist() == [0.1]


def test_of_every_record_that_does_not_count_it_is_said_why(story):
    first, second, _ = rows(story)
    log(
        story,
        of(first, prediction=0.1, at=1),
        of(first, prediction=0.9, at=2),
        of(second, prediction=0.5, key=None),
        of(second, prediction=0.5, event_time=None),
        of(second, prediction=0.5, key={"id": [1]}),
        of(second, prediction=[0.5, 0.5]),
        of(second, prediction=None, error="it raised"),
        of(second, prediction=0.5, epoch=4),
        of(second, prediction=0.5, version=99, role="canary"),
        of(second, prediction=0.5, event_time="2024-01-08T00:00:00"),
        [b"\xff no record"],
    )
    torn = log_files(log_folder(story.model))[0]
    torn.write_bytes(torn.read_bytes() + b"half")
    assert told(story) == {
        "records": 10, "new": 1, "again": 1, "unjoinable": 4, "errors": 1, "unknown_versions": 2, "before": 1,
        "broken": 1, "torn": 1,
    }  # fmt: skip
    assert story.predictions(NEXT)["prediction"].tolist() == [0.1]


def test_a_drain_that_is_killed_before_it_is_noted_stores_nothing_twice(story, monkeypatch):
    first, second, third = rows(story)
    log(story, of(first, prediction=0.1), of(second, prediction=0.2))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("trueup.online.drain._note", killed)
    with pytest.raises(KeyboardInterrupt):
        drain(story.model)
    monkeypatch.undo()
    log(story, of(third, prediction=0.3), name="host-2-1")
    assert told(story) == {"records": 3, "new": 1, "again": 2}
    assert sorted(story.predictions(NEXT)["prediction"]) == [0.1, 0.2, 0.3]
    assert told(story) == {}


def test_a_log_is_drained_while_its_server_goes_on(story):
    first, second, _ = rows(story)
    with closing(PredictionLog(log_folder(story.model), serve(), "host-1-1")) as going:
        going.append(of(first, prediction=0.1))
        assert told(story)["new"] == 1
        assert len(log_files(log_folder(story.model))) == 1
        going.append(of(second, prediction=0.2))
        assert told(story) == {"records": 1, "new": 1}
        assert told(story) == {}
    assert told(story) == {}
    assert not log_files(log_folder(story.model))


def test_reconciling_a_home_drains_the_log(story):
    log(story, of(rows(story)[0], prediction=0.1))
    assert reconcile(story.model).drained.new == 1
    assert reconcile(story.model).drained.records == 0


def test_the_log_in_the_homes_database_is_drained(story, monkeypatch, capsys):
    first, second, _ = rows(story)
    assert told(story) == {}  # creates the tables
    database = story.folder / "home" / "trueup.db"
    with closing(
        PredictionLog(story.folder, serve(durability="home"), "h", model="toy", database=f"sqlite:///{database}")
    ) as written:
        written.append(of(first, prediction=0.1))
        written.append(of(second, prediction=0.2))
    monkeypatch.setenv("TRUEUP_HOME", str(story.folder / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(story.configs))
    assert main(["toy", "--drain"]) == 0
    assert "2 predictions in the log, 2 new ones stored" in capsys.readouterr().out
    assert len(story.predictions(NEXT)) == 2
    with closing(sqlite3.connect(database)) as look:
        assert look.execute("SELECT count(*) FROM served_log").fetchone() == (0,)


def test_a_machine_without_the_models_files_leaves_the_log(story):
    """As on a second machine that shares the database only."""
    (first,) = rows(story, 1)
    log(story, of(first, prediction=0.1))
    recorded = Path(story.model.champion().uri)  # of the home from which this one was copied
    own = story.home.root.joinpath("mlartifacts", *recorded.parts[-4:])
    with moved(own), moved(recorded), pytest.raises(WorkError):
        drain(story.model)
    assert log_files(log_folder(story.model))
    assert told(story) == {"records": 1, "new": 1}


@contextmanager
def moved(place):
    elsewhere = place.rename(place.with_name("elsewhere"))
    try:
        yield
    finally:
        elsewhere.rename(place)
