"""The loop through the stages, without Prefect: what follows on what, and what must never happen."""

import html
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tests import streams
from tests.story import CONFIG, PLAIN, NoReports, Story, in_week, stream, window
from trueup.adapters.background import Background
from trueup.audit.dossier import make
from trueup.config.load import load_model
from trueup.domain.types import ROW_ID, Status
from trueup.errors import ConfigError, NoData, NoLabels, SourceError, UntrustedModel
from trueup.governance import quarantine
from trueup.governance.status import overview
from trueup.handoffs import Spent
from trueup.loop import steps, turn
from trueup.reporting.jobs import data_docs_folder, draw_retrain, run_folder
from trueup.stages.features import examples

BROKEN, CORRECTED = 6, 5


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Eight weeks: a first champion after five, then a broken batch, then its repair and a correction."""
    right = stream(9 * 7)
    broken = right.copy()
    broken.loc[in_week(broken, BROKEN), "x"] = 99.0
    broken.loc[broken.index[in_week(broken, 7)][:3], "x"] = 99.0  # outside of what the config allows
    told = Story(tmp_path_factory.mktemp("story"), broken)
    told.first = told.turn(5)
    told.second = told.turn(6)
    told.before = told.facts()
    told.again = told.turn(6)
    told.after = told.facts()
    told.broken = told.turn(7)
    told.served = told.predictions(CORRECTED)
    mended = broken.copy()
    week = in_week(mended, BROKEN)
    mended.loc[week, "x"] = right.loc[week, "x"]
    told.flipped = mended.index[in_week(mended, CORRECTED)][:20]
    mended.loc[told.flipped, "y"] = 1 - mended.loc[told.flipped, "y"]
    mended.loc[told.flipped, "z"] = 0.0
    told.source(mended)
    told.mended = told.turn(8)
    return told


def test_the_first_champion_comes_after_min_history_and_scores_no_row_it_was_trained_on(story):
    assert len(story.first.batches) == 5
    assert all(s.version is None for s in story.first.scored)
    assert story.first.decided.outcome == "promoted", story.first.decided.reasons
    assert {v.check: v.ok for v in story.first.decided.verdicts}["baseline"]
    current = story.model.champion()
    assert current.trained_until <= streams.week(5)
    assert len(story.predictions(4)) == 0


def test_a_turn_records_the_wall_seconds_of_its_stages(story):
    taken = story.first.seconds
    assert {"ingest", "validate", "score", "monitor", "train", "evaluate", "promote"} <= set(taken)
    assert all(seconds >= 0 for seconds in taken.values())
    assert taken["train"] > 0
    assert story.again.seconds == story.second.seconds, "a turn without news returns the recorded one"


def test_the_run_of_a_refitted_model_and_its_decision_name_every_batch_it_was_fitted_on(story):
    entry = next(e for e in story.home.ledger.entries("toy") if e.kind == "promoted")
    assert entry.body.refit.status == "pass"
    logged = story.home.tracking.client.get_run(entry.body.model.run_id).inputs.dataset_inputs
    sources = [json.loads(i.dataset.source) for i in logged]
    read = [ref for b in (c.batch for c in story.first.batches) for ref in (b.rows, b.labels)]
    assert sorted(s["sha256"] for s in sources) == sorted(ref.sha256 for ref in read)
    recorded = entry.challenge.inputs
    assert sorted((i.sha256, i.revision) for i in recorded) == sorted((r.sha256, r.revision) for r in read)
    contexts = {(s["start"], i.tags[0].value) for s, i in zip(sources, logged, strict=True)}
    gate_start = entry.body.gate.start
    assert contexts == {(str(w), "training" if w < gate_start else "refit") for w in map(streams.week, range(5))}


def test_a_batch_is_scored_by_the_champion_once_and_watched(story):
    (scored,) = story.second.scored
    assert (scored.new, scored.total) == (560, 560)
    assert scored.version == story.first.decided.version
    served = story.served
    assert served[ROW_ID].is_unique
    assert served["prediction"].between(0, 1).all()
    assert served["prediction"].nunique() > 100
    (observed,) = story.second.observed
    assert observed.diagnosis == "healthy", observed.reasons
    assert observed.figures.matured == 481  # the last day's are not known yet, but for the row of just a day ago


def test_a_second_run_at_the_same_as_of_changes_nothing(story):
    assert story.again == story.second
    assert story.after == story.before


def test_a_broken_batch_stops_at_validation_and_does_not_retrain(story):
    (checked,) = story.broken.batches
    assert checked.status is Status.FAIL
    assert any("x" in reason for reason in checked.reasons)
    assert story.broken.broken
    assert story.broken.scored[0].total == 0
    assert story.broken.observed[0].diagnosis == "data_broken"
    assert story.broken.decided.outcome == "none"
    assert [e.kind for e in story.home.ledger.entries("toy")] == ["promoted"]


def test_a_landed_correction_mends_a_broken_batch(story):
    checked = {c.batch.window: c for c in story.mended.batches}
    assert checked[window(BROKEN)].batch.rows.revision == 2
    assert checked[window(BROKEN)].usable
    assert len(story.predictions(BROKEN)) == 560


def test_later_batches_work_on_after_a_broken_one(story):
    assert story.mended.scored[-1].window == window(7)
    assert story.mended.scored[-1].new == 557
    assert story.mended.observed[-1].diagnosis in {"healthy", "shifted"}


def test_a_correction_is_a_new_revision_and_first_predictions_stay(story):
    revised = next(c for c in story.mended.batches if c.batch.window == window(CORRECTED))
    scored = next(s for s in story.mended.scored if s.window == window(CORRECTED))
    assert revised.batch.rows.revision == 2
    assert scored.new == 0
    assert_frame_equal(story.predictions(CORRECTED), story.served)
    rows = story.home.store.read(story.batch(CORRECTED).rows)
    assert (rows["z"] == 0.0).sum() == len(story.flipped)


def test_corrected_labels_are_joined_to_the_predictions_that_were_made(story):
    seen = [o for o in (*story.second.observed, *story.mended.observed) if o.window == window(CORRECTED)]
    assert [o.figures.matured for o in seen] == [481, 560]
    losses = [next(m.value for m in o.figures.metrics if m.name == "log_loss") for o in seen]
    assert losses[1] > losses[0]  # twenty labels were turned round


def test_rows_in_quarantine_are_listed_and_released_into_use(story, tmp_path):
    other = story.branch(tmp_path)
    held = quarantine.listed(other.model)
    assert len(held) == 3
    assert held["failed"].str.startswith("expect_column_values_to_be_between(x").all()
    assert set(held["batch"]) == {str(window(7))}
    assert not set(held[ROW_ID]) & set(other.predictions(7)[ROW_ID])
    one = int(held[ROW_ID].iloc[0])

    assert quarantine.release(other.model, [one], by="a tester", why="it is right") == 1
    assert one not in set(quarantine.listed(other.model)[ROW_ID])
    scored = turn.score_newest(steps, other.model, streams.week(8))
    assert (scored.new, scored.total) == (1, 558)
    known = examples(other.model, window(7), streams.week(9))
    assert one in set(known.row_id)

    assert quarantine.release(other.model, None, by="a tester", why="all of them") == 2
    assert quarantine.listed(other.model).empty


def test_the_next_run_predicts_rows_released_from_quarantine_once(story, tmp_path):
    other = story.branch(tmp_path)
    one, *rest = (int(i) for i in quarantine.listed(other.model)[ROW_ID])
    quarantine.release(other.model, [one], by="a tester", why="it is right")
    done = other.turn(8)  # in which nothing else is new
    assert [(s.window, s.new, s.total) for s in done.released] == [(window(7), 1, 558)]
    assert done.observed == story.mended.observed
    served, facts = other.predictions(7), other.facts()
    assert served[ROW_ID].is_unique
    assert one in set(served[ROW_ID])
    assert other.turn(8) == story.mended
    assert other.facts() == facts

    quarantine.release(other.model, rest, by="a tester", why="they are, too")
    later = other.turn(9)  # beside a new batch
    assert [b.batch.window for b in later.batches] == [window(8)]
    assert [(s.window, s.new, s.total) for s in later.released] == [(window(7), 2, 560)]
    assert set(rest) <= set(other.predictions(7)[ROW_ID])
    assert_frame_equal(other.predictions(7).head(len(served)), served)


def test_without_enough_new_labels_a_challenger_is_held(story, tmp_path):
    other = story.branch(tmp_path)
    decided = turn.retrain(steps, other.model, streams.week(5), "manual")
    assert decided.outcome == "held"
    assert "not enough new labels" in decided.reasons[0]
    assert other.model.champion().version == story.first.decided.version
    (spent,) = other.home.store.results("toy", "retrain", Spent)
    assert (spent.revision, spent.window) == (decided.sequence, window(4))
    assert {"ingest", "plan", "promote"} <= set(spent.body.seconds)


def test_the_ledger_is_whole_and_the_alias_agrees(story):
    assert story.home.ledger.verify() == []
    state = overview(story.model)
    assert state.alias_agrees is True
    assert state.champion == story.first.decided.version


@pytest.mark.in_a_folder
def test_a_tampered_champion_is_refused(story):
    current = story.model.champion()
    with story.home.registry.files(current.uri) as folder:
        (file,) = Path(folder).rglob("model.skops")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        story.open()
        with pytest.raises(UntrustedModel):
            turn.score_newest(steps, story.model, streams.week(8))
    finally:
        file.write_bytes(whole)


def test_a_first_champion_must_beat_the_baselines_whatever_gates_are_listed(tmp_path):
    coin = stream(35).assign(y=np.random.default_rng(3).integers(0, 2, 35 * 80))
    told = Story(tmp_path, coin, PLAIN.replace("promote:\n", "promote:\n  gates: [{kind: paired}]\n"))
    done = told.turn(5)
    assert done.decided.outcome == "rejected", done.decided.reasons
    assert [v.check for v in done.decided.verdicts if not v.ok] == ["baseline"]
    assert told.model.champion() is None


def test_before_any_data_there_is_nothing_to_do_and_nothing_is_written(tmp_path):
    told = Story(tmp_path, stream(14))
    with pytest.raises(NoData, match="no complete week of data by 2023-12-01"):
        turn.cycle(steps, told.model, pd.Timestamp("2023-12-01").to_pydatetime())
    assert not list(tmp_path.rglob("*.parquet"))


def test_text_in_a_numeric_column_breaks_the_batch(tmp_path):
    frame = stream(14).astype({"x": object})
    frame.loc[frame.index[in_week(frame, 1)][250], "x"] = "n/a?"
    told = Story(tmp_path, frame)
    fine, broken = told.turn(2).batches
    assert fine.usable
    assert not broken.usable
    assert any("x" in reason for reason in broken.reasons), broken.reasons


@pytest.mark.parametrize("column", ["x", "group", "t", "id", "y"])
def test_a_missing_column_is_said_and_nothing_is_landed(tmp_path, column):
    told = Story(tmp_path, stream(14).drop(columns=column))
    try:
        done = told.turn(2)
    except SourceError as error:
        assert column in str(error)  # noqa: PT017  (either way the column is named)
        assert not list(tmp_path.rglob("*.parquet"))
    else:
        assert not any(c.usable for c in done.batches)
        assert all(any(column in r for r in c.reasons) for c in done.batches)


def test_times_that_do_not_parse_are_said(tmp_path):
    told = Story(tmp_path, stream(14).assign(t="yesterday"))
    with pytest.raises(SourceError, match="t"):
        told.turn(2)
    assert not list(tmp_path.rglob("*.parquet"))


AT = PLAIN.replace("known_after: 1 day", "known_at: told")


def labelled(weeks, **columns):
    """A stream with other labels, or other moments at which they become known."""
    return stream(7 * weeks).assign(**columns)


@pytest.mark.parametrize(
    ("config", "rows", "said"),
    [
        (PLAIN, labelled(2, y=np.nan), "column y is empty in all 1,120 rows"),
        (AT, labelled(5, told=pd.NaT), "column told is empty for all 2,800 labels"),
        (AT, labelled(5, y=np.nan, told=pd.NaT), "column y is empty"),
        (AT, labelled(1, told="2034-01-01"), "the first label counts from 2034-01-01"),
    ],
)
def test_labels_that_are_overdue_are_an_error_and_the_batches_are_handled_all_the_same(tmp_path, config, rows, said):
    told = Story(tmp_path, rows, config)
    weeks = len(rows) // 560
    done = told.turn(weeks)
    assert said in done.problem
    assert "set ingest.label.column" in done.problem
    assert len(done.batches) == len(done.scored) == weeks
    assert {o.diagnosis for o in done.observed} == {"unknown"}
    assert (done.decided.outcome, done.decided.reasons) == ("held", (done.problem,))
    assert told.turn(weeks) == done
    with pytest.raises(NoLabels, match="no matured label"):
        turn.retrain(steps, told.model, streams.week(weeks), "manual")
    assert [e.kind for e in told.home.ledger.entries("toy")] == ["held"]


@pytest.mark.parametrize(
    ("config", "rows", "said"),
    [
        (PLAIN, labelled(1, y=np.nan), "column y is empty"),  # those of its last day are not due
        (PLAIN.replace("known_after: 1 day", "known_after: 8 days"), labelled(1), "counts from 2024-01-09"),
        (AT, labelled(4, told=pd.NaT), "column told is empty"),
        (AT, labelled(4, told="2024-04-01"), "the first label counts from 2024-04-01"),
    ],
)
def test_labels_that_may_still_come_hold_the_first_champion(tmp_path, config, rows, said):
    told = Story(tmp_path, rows, config)
    done = told.turn(len(rows) // 560)
    assert done.problem is None
    assert done.decided.outcome == "held"
    assert said in done.decided.reasons[0]
    assert turn.retrain(steps, told.model, done.as_of, "manual").outcome == "held"


def test_the_label_as_a_feature_is_a_mistake_of_the_config(tmp_path):
    configs = streams.write(tmp_path, stream(7), PLAIN.replace("numeric: [x, z]", "numeric: [x, z, y]"))
    with pytest.raises(ConfigError, match="y is known only with the label"):
        load_model(configs, "toy")


def test_features_cannot_see_labels_that_are_not_known_yet(tmp_path):
    """All labels from a moment on are changed: no feature of a row from before a day later may move."""
    frame, moment = stream(21), streams.week(2)
    changed = frame.assign(y=np.where(frame["t"] >= moment, 1 - frame["y"], frame["y"]))
    seen = []
    for name, rows in (("as it was", frame), ("changed", changed)):
        told = Story(tmp_path / name, rows, CONFIG)
        for batch in loop_until_checked(told, 3):
            assert batch.usable
        found = examples(told.model, window(2), streams.week(9))
        seen.append(found.X.assign(t=found.event_time, id=found.row_id).sort_values("id", ignore_index=True))
        told.home.close()
    before, after = seen
    day = pd.Timedelta("1 day")
    early = before["t"] < moment + day
    assert early.sum() == 80
    assert_frame_equal(before[early], after[early])
    assert (before.loc[~early, "rate_group_7d"] != after.loc[~early, "rate_group_7d"]).mean() > 0.9


def loop_until_checked(told, week):
    return [
        steps.validate(told.model, batch, streams.week(week)) for batch in steps.ingest(told.model, streams.week(week))
    ]


def test_a_real_change_is_decayed_and_a_challenger_takes_over(tmp_path):
    """The sign of the strongest effect turns round with the eighth week."""
    told = Story(tmp_path, stream(11 * 7, change_on=7 * 7, per_day=160))
    told.turn(5)
    first = told.model.champion()
    done = {week: told.turn(week) for week in range(6, 12)}
    before = [done[week].observed[-1].diagnosis for week in (6, 7)]
    after = {week: done[week].observed[-1].diagnosis for week in range(8, 12)}
    assert "decayed" not in before
    assert "decayed" in [after[8], after[9]], after  # within `decay.batches`, long before the reference has learned it
    promoted = [week for week in range(8, 12) if done[week].decided.outcome == "promoted"]
    assert promoted, {week: c.decided.reasons for week, c in done.items()}
    current = told.model.champion()
    assert current.version > first.version
    entry = told.home.ledger.champion("toy").entry
    assert entry.body.trigger.reason == "decayed"
    figures = entry.body.evaluation.metrics
    assert figures["challenger"]["log_loss"] < figures["champion"]["log_loss"]
    assert told.home.ledger.verify() == []
    assert overview(told.model).alias_agrees is True


def test_a_champion_with_too_few_labels_a_batch_is_retrained_for_its_age(tmp_path):
    told = Story(
        tmp_path, stream(7 * 7), PLAIN.replace("min_matured: 100", "min_matured: 5000\n  stale_after: 10 days")
    )
    told.turn(5)
    done = told.turn(7)
    assert done.observed[-1].diagnosis == "unknown"
    assert done.observed[-1].findings[:2] == ("unknown", "stale")
    assert done.decided.outcome in {"promoted", "rejected"}, done.decided.reasons
    assert told.home.ledger.entries("toy")[-1].body.trigger.reason == "stale"


class Drawing(NoReports):
    """Draws the pictures of retrains at once, and no reports."""

    def submit(self, _what: str, job: Callable[..., object], *args: object) -> None:
        """Do the job now if it is one of these."""
        if job is draw_retrain:
            job(*args)


def test_a_retrain_held_for_labels_of_one_class_has_a_dossier_that_says_so(tmp_path):
    rows = stream(7 * 7)
    told = Story(tmp_path, rows.assign(y=np.where(rows["t"] < streams.week(2), rows["y"], 0)))
    told.home.background = Drawing()
    done = turn.retrain(steps, told.model, streams.week(7), "manual")
    assert done.outcome == "held", done
    page = Path(make(told.model, done.version, bill=False).page).read_text()
    assert done.reasons[0].split(";")[0] in html.unescape(page)
    assert "It could not be measured; see the checks." in page
    assert "What the model relies on" in page


def test_a_report_that_cannot_be_drawn_is_said_with_its_place_and_the_loop_goes_on(tmp_path, caplog):
    told = Story(tmp_path, stream(14))
    told.home.background = Background()
    docs = data_docs_folder(told.home.root)
    (docs / "toy").parent.mkdir(parents=True)
    (docs / "toy").write_text("a file where the folder of the pages should be")
    done = told.turn(2)
    assert [c.usable for c in done.batches] == [True, True]
    assert told.home.background.wait()
    said = {r.getMessage() for r in caplog.records if r.name == "trueup.adapters.background"}
    assert {s.partition(": ")[0] for s in said} == {f"the Data Docs in {docs} could not be made"}
    assert all("File exists" in s or "NotADirectory" in s for s in said), said


def test_declared_slices_are_in_the_record_the_dossier_and_the_run(tmp_path):
    told = Story(tmp_path, stream(8 * 7))
    told.home.background = Drawing()
    told.turn(5)
    turn.retrain(steps, told.model, streams.week(8), "manual")
    first, second = told.home.ledger.entries("toy")
    for entry in (first, second):
        slices = entry.body.evaluation.slices
        assert {s.slice for s in slices} == {"group=a", "group=b", "group=c"}
        assert all(s.low < s.challenger < s.high for s in slices)
        run_id = entry.body.model.run_id
        folder = run_folder(told.home.root, "toy", run_id)
        assert "group=b" in Path(make(told.model, entry.body.version, bill=False).page).read_text()
        kept = {f.path for f in told.home.tracking.client.list_artifacts(run_id, "report")}
        assert "report/slices.csv" in kept
        assert pd.read_csv(folder / "slices.csv")["rows"].tolist() == [s.rows for s in slices]
    assert all(s.champion is None for s in first.body.evaluation.slices)
    assert all(s.difference_low < s.difference < s.difference_high for s in second.body.evaluation.slices)


def test_a_season_with_the_same_relation_is_not_decayed(tmp_path):
    told = Story(tmp_path, stream(10 * 7, season=2.0))
    done = [told.turn(week) for week in (5, 8, 10)]
    found = [o.diagnosis for c in done[1:] for o in c.observed]
    assert "decayed" not in found, found
    assert "shifted" not in found, found  # x moved through its season within the training, too,
    far = [c for o in done[-1].observed for c in o.figures.drift.checks if (c.column, c.check) == ("x", "psi")]
    assert far[-1].value > 0.5  # and is seen to be elsewhere by now
    assert [e.kind for e in told.home.ledger.entries("toy")] == ["promoted"]


def coloured(rows):
    """The stream with three classes."""
    rng = np.random.default_rng(5)
    leaning = np.column_stack([1.5 * rows["x"], 2.0 * np.sign(rows["x"] * rows["z"]), 0.8 * (rows["group"] == "a")])
    return rows.assign(y=np.array(["blue", "green", "red"])[(leaning + rng.gumbel(size=leaning.shape)).argmax(axis=1)])


def test_a_challenger_that_has_lost_a_class_does_not_beat_a_champion_that_knows_it(tmp_path):
    """No red for two weeks, all that the challenger learns from; in the gate window red is back."""
    rows = coloured(stream(9 * 7))
    rows = rows[~((in_week(rows, 5) | in_week(rows, 6)) & (rows["y"] == "red"))]
    told = Story(
        tmp_path,
        rows,
        PLAIN.replace("task: binary", "task: multiclass").replace("train:\n", "train:\n  window: 12 days\n"),
    )
    told.turn(5)
    first = told.model.champion()
    decided = turn.retrain(steps, told.model, streams.week(9), "manual")
    body = told.home.ledger.entries("toy")[-1].body
    assert decided.outcome == "rejected", decided.reasons
    assert body.evaluation.metrics["champion"]["log_loss"] < 1.1  # that of three equal shares
    assert body.evidence.contender == "simple"  # which remembers eight weeks
    assert told.model.champion().version == first.version


def test_a_champion_that_does_not_know_a_class_has_decayed_and_a_challenger_that_does_takes_over(tmp_path):
    """Red comes with the seventh week. The cheap reference of the eighth knows it; the first champion never will."""
    rows = coloured(stream(9 * 7))
    rows = rows[(rows["t"] >= streams.week(6)) | (rows["y"] != "red")]
    told = Story(tmp_path, rows, PLAIN.replace("task: binary", "task: multiclass"))
    told.turn(5)
    told.turn(7)
    seen = told.turn(8)
    skill = seen.observed[-1].figures.skill
    assert skill.loss_model > 5
    assert skill.loss_reference < 1.5
    assert seen.observed[-1].diagnosis == "decayed"
    assert seen.decided.outcome == "promoted", seen.decided.reasons
    assert told.turn(9).observed[-1].diagnosis in {"healthy", "shifted"}


def test_a_multiclass_stream_goes_round(tmp_path):
    told = Story(tmp_path, coloured(stream(7 * 7)), PLAIN.replace("task: binary", "task: multiclass"))
    goes_round(told)
    served = told.predictions(5)
    assert set(served["prediction"]) == {"blue", "green", "red"}
    assert np.allclose(served[["p_blue", "p_green", "p_red"]].sum(axis=1), 1)


def test_a_regression_stream_goes_round(tmp_path):
    rows = stream(7 * 7)
    noise = np.random.default_rng(5).normal(size=len(rows))
    rows["y"] = 10 + 1.5 * rows["x"] + 3 * np.sign(rows["x"] * rows["z"]) + noise
    told = Story(tmp_path, rows, PLAIN.replace("task: binary", "task: regression"))
    goes_round(told)
    served = told.predictions(5).merge(told.home.store.read(told.batch(5).labels), on=ROW_ID)
    assert np.corrcoef(served["prediction"], served["label"])[0, 1] > 0.8


def goes_round(told):
    """A first champion, then two batches that it scores and that are watched with matured labels."""
    first, after = told.turn(5), told.turn(7)
    assert first.decided.outcome == "promoted", first.decided.reasons
    assert [s.total for s in after.scored] == [560, 560]
    assert [o.diagnosis for o in after.observed] == ["healthy", "healthy"], [o.reasons for o in after.observed]
    assert all(o.figures.skill.mean > 0 for o in after.observed)
    assert all(o.figures.metrics for o in after.observed)
    assert told.turn(7) == after
    assert told.home.ledger.verify() == []


SINKS = {
    "folder": "score:\n  sink: {kind: folder, path: ../served}\n",
    "sql": 'score:\n  sink: {kind: sql, url: "sqlite:///../served.db", table: served}\n',
}


def delivered(told, kind):
    """What a user finds in the sink, by key."""
    if kind == "folder":
        found = pd.concat([pd.read_parquet(f) for f in sorted((told.folder / "served").glob("*.parquet"))])
    else:
        with sqlite3.connect(told.folder / "served.db") as database:
            found = pd.read_sql_query("SELECT * FROM served", database, parse_dates=["event_time", "predicted_at"])
        database.close()
    return found.sort_values("id", ignore_index=True)


@pytest.mark.parametrize("kind", list(SINKS))
def test_each_prediction_stands_in_the_users_sink_once_after_a_run_and_again(story, tmp_path, kind):
    other = story.branch(tmp_path)
    (other.configs / "toy.yaml").write_text(CONFIG + SINKS[kind])
    first = other.turn(9)  # a new batch
    assert [s.total for s in first.scored] == [560]
    found = delivered(other, kind)
    served = other.predictions(8)
    assert found["id"].is_unique
    assert set(found[ROW_ID]) == set(served[ROW_ID])
    assert np.allclose(found.set_index(ROW_ID).loc[served[ROW_ID], "prediction"], served["prediction"])
    assert set(found["model_version"]) == {first.scored[0].version}
    other.turn(9)
    turn.score_newest(steps, other.model, streams.week(9))  # which writes to the sink once more
    assert_frame_equal(delivered(other, kind), found)
