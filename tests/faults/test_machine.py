"""Whatever is done in whatever order, and wherever it is killed, the invariants hold after each step.

Each step is a process of its own on a real home. `FAULT_EXAMPLES` and `FAULT_STEPS` ask for more than the
suite has time for.
"""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests import streams
from tests.faults.homes import WEEKS, Homes, copied
from tests.faults.invariants import acknowledged, require_nothing_lost, require_settled, require_sound
from tests.forked import Killed, forked
from tests.story import Story
from trueup.audit.verify import verify
from trueup.crash import POINTS
from trueup.domain.events import ModelDecayed
from trueup.domain.learning.training_windows import Hold
from trueup.errors import StaleDecision, UntrustedModel, UsageError
from trueup.governance.rollback import override, roll_back
from trueup.ledger.entries import Event
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile

pytestmark = pytest.mark.thorough

EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "3"))
STEPS = int(os.environ.get("FAULT_STEPS", "10"))
NUMBERS = count()


def ingest(story: Story, week: int):
    turn.cycle(steps, story.model, streams.week(week), retrain="never")


def train(story: Story, week: int):
    """As a process that ended between training and registering."""
    moment = streams.week(week)
    with story.home.retraining("toy"):
        chosen = steps.plan(story.model, moment)
        return None if isinstance(chosen, Hold) else steps.train(story.model, chosen, moment)


def register(story: Story, _week: int, trained):
    """As one that ended between registering and deciding; again it gives the same version."""
    first = steps.register(story.model, trained)
    assert steps.register(story.model, trained) == first


def promote(story: Story, week: int):
    """Train, judge and decide."""
    turn.challenge(steps, story.model, streams.week(week), "manual")


def back(story: Story, week: int):
    roll_back(story.model, None, "Ann", f"complaints in week {week}")


def by_hand(story: Story, week: int, version: int):
    override(story.model, version, "Ann", f"we knew better in week {week}")


def duplicate(story: Story, week: int):
    """The same event twice, raised and answered: one message, one decision."""
    moment = streams.week(week)
    event = Event.of(
        ModelDecayed(model="toy", as_of=moment, batch="a/b", revision=1, reasons=["worse"], reason="decayed"), f"{week}"
    )
    story.home.ledger.announce("toy", [event])
    assert story.home.ledger.announce("toy", [event]) == 0
    first = turn.challenge(steps, story.model, moment, "decayed")
    entries = len(story.home.ledger.entries())
    again = turn.challenge(steps, story.model, moment, "decayed")
    assert again.outcome in {first.outcome, "refused"}
    assert len(story.home.ledger.entries()) - entries in ({0} if first.outcome != "held" else {0, 1})


def tamper(story: Story, _week: int):
    """One bit of the champion's model, and put back: nobody loads it meanwhile, and it is said whose it is."""
    current = story.model.champion()
    with story.home.registry.files(current.uri) as folder:
        file = folder / "model.skops"
        kept = file.read_bytes()
        file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        try:
            with pytest.raises(UntrustedModel):
                current.load(story.home)
            assert any(
                f"names version {current.version}" in p.what for p in verify({"toy": story.config}, story.home).problems
            )
        finally:
            file.write_bytes(kept)


def move_alias(story: Story, _week: int):
    """MLflow's alias, behind the ledger's back."""
    versions = [v.version for v in story.home.registry.versions("toy")]
    story.home.tracking.client.set_registered_model_alias("toy", "champion", str(versions[0]))
    require_sound(story.model)


def attempted(work, story: Story, *args):
    """Do it, or be refused with a reason; then look at the invariants."""
    try:
        found = work(story, *args)
    except (UsageError, StaleDecision):
        found = None
    return found, looked(story)


def looked(story: Story):
    require_sound(story.model)
    return acknowledged(story.home, WEEKS)


def settled(story: Story):
    """The next start puts right what is left, and once more changes nothing."""
    reconcile(story.model)
    require_settled(story.model)
    entries = [e.hash for e in story.home.ledger.entries()]
    assert reconcile(story.model).alias is None
    assert [e.hash for e in story.home.ledger.entries()] == entries


class Life(RuleBasedStateMachine):
    """A home, and all that happens to it."""

    def __init__(self, homes: Homes, folder: Path) -> None:
        super().__init__()
        self.story = copied(homes.five, folder / f"life {next(NUMBERS)}")
        self.week, self.trained = 5, []
        self.known = forked(looked, self.story)

    def do(self, work, *args, crash_at=None):
        try:
            found, known = forked(attempted, work, self.story, self.week, *args, crash_at=crash_at)
        except Killed:
            assert crash_at is not None
            found, known = None, forked(looked, self.story)
        require_nothing_lost(self.known, known)
        self.known = known
        return found

    @precondition(lambda self: self.week < WEEKS)
    @rule()
    def ingest(self):
        self.week += 1
        self.do(ingest)

    @precondition(lambda self: self.week > 6)
    @rule()
    def train(self):
        if (trained := self.do(train)) is not None:
            self.trained.append(trained)

    @precondition(lambda self: self.trained)
    @rule()
    def register(self):
        self.do(register, self.trained.pop())

    @rule()
    def promote(self):
        self.do(promote)

    @rule()
    def rollback(self):
        self.do(back)

    @rule(version=st.integers(1, 4))
    def override(self, version):
        self.do(by_hand, version)

    @rule()
    def duplicate_event(self):
        self.do(duplicate)

    @rule()
    def tamper(self):
        self.do(tamper)

    @rule()
    def move_alias(self):
        self.do(move_alias)

    @rule(point=st.sampled_from(sorted(POINTS)))
    def crash(self, point):
        """Kill whatever reaches the point; then the same again."""
        stage = point.split(".")[0]
        if stage in {"file", "ingest", "score", "run"}:
            if self.week == WEEKS:
                return
            self.week += 1
            work = ingest
        else:
            work = back if stage == "alias" else promote
        self.do(work, crash_at=point)
        self.do(work)

    @rule()
    def reconcile(self):
        forked(settled, self.story)

    def teardown(self):
        forked(settled, self.story)
        self.do(promote)
        shutil.rmtree(self.story.folder)


def test_the_invariants_hold_after_any_step(homes, tmp_path):
    run_state_machine_as_test(
        lambda: Life(homes, tmp_path),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],  # to find a shorter way to a failure would take hours
            suppress_health_check=list(HealthCheck),
        ),
    )
