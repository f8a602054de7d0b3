"""Rollback and override: which version is champion afterwards, what it can still do, and what is refused."""

import contextlib
import json
import multiprocessing
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import streams
from tests.story import PLAIN, NoReports, Story, stream
from trueup.adapters.sql.engines import connect, initialise
from trueup.config.load import load_model
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.recipe import Recipe
from trueup.domain.monitoring.diagnosis import Skill
from trueup.domain.types import Actor, Verdict, Window
from trueup.errors import AlreadyDecided, StaleDecision, UntrustedModel, UsageError
from trueup.governance import approval
from trueup.governance.alias import align
from trueup.governance.rollback import last_good, override, roll_back
from trueup.governance.status import overview, standing_at
from trueup.handoffs import Attempt, Candidate, Evaluation, Trained, Weighed
from trueup.home import Home
from trueup.ledger.entries import Decision, Promotion
from trueup.ledger.ledger import Ledger
from trueup.ledger.tables import METADATA
from trueup.loop import steps, turn
from trueup.model import Model
from trueup.stages import promote


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two champions, one after the other, and two weeks of data still to come."""
    told = Story(tmp_path_factory.mktemp("rollback"), stream(10 * 7, change_on=5 * 7, per_day=120))
    told.turn(5)
    told.turn(8)
    told.first, told.second = (c.version for c in told.model.succession())
    return told


@pytest.fixture
def story(two, tmp_path):
    other = two.branch(tmp_path)
    other.first, other.second = two.first, two.second
    return other


def back(story, to=None, by="Ann", why="complaints"):
    return roll_back(story.model, to, by, why)


def by_hand(story, version, by="Ann", why="we know better"):
    return override(story.model, version, by, why)


def test_a_batch_that_another_had_served_tells_nothing_of_who_came_since(story):
    """The champion changes between the score of a batch and the look at it, as when a retrain ends just then."""
    changing = SimpleNamespace(**{name: getattr(steps, name) for name in dir(steps) if not name.startswith("_")})

    def score(*asked):
        done = steps.score(*asked)
        back(story)
        return done

    changing.score = score
    turn.cycle(changing, story.model, streams.week(9))
    (look,) = story.home.store.results("toy", "monitor", dict, Window(streams.week(8), streams.week(9)))
    assert (look.body["champion"], look.body["matured"], look.body["diagnosis"]) == (story.first, 0, "unknown")
    assert look.body["of_others"] > 500
    told = (
        f"0 matured labels; monitor.min_matured is 60 ({look.body['of_others']} more are of predictions that an earlier"
    )
    assert told in look.body["reasons"][0].replace(str(story.config.monitor.min_matured), "60")


def test_asked_again_later_it_touches_nobody_who_came_since(story):
    """As by a flow run that is begun again after its process died, when others have decided meanwhile."""
    asked = story.home.now()

    def again(why="complaints"):
        return roll_back(story.model, None, "Ann", why, asked_at=asked)

    done = again()
    assert (done.version, again()) == (story.first, done)
    by_hand(story, story.second)
    assert again() == done  # it is done, and said again; the champion that came since stays
    with pytest.raises(StaleDecision, match="became the champion after this rollback was requested"):
        again(why="another reason")
    assert story.model.champion().version == story.second
    asked = story.home.now()
    assert again().version == story.first  # asked for anew, in the same words


def test_a_rollback_puts_the_last_good_champion_back_at_once_and_the_loop_goes_on(story):
    before = story.model.champion()
    started = time.monotonic()
    done = back(story)
    assert time.monotonic() - started < 5
    assert (done.outcome, done.version) == ("rolled_back", story.first)
    now = story.model.champion()
    assert (now.version, now.epoch) == (story.first, before.epoch + 1)
    assert story.home.registry.champion_alias("toy") == story.first
    assert story.model.champion_at(now.promoted_as_of).version == story.first
    old = story.model.first_champion()
    assert (now.uri, now.trained_until, now.baseline_path) == (old.uri, old.trained_until, old.baseline_path)
    assert (now.evaluation_path, now.gate_skill) == (old.evaluation_path, old.gate_skill)
    (event,) = story.home.ledger.pending_outbox()[-1:]
    assert (event.topic, event.payload["version"]) == ("trueup.model.rolled_back", story.first)
    cycle = story.turn(9)
    assert cycle.scored[-1].version == story.first
    assert cycle.observed[-1].figures.drift is not None
    assert cycle.observed[-1].figures.skill is not None
    assert story.home.ledger.verify() == []


def test_what_served_at_a_moment_and_why_is_told_from_the_ledger(story):
    def told(moment):
        return standing_at(story.model, moment)

    one, two = story.model.succession()
    assert told(streams.week(1)).champion is None
    for term, until in ((one, two.promoted_as_of), (two, None)):
        found = told(term.promoted_as_of)
        assert (found.champion, found.manifest_digest) == (term.version, term.manifest_digest)
        assert (found.epoch, found.since, found.until) == (term.epoch, term.promoted_as_of, until)
        assert found.trained.trained_until == term.trained_until
        assert found.judged_on.end <= term.promoted_as_of
        assert found.approver is None
    assert told(two.promoted_as_of - timedelta(microseconds=1)).champion == one.version
    back(story)
    found = told(two.promoted_as_of)  # where the data's clock stands still: who came last is who serves
    assert (found.champion, found.epoch) == (one.version, two.epoch + 1)
    assert found.approver.name == "Ann"
    assert found.decision.reasons == ("rolled back by Ann: complaints",)


def test_the_same_rollback_again_goes_no_further(story):
    done = back(story)
    assert back(story) == done
    with pytest.raises(UsageError, match="no earlier champion"):
        back(story, why="still complaints")
    with pytest.raises(UsageError, match="is the champion already"):
        back(story, to=story.first, why="still complaints")


def test_one_that_was_rolled_back_is_good_again_once_somebody_says_so(story):
    back(story)
    assert last_good(story.model) is None
    assert by_hand(story, story.second).outcome == "override"
    assert story.model.champion().version == story.second
    assert last_good(story.model) == story.first


def test_a_version_that_never_served_can_be_made_champion_with_its_own_files(story):
    entry = story.home.ledger.champion("toy").entry
    judged = entry.body.judged
    assert judged.version != story.second  # the refitted one serves
    by_hand(story, judged.version)
    now = story.model.champion()
    assert (now.version, now.manifest_digest) == (judged.version, judged.manifest_digest)
    assert story.turn(9).scored[-1].version == judged.version


def test_who_is_unknown_nameless_or_without_a_reason_changes_nothing(story):
    entries = len(story.home.ledger.entries())
    with pytest.raises(UsageError, match=r"no record of version 99 \(registered: 1, "):
        by_hand(story, 99)
    with pytest.raises(UsageError, match="--by"):
        back(story, by=" ")
    with pytest.raises(UsageError, match="--why"):
        back(story, why="")
    assert len(story.home.ledger.entries()) == entries


def test_files_that_changed_since_are_not_made_champion(two):
    old = two.model.first_champion()
    with two.home.registry.files(old.uri) as folder:
        (file,) = Path(folder).rglob("model.skops")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(UntrustedModel):
            back(two)
    finally:
        file.write_bytes(whole)
    assert two.model.champion().version == two.second


def test_a_promotion_judged_before_a_rollback_is_stale(story, monkeypatch):
    """The champion changes while a challenger is judged: its promotion must not undo the rollback."""
    real = promote.judge

    def meanwhile(*words):
        back(story)
        return [Verdict.passed("paired", "better")] if real(*words) else []

    monkeypatch.setattr("trueup.loop.steps.judge", meanwhile)
    with pytest.raises(StaleDecision, match="the champion changed"):
        turn.retrain(steps, story.model, streams.week(10), "manual")
    assert story.model.champion().version == story.first


def _align(settings, holding, go_on=None):
    """Write the alias in a process of its own; with `go_on` only once it is set, after the ledger was read."""
    home = Home(settings)
    if go_on is not None:
        write = home.registry.set_champion_alias

        def slowly(*words):
            holding.set()
            assert go_on.wait(120)
            write(*words)

        home.registry.set_champion_alias = slowly
    else:
        holding.set()
    align(Model(load_model(home.configs, "toy"), home))


def test_of_two_that_write_the_alias_at_once_the_last_to_write_has_read_the_newest_decision(story):
    """One has read the ledger and is slow to write; meanwhile another champion comes, and is written by another."""
    story.home.registry.set_champion_alias("toy", story.first)
    # Spawned, not forked: a fork inherits what other tests of this process have begun.
    context, home = multiprocessing.get_context("spawn"), story.home.settings
    row = story.home.ledger.champion("toy")
    story.home.close()
    reading, go_on, begun = context.Event(), context.Event(), context.Event()
    slow = context.Process(target=_align, args=(home, reading, go_on))
    slow.start()
    assert reading.wait(120)
    story.open()
    body = row.entry.body.model_copy(update={"promotion": None})
    story.home.ledger.append(
        Decision("by hand", "toy", "override", row.entry.as_of, body, Promotion(story.first, "0" * 64, row.epoch))
    )
    story.home.close()
    quick = context.Process(target=_align, args=(home, begun))
    quick.start()
    assert begun.wait(120)
    quick.join(2)  # it waits for the slow one; without the lock it would be done, and overwritten
    go_on.set()
    for process in (slow, quick):
        process.join(60)
        assert process.exitcode == 0
    story.open()
    assert story.home.ledger.champion("toy").version == story.first
    assert story.home.registry.champion_alias("toy") == story.first


def test_the_command_line_rolls_back_promotes_and_says_what_is_wrong(story, command_line):
    say = command_line(story.folder)
    done = say("rollback", "toy", "--by", "Ann", "--why", "complaints", "--json")
    assert json.loads(done.out.splitlines()[-1])["version"] == story.first, done.err
    done = say("promote", "toy", str(story.second), "--by", "Ann", "--why", "a mistake")
    assert "decision: override" in done.out
    assert say("promote", "toy", "99", "--by", "Ann", "--why", "a mistake").code == 2
    assert say("approve", "99", "--by", "Ann").code == 2
    assert say("rollback", "toy").code == 2
    assert overview(story.model).champion == story.second
    first = story.model.first_champion()
    done = say("status", "toy", "--at", first.promoted_as_of.isoformat())
    assert f"version {story.first} served" in done.out, done.err
    assert "(first)" in done.out
    east = first.promoted_as_of.replace(tzinfo=timezone(timedelta(hours=9)))  # in the model's zone it is hours before
    assert "nothing served yet" in say("status", "toy", "--at", east.isoformat()).out


class Paper:
    """Registry and tracking that only remember the alias: what is looked at here is the ledger."""

    alias = None

    def alias_agrees(self, _name, version):
        return self.alias == version

    def set_champion_alias(self, _name, version):
        self.alias = version

    def load(self, *_):
        return None

    def versions(self, _name):
        return []

    def log(self, *_, **__):
        return None

    def finish(self, *_):
        return None


class Paperwork:
    """A ledger on which the stages decide about versions that were never trained."""

    def __init__(self, folder, config):
        self.engine = connect(f"sqlite:///{folder}/ledger.db")
        initialise(self.engine, METADATA)
        paper = Paper()
        store = SimpleNamespace(
            results=lambda *_: [],
            batches=lambda *_, **__: [],
            evaluation_digest=lambda _: None,
            put_text=lambda *_: "text",
        )
        self.clock = streams.START
        self.home = SimpleNamespace(
            ledger=Ledger(self.engine),
            registry=paper,
            tracking=paper,
            store=store,
            background=NoReports(),
            aligning=lambda _: contextlib.nullcontext(True),
            settings=None,
            root=folder,
            configs=folder,
            actor=Actor("process", "Ann", "ann", "a program"),
        )
        self.home.now = lambda: datetime.now(UTC)
        self.config, self.version = config, 0

    @property
    def model(self):
        return Model(self.config, self.home)

    def attempt(self, mode):
        """Promote or propose a new version, some time later."""
        self.version += 1
        self.clock += timedelta(days=1)
        rules = self.config.promote.model_copy(update={"mode": mode})
        train = self.config.train.model_copy(update={"seed": self.version})  # else it would be the same retrain
        config = self.config.model_copy(update={"promote": rules, "train": train})
        span = Window(streams.START, streams.week(1))
        digest = f"{self.version:064d}"
        trained = Trained(Recipe("linear", {}), span, span, span.end, 1, "d", f"/m/{self.version}", digest, "r", "b")
        current = self.model.champion()
        skill = Skill(0.1, 0.0, 0.2, 0.95, 1, 1, 0.45, 0.5)
        weighed = Weighed("e", span.start, span.end, 1, method={"family": "linear"})
        evaluation = Evaluation(
            "p",
            "s",
            FeatureSchema((), ()),
            1,
            [],
            None,
            {},
            [],
            skill,
            weighed,
            champion_epoch=current.epoch if current else 0,
        )
        judged = Candidate("toy", self.version, "r", trained.uri, digest, span.end, "judged")
        passed = (Verdict.passed("paired", "better"),)
        promote.promote(
            Model(config, self.home), Attempt("manual", self.clock, None, trained, evaluation, judged, passed)
        )


MOVES = st.sampled_from(["promote", "propose", "approve", "reject", "rollback", "rollback to", "override"])


@given(moves=st.lists(st.tuples(MOVES, st.integers(0, 5)), max_size=9))
def test_whatever_is_decided_the_champion_is_that_of_the_newest_epoch(moves, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledger")
    config = load_model(streams.write(folder, stream(7), PLAIN), "toy")
    paperwork = Paperwork(folder, config)
    home, expected, epochs = paperwork.home, None, 0
    for number, (move, which) in enumerate(moves):
        waiting, by, why = approval.open_approvals(Model(config, home)), f"person {number}", f"move {number}"
        before = len(Model(config, home).succession())
        known = 1 + which % max(paperwork.version, 1)
        with contextlib.suppress(UsageError, StaleDecision, AlreadyDecided):
            match move:
                case "promote" | "propose":
                    paperwork.attempt("auto" if move == "promote" else "approval")
                    expected = paperwork.version if move == "promote" else expected
                case "approve" if waiting:
                    expected = approval.approve(Model(config, home), waiting[0], by).version
                case "reject" if waiting:
                    approval.reject(Model(config, home), waiting[0], by, why)
                case "rollback" | "rollback to":
                    target = known if move == "rollback to" else last_good(Model(config, home))
                    done = roll_back(Model(config, home), known if move == "rollback to" else None, by, why)
                    assert done.version == target
                    expected = target
                case "override":
                    expected = override(Model(config, home), known, by, why).version
        terms = Model(config, home).succession()
        assert len(terms) - before in {0, 1}
        epochs = len(terms)
        current = Model(config, home).champion()
        assert (current.version if current else None) == expected
        assert [t.epoch for t in terms] == list(range(1, epochs + 1))
        if current is None:
            continue
        assert current == terms[-1] == Model(config, home).champion_at(max(t.promoted_as_of for t in terms))
        assert home.registry.alias == current.version
        assert current.uri == f"/m/{current.version}"
        assert current.manifest_digest == f"{current.version:064d}"
        for term in terms:
            then = [t for t in terms if t.promoted_as_of <= term.promoted_as_of]
            assert Model(config, home).champion_at(term.promoted_as_of) == then[-1]
    assert home.ledger.verify() == []
    paperwork.engine.dispose()
