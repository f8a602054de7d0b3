"""A prediction that a server answered is explained with the features that it used."""

from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from tests import streams
from tests.export.homes import CHAMPION, TRAINED_IN
from tests.serving.logs import payloads, serve
from trueup.adapters.onnx.form import encode
from trueup.domain.types import ROW_ID
from trueup.explain.explain import explain
from trueup.online.drain import drain, log_folder
from trueup.online.served_versions import ServedVersions
from trueup.serving.prediction_log import PredictionLog
from trueup.stages.features import features

NEXT, AS_OF = TRAINED_IN, streams.week(TRAINED_IN + 1)


@pytest.mark.parametrize("moved", [0.0, 1.0])
def test_other_features_of_a_server_are_told(shop, tmp_path, moved):
    without = shop.branch(tmp_path / "without")  # where no server answers
    without.turn(NEXT + 1)
    batch, champion = without.batch(NEXT), without.model.champion()
    frame = without.home.store.read_features([features(without.model, batch, AS_OF, champion.features)]).iloc[:1]
    predicted = without.predictions(NEXT).set_index(ROW_ID)["prediction"]
    row = without.home.store.read(batch.rows, [ROW_ID, "id", "event_time"]).set_index(ROW_ID).loc[frame[ROW_ID].iloc[0]]
    story = shop.branch(tmp_path / "branch")
    inputs = ServedVersions(story.model).find(CHAMPION).form.inputs
    used = pd.DataFrame(encode(inputs, frame), columns=[column.name for column in inputs])
    used["x"] += moved
    facts = {"key": {"id": int(row["id"])}, "event_time": row["event_time"].isoformat(), "version": CHAMPION}
    with closing(PredictionLog(log_folder(story.model), serve(), "host-1-1")) as log:
        ours = float(predicted.loc[frame[ROW_ID].iloc[0]])
        answer = ours + moved * (0.125 if ours < 0.5 else -0.125)
        log.append(payloads("r", features=used.to_numpy().astype("<f8").tobytes(), prediction=answer, **facts))
    assert drain(story.model).features == 1
    story.turn(NEXT + 1)
    done = explain(story.model, f"id={row['id']}")
    assert done.served.online
    assert done.served.prediction == answer
    x = next(feature for feature in done.features if feature.name == "x")
    assert x.differs is bool(moved)
    if moved:
        assert x.online == used["x"].iloc[0]
        assert any("a server used other values of x" in note for note in done.notes)
        assert np.isclose(done.difference, ours - answer)
    else:
        assert abs(done.difference) < 1e-9
        assert not any("server" in note for note in done.notes)
