"""The page that explains a prediction: what it shows, what it hides, and what it does with a long one."""

import re
import time

import pytest
from starlette.testclient import TestClient

from tests.story import PLAIN, Story, in_week, stream
from tests.ui.test_pages import EVIL
from trueup.ui import explained
from trueup.ui.app import application

PERSONAL = "\ngovernance: {personal: [z], personal_inputs: {z: it is needed}}\n"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    frame = stream(7 * 7)
    frame["group"] = frame["group"].replace("a", EVIL)
    config = PLAIN.replace("[a, b, c]", "['" + EVIL + "', b, c]") + PERSONAL
    told = Story(tmp_path_factory.mktemp("explained"), frame, config)
    told.turn(5)
    told.turn(7)
    return told


@pytest.fixture
def client(story):
    with TestClient(application(story.home.settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def row(story):
    frame = story.frame[in_week(story.frame, 6)]
    return frame[frame["group"] == EVIL].iloc[0]


def test_the_page_of_a_model_leads_to_what_made_a_prediction(client, story, row):
    form = client.get("/models/toy").text
    action = re.search(r'action="(/models/toy/explain)"', form)[1]
    text = client.get(action, params={"key": f"id={row['id']}"}).text
    served = story.predictions(6).set_index("event_time").loc[row["t"], "prediction"]
    assert f"{served:.4f}" in text
    assert "Features and what they contribute" in text
    assert "Nearest training rows" in text
    assert "Calibration of its slices" in text
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "alert(1)" in text  # the group, as text
    assert "(personal)" in text
    assert f"{row['z']:.3f}"[:5] not in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"key": EVIL}, "none has id=&lt;script&gt;"),
        ({"key": "id=99999999"}, "no landed row has this key"),
        ({"key": "row_id=1", "batch": "soon"}, "A moment of the batch is written as"),
        ({"key": "row_id=1", "batch": "0001-01-01T00:00+23:00"}, "-01-01 00:00 has landed"),
        ({"key": "row_id=1", "version": "x"}, "A version is a number."),
        ({"key": "y" * 10_000}, "none has id=yyy"),
    ],
)
def test_a_mistake_is_said_and_html_in_it_stays_text(client, query, said):
    answer = client.get("/models/toy/explain", params=query)
    assert answer.status_code == 200
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert "<script>alert" not in answer.text
    assert len(answer.text) < 20_000


def test_without_a_key_there_is_only_the_form(client):
    text = client.get("/models/toy/explain").text
    assert "id=…" in text
    assert client.get("/models/nobody/explain").status_code == 404
    assert client.post("/models/toy/explain", data={"key": "id=1"}).status_code == 405


def test_nothing_is_written_for_a_page(client, story, row):
    before = story.facts()
    features = sorted(e.key for e in story.home.files.listed("features"))
    assert client.get("/models/toy/explain", params={"key": f"id={row['id']}"}).status_code == 200
    assert story.facts() == before
    assert sorted(e.key for e in story.home.files.listed("features")) == features


def test_a_long_explanation_is_found_by_the_next_request(story, row, monkeypatch):
    monkeypatch.setattr(explained, "PATIENCE", 0.05)
    made = explained.Explained._explain

    def slow(self, *asked):
        time.sleep(0.3)
        return made(self, *asked)

    monkeypatch.setattr(explained.Explained, "_explain", slow)
    query = {"key": f"id={row['id']}"}
    with TestClient(application(story.home.settings), base_url="http://127.0.0.1") as client:
        assert "This takes longer than" in client.get("/models/toy/explain", params=query).text
        others = [client.get("/models/toy/explain", params={"key": f"row_id={n}"}).text for n in range(9)]
        assert any("Other explanations are being made" in text for text in others)
        deadline = time.monotonic() + 60
        while "Features and what" not in client.get("/models/toy/explain", params=query).text:
            assert time.monotonic() < deadline
            time.sleep(0.1)
