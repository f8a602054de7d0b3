"""What the loop makes of labels that come late or change, of data that tell too little, and of its own crashes."""

import mlflow
import numpy as np
import pytest

from tests import streams
from tests.story import PLAIN, Story, in_week, stream, window
from trueup.governance.status import overview
from trueup.loop import steps, turn


def turned(frame, week):
    """The stream with the labels of a week turned round."""
    return frame.assign(y=np.where(in_week(frame, week), 1 - frame["y"], frame["y"]))


def diagnoses(done):
    return {o.window: o.diagnosis for o in done.observed}


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A stream of nine weeks, of which five are handled, with a first champion."""
    told = Story(tmp_path_factory.mktemp("grown"), stream(9 * 7))
    told.turn(5)
    told.home.close()
    return told


@pytest.fixture
def told(grown, tmp_path):
    return grown.branch(tmp_path)


def test_a_correction_that_fails_validation_is_left_out_of_the_diagnosis(told):
    before = next(o for o in told.turn(6).observed if o.window == window(5))
    bad = told.frame.copy()
    bad.loc[bad.index[in_week(bad, 5)][3], "x"] = 100.0
    told.source(bad)
    seen = next(o for o in told.turn(6).observed if o.window == window(5))
    assert (seen.figures.left_out, seen.figures.matured) == (1, before.figures.matured - 1)
    assert seen.diagnosis == before.diagnosis


@pytest.mark.thorough  # a dozen turns; tests/cli/test_cli.py looks at one such batch
def test_a_batch_whose_labels_come_after_the_period_is_watched_when_they_have_come(tmp_path):
    late = PLAIN.replace("known_after: 1 day", "known_after: 8 days").replace("gate_window: 14", "gate_window: 20")
    told = Story(tmp_path, stream(13 * 7, change_on=8 * 7, per_day=160), late)
    first = next(w for w in range(6, 9) if told.turn(w).decided.outcome == "promoted")
    after = told.turn(first + 1)
    assert diagnoses(after)[window(first)] == "unknown"  # none of its labels has come
    nxt = told.turn(first + 2)
    assert diagnoses(nxt)[window(first)] != "unknown"
    assert diagnoses(nxt)[window(first + 1)] == "unknown"
    outcomes = [nxt, *(told.turn(w) for w in range(first + 3, 14))]
    assert any("decayed" in diagnoses(done).values() for done in outcomes)
    assert any(done.decided.outcome in {"promoted", "rejected"} for done in outcomes)
    again = told.turn(13)
    assert again == outcomes[-1]


def test_a_batch_of_which_too_few_days_were_known_at_first_is_watched_again(tmp_path):
    """After five days of delay nine blocks are known of a week that ends: a hundred labels, and still too few to tell."""
    late = PLAIN.replace("known_after: 1 day", "known_after: 5 days").replace("gate_window: 14", "gate_window: 20")
    told = Story(tmp_path, stream(12 * 7, change_on=9 * 7, per_day=160), late)
    done = {week: told.turn(week) for week in range(5, 13)}
    first = next(week for week, cycle_ in done.items() if cycle_.decided.outcome == "promoted")
    for week in range(first + 1, 9):
        newest, before = done[week].observed[-1], diagnoses(done[week]).get(window(week - 2))
        assert newest.diagnosis == "unknown"
        assert newest.figures.matured > 100
        assert "9 blocks of time" in newest.reasons[0]
        assert before != "unknown", before
        assert (before is None) == (week == first + 1)
    assert any("decayed" in diagnoses(done[week]).values() for week in range(10, 13))
    assert told.turn(12) == done[12]


def test_an_old_batch_that_was_corrected_does_not_start_a_retrain(told):
    for week in (6, 7):
        told.turn(week)
    told.source(turned(told.frame, 5))
    done = told.turn(7)
    seen = next(o for o in done.observed if o.window == window(5))
    assert seen.diagnosis == "decayed"
    assert done.decided.outcome == "none"


def test_corrected_labels_give_another_diagnosis_at_the_same_moment(told):
    before = told.turn(6).observed[-1]
    told.source(turned(told.frame, 5))
    after = told.turn(6).observed[-1]
    assert (before.diagnosis, after.diagnosis) == ("healthy", "decayed")
    assert turn.monitor_newest(steps, told.model, streams.week(6)).diagnosis == "decayed"


@pytest.mark.parametrize("where", ["alias", "record"])
def test_a_crash_after_a_promotion_is_put_right_by_the_next_run(tmp_path, monkeypatch, where):
    told = Story(tmp_path, stream(7 * 6))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "alias":
            patch.setattr("trueup.stages.promote.align", killed)
        else:
            patch.setattr("trueup.loop.turn._record", killed)
        with pytest.raises(KeyboardInterrupt):
            told.turn(5)
    told.open()
    done = told.turn(5)
    assert (done.decided.outcome, done.decided.version) == ("promoted", told.model.champion().version)
    assert overview(told.model).alias_agrees
    assert [e.kind for e in told.home.ledger.entries("toy")] == ["promoted"]
    assert told.turn(5) == done


def test_a_training_whose_evaluation_fails_is_closed_as_failed(tmp_path, monkeypatch):
    told = Story(tmp_path, stream(7 * 6))

    def broken(*_):
        raise RuntimeError("no power")

    monkeypatch.setattr(steps, "evaluate", broken)
    with pytest.raises(RuntimeError, match="no power"):
        told.turn(5)
    client = mlflow.MlflowClient(told.home.settings.mlflow_store)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert [run.info.status for run in found] == ["FAILED"]


def one_class(frame):
    return frame.assign(y=0)


def few(frame):
    return frame[frame["id"] % 80 < 3]


@pytest.mark.parametrize(("change", "said"), [(one_class, "class"), (few, "matured rows")])
def test_too_little_to_learn_from_is_held_with_its_reason(tmp_path, change, said):
    told = Story(tmp_path, change(stream(7 * 6)), PLAIN.replace("min_rows: 30", "min_rows: 1"))
    done = told.turn(5)
    assert done.decided.outcome == "held"
    assert said in done.decided.reasons[0]
    assert [e.kind for e in told.home.ledger.entries("toy")] == ["held"]


def test_a_regression_on_labels_that_turn_constant_is_judged(tmp_path):
    frame = stream(7 * 6)
    frame["y"] = (3.0 * frame["x"]).where(frame["t"] < streams.week(4), 7.0)
    told = Story(tmp_path, frame, PLAIN.replace("task: binary", "task: regression"))
    done = told.turn(6).decided
    assert done.outcome in {"promoted", "rejected"}, done.reasons  # neither held nor failed
    assert {v.check for v in done.verdicts} >= {"baseline"}


def test_a_regression_on_constant_labels_is_judged(tmp_path):
    told = Story(tmp_path, stream(7 * 6).assign(y=5.0), PLAIN.replace("task: binary", "task: regression"))
    done = told.turn(6).decided
    assert done.outcome == "held"
    assert done.reasons == ("all 1,121 labels are 5.0: models cannot be distinguished",)


def test_of_two_promotions_at_one_moment_the_first_is_the_first(told):
    first = told.model.champion()
    from trueup.governance.rollback import override

    other = next(
        v.version for v in told.home.registry.versions(told.config.registered_name) if v.version != first.version
    )
    override(told.model, other, by="a tester", why="a second one at the same moment")
    assert told.model.first_champion().version == first.version
    assert told.model.champion().version == other
