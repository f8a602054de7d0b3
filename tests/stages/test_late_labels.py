"""Labels that lie in a second source and come a month late: through check, whole cycles, corrections, feed and replay."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import loans, streams
from tests.story import window
from trueup.adapters.background import NoReports
from trueup.audit.dossier import gather
from trueup.audit.reproduce import reproduce
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.features.features import feature_frame
from trueup.domain.types import Window
from trueup.errors import NoData, SourceError
from trueup.home import Home
from trueup.loop import steps, turn
from trueup.model import Model
from trueup.onboarding.check import MatchedLabels, check
from trueup.replay.sandbox import Sandbox
from trueup.stages import features
from trueup.stages.ingest import ingest
from trueup.upkeep.simulate_arrivals import feed_next


class Book:
    """A home whose loans and outcomes come to the files as time goes on."""

    def __init__(self, folder: Path, rows: pd.DataFrame, outcomes: pd.DataFrame, config: str = loans.CONFIG) -> None:
        self.folder, self.rows, self.outcomes = folder, rows, outcomes
        self.configs = loans.write(folder, rows, outcomes, config)
        self.home = Home(Settings(home=folder / "home", configs=self.configs))
        self.home.background = NoReports()

    @property
    def config(self):
        return load_model(self.configs, "loans")

    @property
    def model(self):
        return Model(self.config, self.home)

    def put(self, outcomes: pd.DataFrame) -> None:
        """Let the outcomes' file hold these."""
        outcomes.to_csv(self.configs / "data" / "outcomes.csv", index=False)

    def come(self, week: int) -> None:
        """Let both files hold what there is when so many weeks are complete."""
        rows = self.rows[self.rows["issued"] < streams.week(week)]
        rows.to_csv(self.configs / "data" / "loans.csv", index=False)
        self.put(loans.known_by(self.outcomes, week))

    def turn(self, week: int, retrain="inline"):
        """One turn of the loop."""
        self.come(week)
        return turn.cycle(steps, self.model, streams.week(week), retrain)

    def ingest(self, week: int):
        """Land what there is."""
        return ingest(self.model, streams.week(week))

    def labels(self, week: int) -> pd.DataFrame:
        """The newest labels of a week, by the loan's id."""
        batch = next(b for b in self.model.batches(streams.week(99)) if b.window == window(week))
        rows = self.home.store.read(batch.rows, ["row_id", "id"])
        return rows.astype({"id": int}).merge(self.home.store.read(batch.labels), on="row_id").set_index("id")

    def revisions(self) -> dict[int, tuple[int, int]]:
        """By week the revisions of rows and labels."""
        found = self.model.batches(streams.week(99))
        return {(b.window.start - streams.START).days // 7: (b.rows.revision, b.labels.revision) for b in found}


@pytest.fixture
def small(tmp_path):
    """Eight weeks with few loans."""
    book = Book(tmp_path, *loans.book(8, per_day=3))
    yield book
    book.home.close()


@pytest.mark.thorough
def test_with_labels_a_month_late_old_batches_are_diagnosed_when_theirs_come_and_a_challenger_takes_over(tmp_path):
    """A challenger knows what was known when its gate window began: a month after the change it cannot see it yet."""
    longer = loans.CONFIG.replace("min_history: 28 days", "min_history: 56 days\n  window: 75 days")
    longer = longer.replace("gate_window: 14 days", "gate_window: 7 days")
    book = Book(tmp_path, *loans.book(26, change_on=12 * 7), longer)
    seen = check("loans", book.home)
    assert seen.problems == []
    assert seen.labels == MatchedLabels(26 * 420, 1000, 1.0)
    first = book.turn(16)
    assert first.decided.outcome == "promoted", first.decided.reasons
    (waiting,) = [o for o in book.turn(17, "never").observed if o.window == window(16)]
    assert (waiting.diagnosis, waiting.figures.matured) == ("unknown", 0)
    later = book.turn(22, "never")
    (told,) = [o for o in later.observed if o.window == window(16)]
    assert (told.diagnosis, told.figures.matured) == ("decayed", 420), told.reasons
    assert {o.diagnosis for o in later.observed if o.window > window(17)} == {"unknown"}
    last = book.turn(26)
    assert last.decided.outcome == "promoted", last.decided.reasons
    assert last.decided.version > first.decided.version
    before = book.revisions()
    assert book.turn(26) == last
    assert book.revisions() == before
    assert all(rows == 1 for rows, _ in before.values())  # no row was landed again for its labels
    assert max(m for w in range(26) for m in book.labels(w)["known_at"]) <= streams.week(26)
    recorded = book.home.ledger.entries("loans")[-1].challenge.inputs
    assert (recorded[-1].dataset, recorded[-1].revision) != ("loans/labels", 1)
    assert book.home.ledger.verify() == []
    found = reproduce("loans", last.decided.version, book.home)
    assert found.same, found.message
    words = gather(book.model, last.decided.version)[0].source.words
    assert words.endswith("the outcomes, joined by key, from a source of kind files (path data/outcomes.csv)")
    book.home.close()


def test_corrected_and_withdrawn_labels_of_any_age_are_new_revisions_and_are_told(small):
    small.ingest(8)
    before, old = small.revisions(), small.labels(0)
    assert before == dict.fromkeys(range(8), (1, 1))
    ids = small.rows["id"].head(3).tolist()
    mended = pd.DataFrame({"loan_id": ids, "defaulted": 1 - old.loc[ids, "label"], "recorded_on": streams.week(7)})
    gone = small.outcomes[small.outcomes["loan_id"] != ids[-1] + 1]
    small.put(pd.concat([gone, mended]))
    found = small.ingest(8)[0]
    assert small.revisions() == before | {0: (1, 2)}
    new = small.labels(0)
    assert (new.loc[ids, "label"] == 1 - old.loc[ids, "label"]).all()
    assert (new.loc[ids, "known_at"] == streams.week(7)).all()
    assert ids[-1] + 1 not in new.index
    assert {k: found.labels.facts[k] for k in ("labels_new", "labels_changed", "labels_withdrawn")} == {
        "labels_new": 0,
        "labels_changed": 3,
        "labels_withdrawn": 1,
    }
    told = steps.validate(small.model, found, streams.week(8)).warnings
    assert "3 labels have another value than the one landed before" in told
    assert any("1 labels were withdrawn" in t for t in told)
    small.ingest(8)
    assert small.revisions() == before | {0: (1, 2)}
    first = small.home.store.revision("loans/labels", window(0), 1)  # the history is kept
    assert small.home.store.read(first)["label"].tolist() == old["label"].tolist()


def test_a_correction_of_tomorrow_hides_nothing_today_and_an_earlier_moment_takes_nothing_back(small):
    old = small.rows["id"].iloc[0]
    was = int(small.outcomes["defaulted"].iloc[0])
    mended = pd.DataFrame({"loan_id": [old], "defaulted": [1 - was], "recorded_on": [streams.week(7)]})
    small.put(pd.concat([small.outcomes, mended]))
    small.ingest(6)
    assert small.labels(0).loc[old, "label"] == was
    small.ingest(7)
    assert small.labels(0).loc[old, "label"] == 1 - was
    small.ingest(6)
    assert small.labels(0).loc[old, "label"] == 1 - was


def test_labels_without_a_row_and_keys_of_several_batches_are_told(small):
    strays = small.outcomes.head(4).assign(loan_id=[-1, -2, -3, -4])
    small.put(pd.concat([small.outcomes, strays]))
    rows = small.rows.copy()
    rows.loc[rows.index[-1], "id"] = rows["id"].iloc[0]
    rows.to_csv(small.configs / "data" / "loans.csv", index=False)
    newest = small.ingest(8)[-1]
    assert newest.labels.facts["orphans"] == 4
    assert newest.labels.facts["keys_again"] == 1
    assert newest.labels.facts["known_before_row"] == 1  # of the one whose key came again after its outcome


def test_an_empty_label_source_is_refused_once_it_gave_labels(small):
    small.put(small.outcomes.head(0))
    small.ingest(7)  # there may be none yet
    small.put(small.outcomes)
    small.ingest(8)
    small.put(small.outcomes.head(0))
    with pytest.raises(SourceError, match=r"^ingest\.label\.source: it holds no outcome, and 168 labels"):
        small.ingest(8)
    assert len(small.labels(0)) == 21


def test_the_same_labels_from_a_database_are_no_new_revision(small):
    small.ingest(8)
    before = small.revisions()
    with sqlite3.connect(small.folder / "bank.db") as database:
        small.outcomes.assign(loan_id=small.outcomes["loan_id"].astype(str)).to_sql("o", database, index=False)
    database.close()
    url = "{kind: sql, url: 'sqlite:///../bank.db', query: 'SELECT * FROM o'}"
    config = loans.CONFIG.replace("{kind: files, path: data/outcomes.csv}", url)
    (small.configs / "loans.yaml").write_text(config)
    other = Home(small.home.settings)
    ingest(Model(small.config, other), streams.week(8))
    other.close()
    assert small.revisions() == before
    broken = config.replace("SELECT * FROM o", "SELECT * FROM nothing")
    (small.configs / "loans.yaml").write_text(broken)
    other = Home(small.home.settings)
    with pytest.raises(SourceError, match=r"ingest\.label\.source\.query"):
        ingest(Model(small.config, other), streams.week(8))
    other.close()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("key: {id: loan_id}", "", "line 8, ingest.key: the label source has no column id; it has loan_id, defaulted"),
        ("key: {id: loan_id}", "key: {id: loan}", "ingest.label.key.id: the label source has no column loan; did you"),
        ("column: defaulted", "column: paid", "ingest.label.column: the label source has no column paid"),
        ("known_at: recorded_on", "known_at: seen", "ingest.label.known_at: the label source has no column seen"),
        (
            "key: {id: loan_id}",
            "key: {id: region}",
            "none of the newest 168 outcomes matches a row: outcome keys are like",
        ),
        ("known_at: recorded_on", "known_at: empty", "column empty is empty for every outcome"),
        ("column: defaulted", "column: empty", "column empty holds no outcome in the label source's 168 rows"),
        ("path: data/outcomes.csv", "path: data/o.csv", "correct ingest.label.source.path or put the data there"),
    ],
)
def test_check_says_what_is_wrong_with_the_label_source(small, old, new, said):
    small.put(small.outcomes.assign(region="north", empty=np.nan))
    (small.configs / "loans.yaml").write_text(loans.CONFIG.replace(old, new))
    found = check("loans", small.home).problems
    assert len(found) == 1
    assert said in found[0]


def fed(book: Book, weeks: int) -> tuple[Home, list[int]]:
    """Hand out so many weeks, landing each; how many labels lie in each week's file."""
    given = []
    for week in range(weeks):
        live = Home(Settings(home=book.home.root, configs=feed_next(book.model).configs))
        ingest(Model(load_model(live.configs, "loans"), live), streams.week(week + 1))
        file = book.home.root / "feed" / "loans-labels" / f"{window(week).start:%Y-%m-%d}.parquet"
        given.append(len(pd.read_parquet(file)))
        live.close()
    return Home(Settings(home=book.home.root, configs=live.configs)), given


DELAYED = loans.CONFIG.replace("known_at: recorded_on", "known_after: 30 days")


@pytest.mark.parametrize("config", [loans.CONFIG, DELAYED])
def test_a_feed_hands_out_labels_as_they_become_known(tmp_path, config):
    book = Book(tmp_path, *loans.book(8, per_day=3), config)
    live, given = fed(book, 8)
    at = [len(loans.known_by(book.outcomes, week)) for week in range(9)]
    assert given == np.diff(at).tolist()
    assert sum(given) == at[-1] > 0
    landed = [len(book.labels(week)) for week in range(8)]
    assert landed == [21, 21, 21, 16, 0, 0, 0, 0]  # the last is known just at the end
    with pytest.raises(NoData):
        feed_next(book.model)
    live.close()
    book.home.close()


def test_a_replay_lands_the_labels_of_the_label_source(small):
    span = Window(streams.week(0), streams.week(6))
    sandbox = Sandbox(small.home.settings, small.folder / "replay", span)
    assert sandbox.lay_out(small.config) == [streams.week(w) for w in range(1, 7)]
    there = sandbox.opened(sandbox.place(small.config))
    found = Model(small.config, there).batches(streams.week(99))
    assert [b.labels.rows for b in found] == [21] * 6
    labels = there.store.read(found[-1].labels)
    assert (labels["known_at"] - labels["event_time"]).unique().tolist() == [pd.Timedelta(days=loans.DELAY)]
    there.close()


WITH_HISTORY = loans.CONFIG.replace(
    "  categorical: [purpose, region]",
    "  categorical: [purpose, region]\n  history: [{name: bad, by: [region], windows: [7 days]}]",
)


def test_history_reads_only_batches_with_labels_that_became_known_within_its_windows(tmp_path):
    book = Book(tmp_path, *loans.book(12, per_day=3), WITH_HISTORY)
    book.ingest(12)
    for batch in book.model.batches(streams.week(12)):
        steps.validate(book.model, batch, streams.week(12))
    usable, of = book.model.usable_batches(streams.week(12)), book.config.features
    read = features.past_of(book.config, usable, usable[9].window, of)
    weeks = [(b.window.start - streams.START).days // 7 for b in read]
    assert weeks == [3, 4, 5, 9]  # the labels come after 30 days; the windows reach back 7 days
    rows = book.home.store.effective(usable[9].rows)
    near, all_past = (
        feature_frame(rows, features.outcomes_of(of.history, book.home, p), of) for p in (read, usable[:10])
    )
    assert near["bad_region_7d_n"].sum() > 0
    pd.testing.assert_frame_equal(near, all_past)
    for batch in usable:
        del batch.labels.facts["known"]  # landed before this was recorded
    assert features.past_of(book.config, usable, usable[9].window, of) == usable[:10]
    book.home.close()
