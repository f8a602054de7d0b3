"""One prediction is explained: its row is found by the key, and what was served is compared with its features."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import streams
from tests.story import CONFIG, PLAIN, Story, in_week, stream
from trueup.cli.output import plain
from trueup.errors import NoData, UsageError
from trueup.explain.explain import explain
from trueup.explain.keys import find, parsed

CORRECTED = 6
TWO = CONFIG.replace("key: [id]", "key: [group, id]")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A champion of five weeks that has predicted the sixth and seventh; one row of these is in quarantine."""
    frame = stream(8 * 7)
    frame.loc[frame.index[in_week(frame, 6)][3], "x"] = 99.0
    told = Story(tmp_path_factory.mktemp("explain"), frame, TWO)
    told.turn(5)
    told.turn(7)
    return told


@pytest.fixture(scope="module")
def row(story):
    """A row of the source that was predicted."""
    return story.frame[in_week(story.frame, 6)].iloc[10]


def key_of(row):
    return f"group={row['group']},id={row['id']}"


def test_the_row_the_served_prediction_and_the_features_of_a_key(story, row):
    done = explain(story.model, key_of(row))
    served = story.predictions(6).set_index("row_id").loc[done.row_id]
    assert done.served is not None
    assert (done.served.prediction, done.served.version) == (served["prediction"], served["model_version"])
    assert (done.recomputed, done.difference, done.version) == (done.served.prediction, 0.0, done.served.version)
    assert done.same
    assert done.row["x"] == row["x"]
    assert done.event_time == row["t"]
    assert done.outcome is not None
    assert done.outcome.value == row["y"]
    features = {feature.name: feature.value for feature in done.features}
    assert features["z"] == row["z"]
    before = story.frame[(story.frame["group"] == row["group"])]
    known = before["t"] + pd.Timedelta(days=1)
    past = before[(known <= row["t"]) & (known > row["t"] - pd.Timedelta(days=7))]
    assert features["rate_group_7d"] == pytest.approx(past["y"].mean(), rel=1e-6)
    assert done.notes == ("the slices are those of version 1, which was judged; version 2 is its refit",)
    json.dumps(plain(done), allow_nan=False)


def test_contributions_make_the_served_prediction(story, row):
    done = explain(story.model, key_of(row))
    made = done.contributions
    assert made is not None
    assert (made.scale, made.exact, made.background) == ("log-odds", True, 100)
    total = made.base + sum(part.contribution for part in made.parts)
    assert 1 / (1 + np.exp(-total)) == pytest.approx(done.served.prediction, abs=1e-9)
    assert {part.feature for part in made.parts} == {feature.name for feature in done.features}
    sizes = [abs(part.contribution) for part in made.parts]
    assert sizes == sorted(sizes, reverse=True)


def test_the_nearest_training_rows_are_those_of_the_smallest_mean_difference(story, row):
    done = explain(story.model, key_of(row))
    training = story.home.store.read_evaluation(story.model.champion().baseline_path)
    own = {feature.name: feature.value for feature in done.features}
    each = [(training["group"].astype(str) != own["group"]).astype(float)]
    for name in own.keys() - {"group"}:
        low, high = training[name].quantile([0.05, 0.95])
        each.append(((training[name] - own[name]).abs() / (high - low)).clip(upper=1).fillna(1.0))
    distance = pd.concat(each, axis=1).mean(axis=1).sort_values()
    assert [n.distance for n in done.neighbours] == pytest.approx(distance.iloc[:5].tolist())
    nearest = training.loc[distance.index[0]]
    assert done.neighbours[0].prediction == nearest["p_fitted"]
    assert done.neighbours[0].outcome == nearest["label"]
    assert done.neighbours_of == len(training)


def test_the_calibration_of_its_slice_is_that_of_the_gate_rows(story, row):
    (found,) = explain(story.model, key_of(row)).slices
    gate = story.home.store.read_evaluation(story.model.champion().evaluation_path)
    gate = gate[gate["group"] == row["group"]]
    assert (found.slice, found.rows) == (f"group={row['group']}", len(gate))
    assert found.predicted == pytest.approx(gate["p_challenger"].mean())
    assert found.observed == pytest.approx(gate["label"].mean())
    assert found.low < found.observed < found.high


def test_without_the_training_rows_the_rest_is_explained(story, row, tmp_path):
    other = story.branch(tmp_path / "branch")
    other.home.store.drop_evaluation(other.model.champion().baseline_path)
    done = explain(other.model, key_of(row))
    assert done.contributions is None
    assert any("the sample of the training rows of version" in note for note in done.notes)
    assert done.recomputed == done.served.prediction


def test_features_that_are_not_stored_are_computed_again(story, row, monkeypatch):
    stored = explain(story.model, key_of(row))
    monkeypatch.setattr("trueup.stages.features.digest_of", lambda _: "0" * 64)  # as after the retention of features
    assert explain(story.model, key_of(row)).features == stored.features
    assert not story.home.store.has_features("0" * 64)


def test_another_version_did_not_serve_the_row(story, row):
    other = next(e.body.judged.version for e in story.home.ledger.entries("toy") if e.body.judged)
    done = explain(story.model, key_of(row), version=other)
    assert done.version == other
    assert done.difference is None
    assert done.notes[0] == f"version {other} explains the row; it did not serve it"
    with pytest.raises(UsageError, match="no decision names version 99"):
        explain(story.model, key_of(row), version=99)


def test_a_row_in_quarantine_has_its_reason_and_no_prediction(story):
    row = story.frame[in_week(story.frame, 6)].iloc[3]
    done = explain(story.model, key_of(row))
    assert done.served is None
    assert done.quarantined
    assert "in quarantine" in done.notes[0]
    assert done.row["x"] == 99.0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("group=a,id=3", {"group": "a", "id": "3"}),
        (" group = a , id=3", {"group": "a", "id": "3"}),
        ("a,3", {"group": "a", "id": "3"}),
        ('"a,b",3', {"group": "a,b", "id": "3"}),
        ("x=1,3", {"group": "x=1", "id": "3"}),
        ("row_id=-7", {"row_id": "-7"}),
        ("id=3", {"id": "3"}),
    ],
)
def test_a_key_is_read(story, text, key):
    assert parsed(story.config, text) == key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the key is empty; write group=VALUE,id=VALUE"),
        ("a,3,4", "3 of 2 values: 'a' is no COLUMN=VALUE"),
        ("grop=a", "'grop' is no column of the key; did you mean group?"),
        ("id=3,id=4", "names id twice"),
        ("row_id=x", "row_id: 'x' is no whole number"),
        ("group=a", "rows have this key: group=a,id="),
    ],
)
def test_a_wrong_key_says_what_is_wrong(story, text, message):
    with pytest.raises(UsageError) as raised:
        explain(story.model, text)
    assert message in str(raised.value)


def test_a_key_of_no_row_names_what_is_near(story, row):
    with pytest.raises(NoData, match="none has group=d"):
        explain(story.model, f"group=d,id={row['id']}")
    others = [name for name in "abc" if name != row["group"]]
    with pytest.raises(NoData, match=f"the nearest are .*group={row['group']},id={row['id']} of"):
        explain(story.model, f"group={others[0]},id={row['id']}")
    with pytest.raises(NoData, match=r"in the batch \[2024-01-08, 2024-01-15\)"):
        explain(story.model, key_of(row), at=streams.week(1))
    in_the_zone = pd.Timestamp(row["t"]).tz_localize(story.config.ingest.timezone).tz_convert("Asia/Tokyo")
    assert explain(story.model, key_of(row), at=in_the_zone.to_pydatetime()).row["x"] == row["x"]
    with pytest.raises(UsageError, match="no batch with 2023-01-01 00:00 has landed"):
        explain(story.model, key_of(row), at=streams.START.replace(year=2023))


def test_a_part_of_a_key_is_enough_if_one_row_has_it(story, row):
    assert explain(story.model, f"id={row['id']}") == explain(story.model, key_of(row))


def test_personal_values_are_hidden_unless_asked_for(story, row):
    model = story.model
    governance = model.config.governance.model_copy(update={"personal": ["x", "id"]})
    secret = type(model)(model.config.model_copy(update={"governance": governance}), model.home)
    done = explain(secret, key_of(row))
    assert str(row["x"]) not in json.dumps(plain(done))
    assert done.key["id"] == done.row["x"] == "(personal)"
    with pytest.raises(NoData, match="because the key is personal"):
        explain(secret, f"group=d,id={row['id']}")
    assert explain(secret, key_of(row), personal=True) == explain(model, key_of(row))


def test_a_corrected_history_is_told_and_the_served_prediction_stays(story, tmp_path):
    other = story.branch(tmp_path / "branch")
    frame = story.frame.copy()
    row = frame[in_week(frame, 6)].iloc[10]
    before = explain(other.model, key_of(row))
    frame.loc[row.name, "x"] = -row["x"]
    other.source(frame)
    other.turn(8)
    done = explain(other.model, key_of(row))
    assert done.served == before.served
    assert done.revision == 2
    assert np.isclose(done.difference, done.recomputed - done.served.prediction)
    assert abs(done.difference) > 1e-6
    assert done.same is False
    assert any("differs by" in note for note in done.notes)
    assert f"in revision 1 of the batch, the row had x={row['x']}" in done.notes


def test_the_command_prints_all_about_a_prediction(story, row, command_line, monkeypatch):
    for name, value in story.places.items():
        monkeypatch.setenv(f"TRUEUP_{name.upper()}", str(value))
    say = command_line(story.folder, story.places.get("home"))
    told = say("explain", "toy", key_of(row))
    done = explain(story.model, key_of(row))
    assert told.code == 0
    assert f"row_id {done.row_id}" in told.out
    assert f"by version {done.served.version}" in told.out
    for part in done.contributions.parts:
        assert f"{part.contribution:+.4f}" in told.out
    assert f"group={row['group']}" in told.out
    named = say("explain", "toy", f"row_id={done.row_id}", "--batch", f"{row['t']:%Y-%m-%d}", "--json")
    assert json.loads(named.out) == plain(done)
    wrong = say("explain", "toy", "group=a")
    assert wrong.code == 2
    assert "rows have this key" in wrong.err


@pytest.mark.thorough
def test_the_most_probable_class_is_explained(tmp_path):
    frame = stream(7 * 7)
    frame["y"] = np.select([frame["x"] > 0.7, frame["z"] > 0], ["high", "mid"], "low")
    story = Story(tmp_path, frame, PLAIN.replace("task: binary", "task: multiclass"))
    story.turn(5)
    story.turn(7)
    row = frame[in_week(frame, 6)].iloc[0]
    done = explain(story.model, f"id={row['id']}")
    assert done.same
    assert done.target == done.recomputed == done.served.prediction
    assert done.served.probabilities[done.target] == max(done.served.probabilities.values())
    assert done.contributions.scale == f"raw score of {done.target}"
    assert abs(done.contributions.gap) < 1e-9
    (found,) = done.slices
    gate = story.home.store.read_evaluation(story.model.champion().evaluation_path)
    gate = gate[gate["group"] == row["group"]]
    assert found.predicted == pytest.approx(gate[f"p_challenger_{done.target}"].mean())
    assert found.observed == pytest.approx((gate["label"].astype(str) == done.target).mean())


def test_a_large_batch_is_read_in_parts(story, row, monkeypatch):
    whole = explain(story.model, key_of(row))
    for module in ("adapters.store.batches", "adapters.store.landed_rows", "explain.rows", "stages.features"):
        monkeypatch.setattr(f"trueup.{module}.AT_ONCE", 50)
    assert explain(story.model, key_of(row)) == whole


TEXTS = st.text() | st.text('0123456789-:.eET,="\r\n\0 ')


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(text=TEXTS | TEXTS.map("id={}".format) | TEXTS.map("row_id={}".format) | TEXTS.map("group={},id=3".format))
def test_any_text_for_a_key_finds_a_row_or_says_what_is_wrong(story, text):
    with contextlib.suppress(UsageError, NoData):
        find(story.model, parsed(story.config, text))
