"""The evidence about a challenger, through the loop: which rows and attempts count, and who takes over from whom."""

from datetime import timedelta

import numpy as np
import pytest

from tests import streams
from tests.story import PLAIN, Story, in_week, stream
from trueup.audit.reproduce import reproduce
from trueup.domain.judging.evidence import Evidence
from trueup.domain.learning.recipe import Recipe
from trueup.errors import WorkError
from trueup.loop import steps
from trueup.loop.turn import retrain
from trueup.model import Model
from trueup.stages.walk import burden, method

STRICT = PLAIN.replace(
    "promote:\n  gate_window: 14 days\n", "promote:\n  gates: [{kind: paired, min_gain: 0.9}]\n  gate_window: 7 days\n"
)


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A first champion of five weeks, and three challengers that a gain of 90 % is asked of."""
    told = Story(tmp_path_factory.mktemp("strict"), stream(15 * 7), STRICT)
    told.turn(5)
    told.champion = told.model.champion()
    told.decided = [retrain(steps, told.model, streams.week(w), "manual") for w in (8, 11, 14)]
    told.records = [e.body.evidence for e in told.home.ledger.entries("toy") if e.body.evidence][1:]
    return told


def evidence(told, record):
    frame = told.home.store.read_evaluation(record.path)
    return Evidence.from_frame(frame, told.config.evaluate.block, record.earlier)


def test_all_rows_since_the_champions_training_count_once(strict):
    frame = strict.frame
    for record in strict.records:
        found = evidence(strict, record)
        assert found.start >= strict.champion.trained_until
        assert len(set(found.numbers)) == len(found.numbers)
        inside = (frame["t"] >= found.start) & (frame["t"] < record.end)
        assert inside.sum() - strict.frame["t"].dt.date.value_counts().max() <= record.rows <= inside.sum()
    assert strict.records[0].rows < strict.records[1].rows < strict.records[2].rows


def test_nothing_is_judged_by_what_learned_from_it(strict):
    assert [len(r.folds) for r in strict.records] == [0, 3, 3]
    for record in strict.records:
        for fold in record.folds:
            assert fold.trained_until <= fold.start
            assert fold.start >= strict.champion.trained_until


def test_lost_attempts_are_counted_and_their_older_rows_are_kept(strict):
    entries = [e for e in strict.home.ledger.entries("toy") if e.body.evidence][1:]
    runs = [e.body.judged.run_id for e in entries]
    assert [r.attempt for r in strict.records] == [1, 2, 3]
    assert list(strict.records[2].earlier[-1:]) == runs[1:2]
    assert {r.against for r in strict.records} == {strict.champion.manifest_digest}
    assert {r.burden for r in strict.records} == {"routine"}
    last = evidence(strict, strict.records[2])
    span = min(f.start for f in strict.records[2].folds)
    assert last.start < span  # what came from the record is older than what was judged anew


def test_what_is_unclear_is_no_rejection(strict):
    assert {d.outcome for d in strict.decided} <= {"held", "rejected"}
    paired = [next(v for v in d.verdicts if v.check == "paired") for d in strict.decided]
    assert all("a gain of" in v.reasons[0] for v in paired)


def test_evidence_that_was_changed_is_not_used(strict, tmp_path):
    told = strict.branch(tmp_path / "copy")
    path = told.home.root / strict.records[-1].path
    frame = told.home.store.read_evaluation(strict.records[-1].path)
    told.home.store.put_evaluation(path.stem, frame.assign(loss_champion=9.0))
    with pytest.raises(WorkError, match="is not what entry"):
        retrain(steps, told.model, streams.week(15), "manual")


def test_a_change_of_features_has_another_burden(strict, tmp_path):
    told = strict.branch(tmp_path / "copy")
    file = told.configs / "toy.yaml"
    file.write_text(file.read_text().replace("numeric: [x, z]", "numeric: [x]"))
    retrain(steps, told.model, streams.week(15), "manual")
    record = told.home.ledger.entries("toy")[-1].body.evidence
    assert (record.burden, record.changed) == ("change", ("features",))


@pytest.mark.parametrize(
    ("setting", "value", "changed"),
    [
        ("window", timedelta(days=21), ["config"]),
        ("half_life", timedelta(days=21), ["config"]),
        ("min_rows", 50, []),
        ("max_seconds", 60.0, []),
    ],
)
def test_a_setting_of_training_is_a_change_where_the_model_learns_otherwise(strict, setting, value, changed):
    config = strict.config
    other = config.model_copy(update={"train": config.train.model_copy(update={setting: value})})
    then, now = (method(Model(c, strict.home), Recipe("linear", {})) for c in (config, other))
    assert burden(then, now) == ("change" if changed else "routine", changed)


def test_a_champion_that_is_worse_than_a_constant_is_replaced_by_what_is_better(tmp_path):
    """From the sixth week on yes means no. What learned from the weeks before is worse than saying the share."""
    rows = stream(9 * 7)
    later = np.logical_or.reduce([in_week(rows, w) for w in range(5, 9)])
    rows["y"] = np.where(later, 1 - rows["y"], rows["y"])
    told = Story(tmp_path, rows)
    told.turn(5)
    decided = retrain(steps, told.model, streams.week(8), "manual")
    assert decided.outcome == "promoted", decided.reasons
    body = told.home.ledger.entries("toy")[-1].body
    assert body.evidence.contender in {"simple", "prior"}
    assert body.model.recipe.family == body.evidence.contender
    done = told.turn(9)
    assert done.scored[-1].version == decided.version
    again = reproduce("toy", decided.version, told.home)
    assert again.same, again.message
