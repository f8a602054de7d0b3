"""Predictions that devices hand back: the first one served counts, and of every record it is said what became of it."""

import json
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import streams
from tests.export.homes import TRAINED_IN
from tests.export.spools import line, record, written
from tests.story import in_week, window
from trueup.errors import UsageError, WorkError
from trueup.export.handed_back import ingest_predictions
from trueup.model import Model

NEXT = TRAINED_IN  # the number of the week after the training


@pytest.fixture
def story(shop, tmp_path):
    return shop.branch(tmp_path / "branch")


def rows(story, count=5):
    return story.frame[in_week(story.frame, NEXT)].head(count)


def records(story, count=5, **changed):
    return [
        record(n, int(row.id), row.t.isoformat(), 0.1 * n, **changed)
        for n, row in enumerate(rows(story, count).itertuples(), start=1)
    ]


def handed(story, *spools, **lost):
    files = [written(story.folder / f"spool{n}.jsonl", spool, **lost) for n, spool in enumerate(spools)]
    done = ingest_predictions(story.model, files)
    told = {name: count for name in vars(done) if isinstance(count := getattr(done, name), int) and count}
    return {name: count for name, count in told.items() if name not in {"records", "unmatched"}}, done


def test_what_a_device_predicted_is_what_the_row_was_served_and_the_batch_is_scored_around_it(story):
    told, done = handed(story, records(story))
    assert (told, done.unmatched) == ({"new": 5}, 0)
    assert done.batches == (str(window(NEXT)),)
    story.turn(NEXT + 1)
    served, sources = story.predictions(NEXT), rows(story)
    assert len(served) == len(story.frame[in_week(story.frame, NEXT)])
    landed = story.home.store.read(story.batch(NEXT).rows, ["row_id", "id"])
    of_devices = (
        landed.assign(id=landed["id"].astype(int)).merge(served, on="row_id").set_index("id").loc[sources["id"]]
    )
    assert of_devices["prediction"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert of_devices["event_time"].tolist() == sources["t"].tolist()
    assert set(of_devices["model_version"]) == {2}
    assert of_devices["predicted_at"].iloc[0] == pd.Timestamp("2024-02-20 00:00:01.000001")
    others = served[~served["row_id"].isin(of_devices["row_id"])]
    assert set(others["predicted_at"]) == {pd.Timestamp("2024-02-19")}  # scored with the batch
    # The monitor compares them with the labels.
    scored = story.model.scored_labels(story.batch(NEXT), pd.Timestamp("2024-03-01").to_pydatetime())
    assert set(of_devices["row_id"]) <= set(scored["row_id"])


def test_handing_the_same_back_again_changes_nothing(story):
    handed(story, records(story))
    before = story.predictions(NEXT)
    assert handed(story, records(story), records(story))[0] == {"equal": 10}
    pd.testing.assert_frame_equal(story.predictions(NEXT), before)


def test_of_a_row_that_was_predicted_twice_the_first_one_counts_by_the_devices_clock(story):
    early, late = (
        records(story, 2),
        [r | {"prediction": 0.9, "time": "2024-02-21T00:00:00Z"} for r in records(story, 2)],
    )
    assert handed(story, late, early)[0] == {"new": 2, "different": 2}
    assert sorted(story.predictions(NEXT)["prediction"]) == pytest.approx([0.1, 0.2])


def test_after_the_batch_was_scored_the_batchs_prediction_counts(story):
    story.turn(NEXT + 1)
    before = story.predictions(NEXT)
    assert handed(story, records(story))[0] == {"different": 5}
    pd.testing.assert_frame_equal(story.predictions(NEXT), before)


def test_of_every_record_that_is_not_stored_it_is_said_why(story):
    good = records(story, 3)
    spool = [
        *good,
        record(10, 1, "2024-02-12", 0.5, model="other"),
        record(11, 1, "2024-02-12", 0.5, version=1),  # judged, and never promoted
        record(12, 1, "2024-02-12", 0.5, epoch=4),
        record(13, 1, "2024-01-08", 0.5),  # the champion was trained on that time
        record(14, None, "2024-02-12", 0.5),
        record(15, 1, "yesterday", 0.5),
        record(16, 1, "2024-02-12", 1.5),
        record(17, 1, "2024-02-12", {"a": 1.0}),
        record(18, 1, "2024-02-12", 0.5) | {"key": {"no": 1}},
        record(19, 1, "2024-02-12", None),
        record(20, 1, "2024-02-12", 0.5) | {"key": "1"},
        record(21, 1, "2024-02-12", 0.5) | {"key": {"id": [1]}},
    ]
    told, done = handed(story, spool, lost=7)
    assert told == {
        "new": 3, "other_model": 1, "never_served": 2, "before": 1, "unreadable": 6, "broken": 2, "lost": 7,
    }  # fmt: skip
    assert done.never == ("version 1 in epoch 1", "version 2 in epoch 4")
    assert done.records == len(spool) - 2
    assert len(story.predictions(NEXT)) == 3


def test_a_torn_line_and_a_flipped_bit_cost_their_own_records_only(story):
    lines = [line(r) for r in records(story)]
    flipped = lines[1].replace('"prediction":0.2', '"prediction":0.3')
    (story.folder / "spool").write_text(lines[0] + flipped + "\n\x00\xff\n" + lines[2] + lines[3][:40])
    done = ingest_predictions(story.model, [story.folder / "spool"])
    assert (done.new, done.broken) == (2, 4)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n3,4\n", b'{"crc":"00000000","record":{}}\n' * 3])
def test_what_is_no_spool_is_refused(story, content):
    (story.folder / "spool").write_bytes(content)
    with pytest.raises(WorkError, match="lines is a record"):
        ingest_predictions(story.model, [story.folder / "spool"])


def test_a_spool_of_another_format_and_one_that_is_not_there_are_refused(story):
    (story.folder / "spool").write_text(line({"spool": "trueup-spool/2", "lost": 0}))
    with pytest.raises(WorkError, match="trueup-spool/2"):
        ingest_predictions(story.model, [story.folder / "spool"])
    with pytest.raises(WorkError, match="cannot be read"):
        ingest_predictions(story.model, [story.folder / "none"])


def test_times_with_an_offset_are_those_of_the_models_zone(story):
    (only,) = records(story, 1)
    moment = pd.Timestamp(only["event_time"]).tz_localize("UTC").tz_convert("Asia/Tokyo")
    assert handed(story, [only | {"event_time": moment.isoformat()}])[0] == {"new": 1}
    assert story.predictions(NEXT)["event_time"].tolist() == rows(story, 1)["t"].tolist()


def test_a_key_is_the_same_however_it_is_written(story):
    (only,) = records(story, 1)
    key = only["key"]["id"]
    for other in (float(key), str(key), f"{key}.0"):
        assert handed(story, [only, only | {"key": {"id": other}}])[0] in ({"new": 1, "equal": 1}, {"equal": 2})


def test_keys_that_no_row_of_a_landed_batch_has_are_counted(story, command_line):
    story.turn(NEXT + 1)
    some = [*records(story, 2), *(r | {"key": {"id": f"00{r['key']['id']}"}} for r in records(story, 3))]
    told, done = handed(story, some)
    assert (told, done.unmatched) == ({"new": 3, "different": 2}, 3)
    trueup = command_line(story.folder)
    again = written(story.folder / "again", [record(9, "009", str(streams.week(NEXT)), 0.5)])
    assert (
        "1 of the new ones are of rows that their landed batch does not have"
        in trueup("ingest-predictions", "toy", str(again)).out
    )


def test_predictions_that_retention_removed_are_not_made_again(story):
    handed(story, records(story, 2))
    store, later = story.home.store, datetime(2030, 1, 1, tzinfo=UTC)
    store.retire_predictions("toy", store.old_predictions("toy", later), later)
    assert handed(story, records(story))[0] == {"retired": 5}


def test_without_a_key_nothing_can_be_joined(story):
    ingest = story.config.ingest.model_copy(update={"key": []})
    keyless = Model(story.config.model_copy(update={"ingest": ingest}), story.home)
    with pytest.raises(UsageError, match=r"ingest\.key is empty"):
        ingest_predictions(keyless, [])


def test_by_the_command_line_it_is_said_in_words_and_as_json(story, command_line):
    trueup = command_line(story.folder)
    file = written(story.folder / "spool", [*records(story, 2), record(9, 1, "2024-02-12", 0.5, model="other")], lost=4)
    done = trueup("ingest-predictions", "toy", str(file))
    assert done.code == 0, done.err
    assert "toy: 3 records, 2 new" in done.out
    assert "1 of another model" in done.out
    assert "4 records were dropped by the devices" in done.out
    again = json.loads(trueup("ingest-predictions", "toy", str(file), "--json").out)
    assert (again["new"], again["equal"], again["other_model"]) == (0, 2, 1)


@pytest.fixture(scope="module")
def used(shop, tmp_path_factory):
    """A home in which the same rows come again and again."""
    return shop.branch(tmp_path_factory.mktemp("used") / "branch")


@given(data=st.data())
def test_every_record_is_counted_once(used, data):
    some = rows(used, 4)
    values = st.one_of(
        st.none(), st.integers(), st.floats(), st.text(), st.sampled_from(some["id"].tolist()), st.booleans()
    )
    made = st.builds(
        record,
        st.integers(0, 3599),
        values,
        st.one_of(
            st.text(), st.sampled_from([str(t) for t in some["t"]]), st.just("0001-01-01"), st.just("9999-12-31")
        ),
        st.one_of(st.floats(0, 1), values, st.dictionaries(st.text(), st.floats())),
        model=st.sampled_from(["toy", "other"]),
        version=st.integers(1, 3),
    )
    drawn = data.draw(st.lists(made, max_size=12))
    done = ingest_predictions(used.model, [written(used.folder / "spool", drawn)])
    counted = ("new", "equal", "different", "other_model", "never_served", "before", "unreadable", "retired")
    assert done.records == len(drawn) - done.broken
    assert sum(getattr(done, name) for name in counted) == done.records


@pytest.mark.parametrize(
    ("changed", "counted"),
    [
        ({"prediction": 10**400}, "unreadable"),
        ({"event_time": "9999-12-31T23:59:59.999999"}, "unreadable"),
        ({"key": {"id": "\ud800"}}, "broken"),
        ({"version": True}, "broken"),
    ],
)
def test_a_record_that_no_device_of_ours_writes_is_counted_and_the_others_are_stored(story, changed, counted):
    good, odd = records(story, 2)
    told, _ = handed(story, [good, odd | changed])
    assert told == {"new": 1, counted: 1}
