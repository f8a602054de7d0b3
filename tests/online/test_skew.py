"""Features as they were served are compared with those computed offline when their batch has landed."""

from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from tests import streams
from tests.export.homes import CHAMPION, TRAINED_IN
from tests.serving.logs import payloads, serve
from trueup.adapters.onnx.form import encode
from trueup.domain.types import ROW_ID
from trueup.loop.announce import announce
from trueup.online.drain import drain, log_folder
from trueup.online.publish import publish
from trueup.online.served_versions import ServedVersions
from trueup.serving.prediction_log import PredictionLog
from trueup.stages.features import features
from trueup.stages.monitoring.monitor import monitor
from trueup.stages.validate import validate

NEXT, AS_OF = TRAINED_IN, streams.week(TRAINED_IN + 1)


@pytest.fixture
def story(shop, tmp_path):
    told = shop.branch(tmp_path / "branch")
    told.turn(NEXT + 1)
    return told


def serve_features(story, change):
    """Log the offline features of all rows of the batch, changed, as if they had been served."""
    batch, inputs = story.batch(NEXT), ServedVersions(story.model).find(CHAMPION).form.inputs
    frame = story.home.store.read_features([features(story.model, batch, AS_OF, story.model.champion().features)])
    used = pd.DataFrame(encode(inputs, frame), columns=[column.name for column in inputs])
    change(used)
    rows = story.home.store.read(batch.rows, [ROW_ID, "id", "event_time"]).set_index(ROW_ID).loc[frame[ROW_ID]]
    with closing(PredictionLog(log_folder(story.model), serve(), "host-1-1")) as log:
        for row, values in zip(rows.itertuples(), used.to_numpy(), strict=True):
            facts = {"key": {"id": int(row.id)}, "event_time": row.event_time.isoformat(), "version": CHAMPION}
            log.append(payloads(str(row.id), features=values.astype("<f8").tobytes(), **facts))
    assert drain(story.model).features == len(used)
    return used


def watched(story, as_of):
    checked = validate(story.model, story.batch(NEXT), as_of)
    seen = monitor(story.model, checked, as_of)
    announce(story.model, [checked], [seen], as_of)
    return seen


def test_served_features_that_differ_are_a_finding_with_its_event_and_figures(story):
    used = serve_features(story, lambda used: used.__setitem__("x", np.nextafter(used["x"], np.inf)))
    seen = watched(story, streams.week(NEXT + 2))
    assert "skewed" in seen.findings
    assert (seen.figures.skew.rows, seen.figures.skew.share) == (len(used), 1.0)
    assert list(seen.figures.skew.features) == ["x"]
    assert any(reason.startswith(f"skewed: {len(used)} of {len(used)} served rows") for reason in seen.reasons)
    assert publish(story.model).skew == {"rows": float(len(used)), "share": 1.0}
    topics = [message.topic for message in story.home.ledger.pending_notices()]
    assert topics.count("trueup.model.skewed") == 1


def test_the_same_features_are_none_and_personal_ones_are_not_compared(story):
    file = story.configs / "toy.yaml"
    file.write_text(file.read_text().replace("serve: {", "serve: {personal: [x, t], "))
    used = serve_features(story, lambda used: used.__setitem__(["x", "t_hour", "t_weekend"], np.nan))
    seen = watched(story, streams.week(NEXT + 2))
    assert (seen.figures.skew.rows, seen.figures.skew.differing) == (len(used), 0)
    assert "skewed" not in seen.findings
