"""A batch that servers answered row by row, from the request to the monitor: the same numbers as offline."""

import json
from urllib.request import Request, urlopen

import pytest

from tests.export.homes import TRAINED_IN
from tests.serving.test_process import serving
from tests.story import in_week
from trueup.serving import tokens
from trueup.serving.state import FOLDER

NEXT = TRAINED_IN
HISTORY = "rate"  # the name of the history feature


@pytest.fixture
def story(shop, tmp_path):
    return shop.branch(tmp_path / "branch")


def ask(port, token, rows):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    body = json.dumps({"rows": rows}).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}/v1/models/toy/predict", body, headers), timeout=60) as answer:
        return json.loads(answer.read())


def test_what_a_server_answered_is_the_batchs_prediction_with_the_same_features(story):
    frame = story.frame[in_week(story.frame, NEXT)]
    sent = frame.drop(columns="y").assign(t=frame["t"].map(lambda t: t.isoformat()))
    rows = [{k: None if v != v else v for k, v in row.items()} for row in sent.to_dict("records")]
    token = tokens.add(story.home.root / FOLDER / "tokens.json", "shop", "record")
    with serving(story, "toy") as (port, _):
        answers = [ask(port, token, rows[i : i + 70]) for i in range(0, len(rows), 70)]
    assert all(answer["recorded"] and answer["joinable"] for answer in answers)
    done = story.turn(NEXT + 1)
    assert (done.drained.new, done.drained.features, done.drained.words) == (len(rows), len(rows), ())
    [scored], [seen] = done.scored, done.observed
    assert scored.new == 0  # nothing was left for the batch scorer
    answered = [one["prediction"] for answer in answers for one in answer["predictions"]]
    assert sorted(story.predictions(NEXT)["prediction"]) == sorted(answered)
    assert seen.figures.skew.rows == len(rows)
    # Labels of the week itself were known to nobody when the server answered; all else is the same to the last bit.
    assert {name.split("_")[0] for name in seen.figures.skew.features} <= {HISTORY}
