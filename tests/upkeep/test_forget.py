"""A key is erased from what servers logged, while they go on, and nothing else is; old served features go by retention."""

import json
from contextlib import closing
from datetime import timedelta

import pytest

from tests.export.homes import CHAMPION, TRAINED_IN
from tests.online.homes import served_home
from tests.serving.logs import logged, payloads, serve
from tests.story import in_week, window
from trueup.errors import UsageError
from trueup.online.drain import drain, log_folder
from trueup.online.served_versions import ServedVersions
from trueup.serving.log_format import log_files, read_frames
from trueup.serving.prediction_log import PredictionLog
from trueup.upkeep.forget import forget
from trueup.upkeep.retention import gc

NEXT = TRAINED_IN


@pytest.fixture
def story(tmp_path_factory, tmp_path):
    return served_home(tmp_path_factory.getbasetemp()).branch(tmp_path / "branch")


@pytest.fixture
def going(story):
    """A server that has answered about three rows of record, and one of a test, and goes on."""
    width = len(ServedVersions(story.model).find(CHAMPION).inputs)
    with closing(PredictionLog(log_folder(story.model), serve(), "host-1-1")) as log:
        for row in rows(story):
            facts = {"event_time": row.t.isoformat(), "version": CHAMPION, "features": bytes(8 * width)}
            log.append(payloads(f"n{row.id}", key={"id": int(row.id)}, **facts))
        first = rows(story)[0]
        log.append(payloads("test", key={"id": f"{first.id}"}, version=CHAMPION, event_time=None, recorded=False))
        yield log


def rows(story):
    return list(story.frame[in_week(story.frame, NEXT)].head(3).itertuples())


def features(story):
    inputs = ServedVersions(story.model).find(CHAMPION).inputs
    return story.home.store.read_served("toy", window(NEXT), CHAMPION, inputs)


def test_a_key_is_erased_and_the_rest_stays(story, going):
    first, *others = rows(story)
    done = forget(story.model, {"id": str(first.id)}, "Ada", "request 17")
    assert (done.records, done.features) == (2, 1)
    going.append(payloads("later", key={"id": 1}, version=CHAMPION))
    assert logged(log_folder(story.model)) == [*(f"n{row.id}" for row in others), "later"]
    assert all(read_frames(file).broken == 0 for file in log_files(log_folder(story.model)))
    assert len(features(story)) == 2
    assert len(story.predictions(NEXT)) == 3  # by a digest of the key
    entry = story.home.ledger.entries("toy")[-1]
    assert (entry.seq, entry.kind, entry.body.by) == (done.sequence, "erased", "Ada")
    assert entry.body.reasons == (
        "Ada erased a key: 2 records of the prediction log and 1 rows of served features; request 17",
    )
    assert f'"{first.id}"' not in entry.text
    again = forget(story.model, {"id": str(first.id)}, "Ada", "request 17")
    assert (again.records, again.features) == (0, 0)


@pytest.mark.parametrize(
    ("key", "why"),
    [({"idd": "1"}, "did you mean id"), ({}, "also needs id"), ({"id": "1", "x": "1"}, "no column of the key")],
)
def test_what_is_no_key_is_refused(story, key, why):
    with pytest.raises(UsageError, match=why):
        forget(story.model, key, "Ada", "request 17")


@pytest.mark.usefixtures("going")
def test_the_command_says_how_much_was_erased(story, command_line):
    trueup = command_line(story.folder)
    row = rows(story)[0]
    said = trueup("forget", "toy", "--key", f"id={row.id}", "--by", "Ada", "--why", "request 17", "--json")
    counts = json.loads(said.out.splitlines()[-1])
    assert (said.code, counts["records"], counts["features"]) == (0, 2, 1), said.err
    wrong = trueup("forget", "toy", "--key", "id", "--by", "Ada", "--why", "request 17")
    assert (wrong.code, "write it as --key" in wrong.err) == (2, True)


def test_served_features_and_what_is_left_of_a_log_go_when_their_retention_is_over(story, going):
    drain(story.model)
    going.close()
    story.later(days=89)
    assert not any(kind.files for kind in gc(story.model).removed if kind.kind in {"served features", "prediction log"})
    story.later(days=91)
    drained = {kind.kind: kind.files for kind in gc(story.model).removed}
    assert (drained["served features"], drained["prediction log"]) == (1, 1)
    assert features(story).empty
    assert not log_files(log_folder(story.model))
    assert not list((story.folder / "home" / "served").rglob("*.parquet"))
    assert story.model.config.retention.served == timedelta(days=90)
