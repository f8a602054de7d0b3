"""A person decides about a challenger that passed: once, in time, and about the champion it was judged against."""

import json
import os
import signal
from datetime import timedelta

import pytest

from tests import streams
from tests.forked import Killed, Started, command, forked
from tests.story import PLAIN, Story, stream
from trueup.adapters.mlflow.models import Registry
from trueup.errors import AlreadyDecided, StaleDecision, UsageError
from trueup.governance import approval
from trueup.governance.rollback import override
from trueup.governance.status import overview
from trueup.loop import steps, turn

APPROVAL = PLAIN.replace("promote:\n", "promote:\n  mode: approval\n")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Five weeks: a first challenger that passed and waits. The relation changes with the fifth week."""
    told = Story(tmp_path_factory.mktemp("approval"), stream(10 * 7, change_on=5 * 7, per_day=120), APPROVAL)
    told.done = told.turn(5)
    return told


@pytest.fixture
def waiting(first, tmp_path):
    """A copy of it to go on with."""
    other = first.branch(tmp_path)
    other.done = first.done
    return other


def entry_of(story):
    """The one open approval."""
    (entry,) = approval.open_approvals(story.model)
    return entry


def approve(story, by="Ann", entry=None):
    return approval.approve(story.model, entry or entry_of(story), by, "looked at the slices")


def reject(story, by="Ann", entry=None):
    return approval.reject(story.model, entry or entry_of(story), by, "too close to the holidays")


def kinds(story):
    return [e.kind for e in story.home.ledger.entries("toy")]


def test_a_challenger_that_passed_waits_with_all_its_evidence(first):
    assert first.done.decided.outcome == "pending", first.done.decided.reasons
    assert first.model.champion() is None
    assert first.home.registry.champion_alias("toy") is None
    entry = entry_of(first)
    assert entry.body.model.version == first.done.decided.version
    assert entry.body.model.manifest_digest
    assert entry.body.evaluation.metrics["challenger"]
    assert entry.body.verdicts
    assert entry.body.approval.expected_epoch == 0
    (event,) = first.home.ledger.pending_outbox()
    assert event.topic == "trueup.model.approval_requested"
    (told,) = overview(first.model).approvals
    assert (told.id, told.version) == (entry.seq, first.done.decided.version)


def test_approving_promotes_with_a_name_and_the_next_run_serves(waiting):
    entry = entry_of(waiting)
    done = approve(waiting)
    assert (done.outcome, done.version) == ("promoted", entry.body.model.version)
    recorded = waiting.home.ledger.entry(done.sequence)
    assert recorded.body.approver.name == "Ann"
    assert recorded.body.approval.pending == entry.seq
    assert waiting.model.champion().version == done.version
    assert waiting.model.champion_at(recorded.as_of).version == done.version
    assert waiting.home.registry.champion_alias("toy") == done.version
    assert approval.open_approvals(waiting.model) == []
    assert [m.topic for m in waiting.home.ledger.pending_outbox()][-1] == "trueup.model.promoted"
    assert turn.retrain(steps, waiting.model, streams.week(5), "first") == done
    assert waiting.turn(6).scored[-1].version == done.version
    assert waiting.home.ledger.verify() == []


def test_deciding_again_gives_the_record_or_names_it(waiting):
    entry = entry_of(waiting)
    done = approve(waiting)
    assert approve(waiting, entry=entry) == done
    for other in (lambda: approve(waiting, "Bob", entry), lambda: reject(waiting, entry=entry)):
        with pytest.raises(AlreadyDecided, match=f"ledger entry {done.sequence}, promoted.*approved by Ann"):
            other()
    assert kinds(waiting) == ["pending", "promoted"]


def test_a_rejection_keeps_the_champion_and_says_why(waiting):
    done = reject(waiting)
    assert done.outcome == "rejected"
    assert done.reasons == ("rejected by Ann: too close to the holidays",)
    assert waiting.model.champion() is None
    assert overview(waiting.model).approvals == []


@pytest.mark.parametrize(("by", "why"), [("", "because"), ("  ", "because"), ("Ann", " ")])
def test_a_decision_needs_a_name_and_a_refusal_a_reason(waiting, by, why):
    with pytest.raises(UsageError):
        approval.reject(waiting.model, entry_of(waiting), by, why)
    assert kinds(waiting) == ["pending"]


def test_an_approval_that_nobody_gave_expires_by_the_wall_clock_and_a_look_changes_nothing(waiting):
    entry, moment = entry_of(waiting), waiting.home.now
    waiting.home.now = lambda: moment() + timedelta(days=2.9)
    assert overview(waiting.model).approvals
    waiting.home.now = lambda: moment() + timedelta(days=3.1)
    assert overview(waiting.model).approvals == []
    assert kinds(waiting) == ["pending"]
    approval.upkeep(waiting.model)  # what every run does first
    closing = approval.resolution(waiting.home, entry)
    assert closing.kind == "held"
    assert "approval expired: nobody decided within 3 days" in closing.body.reasons
    with pytest.raises(AlreadyDecided, match="expired"):
        approve(waiting, entry=entry)
    assert kinds(waiting) == ["pending", "held"]


def test_what_nobody_decided_about_can_be_judged_and_proposed_again(waiting):
    entry, moment = entry_of(waiting), waiting.home.now
    waiting.home.now = lambda: moment() + timedelta(days=3.1)
    again = turn.retrain(steps, waiting.model, entry.as_of, "first")
    assert (again.outcome, kinds(waiting)) == ("pending", ["pending", "held", "pending"])
    assert turn.retrain(steps, waiting.model, entry.as_of, "first") == again
    assert approve(waiting).version == again.version
    assert turn.retrain(steps, waiting.model, entry.as_of, "first").outcome == "promoted"


def test_what_was_judged_against_another_champion_is_refused_as_stale(waiting):
    entry = entry_of(waiting)
    judged = entry.body.judged.version
    override(waiting.model, judged, "Bob", "cannot wait")
    with pytest.raises(StaleDecision, match="the champion changed"):
        approve(waiting, entry=entry)
    assert waiting.model.champion().version == judged
    assert approval.resolution(waiting.home, entry).body.approval.closed == "stale"
    assert kinds(waiting) == ["pending", "override", "held"]


def test_a_newer_challenger_that_passed_takes_the_place_of_an_older_one(waiting):
    approve(waiting)
    seen = [waiting.turn(week).decided for week in (7, 8, 9, 10)]
    proposed = [d for d in seen if d.outcome == "pending"]
    assert len(proposed) >= 2, [(d.outcome, d.reasons) for d in seen]
    old, new = (waiting.home.ledger.entry(d.sequence) for d in proposed[-2:])
    assert entry_of(waiting) == new
    closing = approval.resolution(waiting.home, old)
    assert closing.body.approval.closed == "superseded"
    with pytest.raises(AlreadyDecided, match=f"superseded: version {new.body.model.version} passed later"):
        approve(waiting, entry=old)
    assert approve(waiting).version == new.body.model.version
    assert waiting.home.ledger.verify() == []


def test_of_two_who_decide_at_once_one_wins_and_the_other_is_told(waiting):
    seq = str(entry_of(waiting).seq)
    waiting.home.close()
    words = [("approve", seq, "--by", name, "--json") for name in ("Ann", "Bob")]
    words.append(("reject", seq, "--by", "Cid", "--why", "no", "--json"))
    people = [Started(command, waiting.folder, *each) for each in words]
    said = [person.result() for person in people]
    assert sorted(answer.code for answer in said) == [0, 1, 1], said
    waiting.open()
    assert kinds(waiting) in (["pending", "promoted"], ["pending", "rejected"])
    (won,) = [json.loads(answer.out) for answer in said if answer.code == 0]
    assert won["sequence"] == 2
    for answer in said:
        assert answer.code == 0 or "decided already (ledger entry 2" in answer.err
        assert "Traceback" not in answer.err
    assert waiting.home.ledger.verify() == []


def dying(folder, *words):
    """Say a command that is killed when it writes the alias."""
    Registry.set_champion_alias = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return command(folder, *words)


@pytest.mark.parametrize("look", ["status", "run", "again"])
def test_a_crash_between_ledger_and_alias_is_set_right_by_the_next_run(waiting, look):
    entry = entry_of(waiting)
    waiting.home.close()
    with pytest.raises(Killed):
        forked(dying, waiting.folder, "approve", str(entry.seq), "--by", "Ann")
    waiting.open()
    version = waiting.model.champion().version
    assert version == entry.body.model.version
    assert waiting.home.registry.champion_alias("toy") is None
    if look == "status":
        assert overview(waiting.model).alias_agrees is False  # told, and left to who writes
        approval.upkeep(waiting.model)
    elif look == "run":
        waiting.turn(5)
    else:
        assert approve(waiting, entry=entry).outcome == "promoted"
    assert waiting.home.registry.champion_alias("toy") == version
    assert kinds(waiting) == ["pending", "promoted"]
