"""Retention: what grows old goes, what a decision rests on stays, and the loop goes on with what is left."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests import streams
from tests.forked import Killed, forked
from tests.story import CONFIG, Story, in_week, stream, window
from trueup.adapters.store import tables
from trueup.domain.types import Window
from trueup.governance import quarantine
from trueup.governance.evidence import kept, named
from trueup.governance.rollback import last_good, roll_back
from trueup.governance.status import overview
from trueup.handoffs import baseline_name, sample_name
from trueup.loop import steps, turn
from trueup.model import Model
from trueup.reporting.jobs import drift_page, run_folder
from trueup.stages.features import examples
from trueup.upkeep.retention import gc, gc_shared

WEEKS = 12
SINK = "score:\n  sink: {kind: folder, path: ../served}\n"


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A first champion and three more challengers, whatever became of them; the fifth week is corrected after the first."""
    rows = stream(WEEKS * 7, change_on=6 * 7)
    wrong = rows.copy()
    wrong.loc[wrong.index[in_week(wrong, 4)][:9], "z"] = 0.0
    wrong.loc[wrong.index[in_week(wrong, 6)][:2], "x"] = 99.0  # outside of what the config allows
    told = Story(tmp_path_factory.mktemp("judged"), wrong, CONFIG + SINK)
    assert told.turn(5).decided.outcome == "promoted"
    right = rows.copy()
    right.loc[right.index[in_week(right, 6)][:2], "x"] = 99.0
    told.source(right)
    for week in (6, 8, 10, 11):
        turn.cycle(steps, told.model, streams.week(week), retrain="never")
        if week > 6:
            turn.challenge(steps, told.model, streams.week(week), "manual")
    for week in (6, 7):
        page = drift_page(told.home.root, "toy", window(week))
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("a page")
    for entry in told.home.ledger.entries("toy"):
        if entry.body.model and (run_id := entry.body.model.run_id):
            folder = run_folder(told.home.root, "toy", run_id)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "importance.png").write_text("a picture")
    return told


@pytest.fixture
def told(judged, tmp_path):
    other = judged.branch(tmp_path)
    return other


def short(story, **spans):
    """Give the model other retentions."""
    lines = "".join(f"  {name}: {days} days\n" for name, days in spans.items())
    (story.configs / "toy.yaml").write_text(CONFIG + SINK + "retention:\n" + lines)


def removed(found):
    return {r.kind: r.files for r in found.removed if r.files}


def challengers(story):
    return [e for e in story.home.ledger.entries("toy") if e.body.model]


def files(story):
    return {
        p.relative_to(story.folder / "home").as_posix()
        for p in (story.folder / "home").rglob("*")
        if p.is_file() and not p.name.endswith(".lock")
    }


def landed_on(story, revision, moment, week=4):
    """Let a revision of a week have been landed at another moment."""
    table = tables.BATCHES
    which = (table.c.start == window(week).start) & (table.c.revision == revision)
    with story.home.engine.begin() as connection:
        connection.execute(sa.update(table).where(which).values(recorded_at=moment))


def test_nothing_of_a_young_home_is_removed(told):
    before = files(told)
    for dry_run in (True, False):
        assert removed(gc(told.model, dry_run)) == {}
        assert removed(gc_shared([told.config], told.home, dry_run)) == {}
    assert files(told) == before


def test_old_reports_go_but_for_those_of_decisions_that_are_kept(told):
    told.later(days=400)
    promised = gc(told.model, dry_run=True)
    before = files(told)
    found = gc(told.model)
    assert removed(found) == removed(promised) == {"Data Docs": 24, "drift pages": 2}  # results and their pages
    assert {f.split("/")[1] for f in before - files(told)} == {"data_docs", "drift"}
    assert removed(gc(told.model)) == {}
    short(told, decisions=1)
    least = len(champions_and_last_good(told))
    assert removed(gc(told.model))["retrain pictures"] == len(challengers(told)) - least
    assert len(list(run_folder(told.home.root, "toy", "").iterdir())) == least


def champions_and_last_good(story):
    wanted = {story.model.champion().version, last_good(story.model)}
    of = [e for e in challengers(story) if {e.body.model.version, e.body.judged.version} & wanted]
    return {e.body.model.run_id for e in of}


def test_a_superseded_revision_is_kept_while_a_decision_may_rest_on_it(told):
    told.later(days=800)
    (old,) = [s.ref for s in told.home.store.superseded("toy") if s.ref.dataset == "toy/rows"]
    assert (old.window, old.revision) == (window(4), 1)
    assert "batch revisions" not in removed(gc(told.model))  # the first champion was trained on it

    short(
        told, decisions=1
    )  # the champion's entry is kept for ever, and it is of the day on which the revision was replaced
    assert "batch revisions" not in removed(gc(told.model, dry_run=True))

    short(told, decisions=3650)
    landed_on(told, 1, datetime(2020, 1, 1))
    landed_on(told, 2, datetime(2020, 3, 1))  # long before any decision
    assert removed(gc(told.model))["batch revisions"] == 1
    assert not (told.home.root / old.path).exists()
    assert told.batch(4).rows.revision == 2
    assert len(told.home.store.read(told.batch(4).rows, verify=True)) == 560


def test_a_superseded_revision_is_kept_for_its_retention(told):
    told.home.now = lambda: datetime(2020, 8, 1, tzinfo=UTC)
    landed_on(told, 1, datetime(2020, 1, 1))
    landed_on(told, 2, datetime(2020, 3, 1))
    assert "batch revisions" not in removed(gc(told.model))
    short(told, snapshots=100)
    assert removed(gc(told.model))["batch revisions"] == 1


def test_what_the_champion_and_the_last_good_one_rest_on_is_kept_for_ever(told):
    home = told.home
    state, back = overview(Model(told.config, home)), last_good(Model(told.config, home))
    assert back is not None
    told.later(days=5000)
    found = gc(Model(told.config, home))
    everything = named(home.ledger.entries("toy"))
    still = kept(Model(told.config, home))
    assert still.runs == champions_and_last_good(told)
    assert removed(found)["evaluations"] == len(everything.evaluations - still.evaluations) > 0
    assert all((home.root / path).exists() for path in still.evaluations)
    for entry in challengers(told):
        if entry.body.model.run_id in still.runs:
            model = entry.body.model
            assert f"evaluations/{sample_name(model.run_id)}.parquet" in still.evaluations
            assert f"evaluations/{baseline_name(entry.body.judged.manifest_digest)}.parquet" in still.evaluations
            assert {model.baseline_path, entry.body.evaluation.path} <= still.evaluations

    told.open()
    assert overview(told.model) == state
    done = told.turn(WEEKS)
    assert done.scored[-1].new == 560
    assert done.observed[-1].figures.drift is not None
    assert roll_back(told.model, None, "a tester", "a test").version == back
    assert turn.monitor_newest(steps, told.model, streams.week(WEEKS)).diagnosis != "unknown"
    assert told.home.ledger.verify() == []


def test_a_rollback_keeps_what_the_old_promotion_recorded(told):
    back = last_good(told.model)
    roll_back(told.model, back, "a tester", "a test")
    told.later(days=300)
    roll_back(told.model, champion_before(told), "a tester", "and back again")
    entry = told.home.ledger.entries("toy")[-1]
    source = told.home.ledger.entry(entry.body.evidence_of)
    told.later(days=3800)
    short(told, decisions=3650)
    assert source.recorded_at < told.home.now() - told.config.retention.decisions < entry.recorded_at
    assert source.recorded_at in kept(told.model).judged_at


def champion_before(story):
    return story.home.ledger.entries("toy")[-1].body.previous.version


def test_predictions_that_are_gone_are_never_made_again_and_the_loop_copes(told):
    sunk = {f: f.read_bytes() for f in (told.folder / "served").rglob("*.parquet")}
    assert len(sunk) > 5
    assert len(told.predictions(6)) == 558
    told.later(days=800)
    parts = len(told.home.store.old_predictions("toy", told.home.now()))
    assert removed(gc(told.model))["predictions"] == parts > 3
    assert not list((told.home.root / "predictions").rglob("*.parquet"))

    told.open()
    facts = told.facts()
    assert told.predictions(6).empty
    assert told.turn(11).scored == told.turn(11).scored
    assert told.facts() == facts
    held = quarantine.listed(told.model)
    assert len(held) == 2
    quarantine.release(told.model, None, by="a tester", why="they are right")
    assert told.turn(11).released == ()
    assert turn.score_newest(steps, told.model, streams.week(7)).new == 0

    corrected = told.frame.copy()
    corrected.loc[corrected.index[in_week(corrected, 10)][:5], "z"] = 0.0
    told.source(corrected)
    rules = told.configs / "toy.yaml"
    rules.write_text(rules.read_text().replace("max_value: 20}", "max_value: 100}"))  # week 6 is judged otherwise now
    done = turn.cycle(steps, told.model, streams.week(11), retrain="never")
    assert [(s.window, s.new) for s in done.scored] == [(window(6), 0), (window(10), 0)]
    assert all("retention" in s.note for s in done.scored)
    assert {o.diagnosis for o in done.observed} == {"unknown"}
    assert told.predictions(6).empty
    assert {f: f.read_bytes() for f in sunk} == sunk  # what was served stays served in the user's own place
    assert turn.cycle(steps, told.model, streams.week(11), retrain="never") == done
    assert told.turn(WEEKS).scored[-1].new == 560


def test_features_that_nothing_uses_go_and_the_others_need_not_be_computed_again(told):
    before = {f for f in files(told) if f.startswith("features/")}
    quarantine.release(told.model, None, by="a tester", why="they are right")
    steps.score(told.model, checked(told, 6), streams.week(11))
    both = {f for f in files(told) if f.startswith("features/")}
    assert len(both - before) == 1
    assert removed(gc_shared([told.config], told.home)) == {}
    told.later(days=2)
    found = removed(gc_shared([told.config], told.home))
    left = {f for f in files(told) if f.startswith("features/")}
    assert found["features"] == len(both - left) >= 1
    assert both - before <= left
    examples_of_all(told)
    computed = {f for f in files(told) if f.startswith("features/")} - left
    assert len(computed) <= 2  # those of the released week's successors, which hold its rows in their history


def checked(story, week):
    batch = story.batch(week)
    return steps.validate(story.model, batch, streams.week(11))


def examples_of_all(story):
    examples(story.model, Window(streams.week(0), streams.week(11)), streams.week(11))


def test_features_are_left_alone_when_a_model_cannot_be_asked(told):
    told.later(days=2)
    broken = told.config.model_copy(
        update={"features": told.config.features.model_copy(update={"custom": "nowhere:made"})}
    )
    found = gc_shared([broken], told.home)
    assert removed(found) == {}
    assert "nowhere" in found.note


def test_what_a_crash_left_goes_after_a_day(told):
    left = told.home.store.put_evaluation("of-nobody", told.home.store.read(told.batch(4).rows))
    half = told.home.root / "reports" / "data_docs" / "results" / "toy" / ".x.json.17"
    half.write_text("{")
    assert removed(gc_shared([told.config], told.home)) == {}
    told.later(days=2)
    assert removed(gc_shared([told.config], told.home)).get("leftovers") == 2
    assert not half.exists()
    assert not (told.home.root / left).exists()


def dying(folder, survived):
    """Collect in a process of its own, which is killed when so many files are gone."""
    unlink, left = Path.unlink, [survived]

    def die(self, *args, **kwargs):
        if self.suffix in {".parquet", ".json", ".html", ".png"}:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return unlink(self, *args, **kwargs)

    Path.unlink = die
    story = Story.at(folder, stream(7))
    story.later(days=5000)
    gc(story.model)


@pytest.mark.parametrize("survived", [0, 5, 13, 20])
def test_killed_at_any_moment_the_next_run_finishes(told, survived):
    before = files(told)
    told.later(days=5000)
    whole = sum(removed(gc(told.model, dry_run=True)).values())
    assert whole > survived
    told.home.close()
    with pytest.raises(Killed):
        forked(dying, told.folder, survived)
    gone = before - files(told)
    assert len(gone) == survived
    told.open()
    for week in range(11):  # what is there can be read, what is not is not asked for
        told.home.store.read(told.batch(week).rows)
        told.predictions(week)
    told.later(days=5000)
    assert sum(removed(gc(told.model)).values()) == whole - survived
    assert removed(gc(told.model)) == {}
