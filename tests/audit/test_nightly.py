"""`trueup audit`: what a nightly job finds, all at once, and what it says that it could not check."""

import json
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import streams
from tests.advisories import NOBODY, serving
from tests.story import PLAIN, Story, stream
from trueup.audit import packages
from trueup.audit.finding import Finding, Unchecked
from trueup.audit.nightly import Audited, audit, in_markdown
from trueup.governance import approval
from trueup.ledger.entries import Decision
from trueup.ledger.record import Record

CONFIG = PLAIN.replace("promote:\n", "promote:\n  mode: approval\n") + "retrain: {every: 7 days}\n"


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A challenger that waits for a person."""
    told = Story(tmp_path_factory.mktemp("audit"), stream(6 * 7, per_day=60), CONFIG)
    assert told.turn(5).decided.outcome == "pending"
    return told


@pytest.fixture
def story(grown, tmp_path):
    return grown.branch(tmp_path / "audit")


@pytest.fixture
def approved(story):
    """A home with a champion."""
    (entry,) = approval.open_approvals(story.model)
    approval.approve(story.model, entry, "Ann")
    return story


@pytest.fixture
def packages_apart(monkeypatch):
    """Packages take most of the time, and have tests of their own below."""
    monkeypatch.setattr(packages, "holes", lambda *_: [])


def audited(story):
    return audit(story.home, story.folder, NOBODY)


def found(story, check):
    return [finding for finding in audited(story).findings if finding.check == check]


@pytest.mark.usefixtures("packages_apart")
def test_a_sound_home_has_no_finding(approved):
    done = audited(approved)
    assert done.findings == ()
    assert [each.check for each in done.unchecked] == ["lock"]
    assert (done.models, done.entries) == (1, 2)


@pytest.mark.usefixtures("packages_apart")
def test_an_approval_that_waits_or_expired_is_found(story):
    (waits,) = found(story, "approvals")
    assert waits.step.startswith("trueup approve 1 --by NAME")
    story.later(days=4)
    (late,) = found(story, "approvals")
    assert "is too late: approval expired" in late.what
    approval.settle(story.model)
    (expired,) = found(story, "approvals")
    assert "expired (entry 2 of " in expired.what
    assert expired.step == "trueup retrain toy"


@pytest.mark.usefixtures("packages_apart")
def test_a_model_that_is_no_longer_retrained_is_found(approved):
    approved.later(days=13)
    assert not found(approved, "retrains")
    approved.later(days=15)
    (overdue,) = found(approved, "retrains")
    assert "it should be every 7 days" in overdue.what
    file = approved.configs / "toy.yaml"
    file.write_text(file.read_text().replace("{every: 7 days}", "{every: 7 days, overdue_after: 1 month}"))
    assert not found(approved, "retrains")
    approved.later(days=32)
    assert "retrain.overdue_after is 1 month" in found(approved, "retrains")[0].what
    file.write_text(file.read_text().replace("retrain: {every: 7 days, overdue_after: 1 month}", ""))
    assert not found(approved, "retrains")
    assert "retrains" in {each.check for each in audited(approved).unchecked}


@pytest.mark.usefixtures("packages_apart")
def test_a_model_whose_retrains_stopped_after_rejections_is_found(approved):
    refused = Record(outcome="refused", reasons=["3 challengers in a row failed"], rule="rejections", verdicts=[])
    approved.home.ledger.append(Decision("toy:refused:1", "toy", "refused", streams.week(6), refused))
    (stopped,) = found(approved, "retrains")
    assert (stopped.what, stopped.step) == ("3 challengers in a row failed (entry 3)", "trueup clear toy --by NAME")
    cleared = Record(outcome="cleared", reasons=["Ann cleared them"], verdicts=[])
    approved.home.ledger.append(Decision("toy:cleared:1", "toy", "cleared", streams.week(6), cleared))
    assert not found(approved, "retrains")


@pytest.mark.usefixtures("packages_apart")
def test_all_that_is_wrong_is_listed_at_once(approved):
    champion = approved.model.champion()
    with approved.home.registry.files(champion.uri) as folder:
        there = folder / "model.skops"
        before = there.read_bytes()
        there.write_bytes(b"another")
    (approved.configs / "other.yaml").write_text("model: other\n")
    approved.later(days=100)
    (approved.folder / "requirements.lock").write_text(f"numpy==0.1\nscipy=={version('scipy')}\n")
    try:
        done = audited(approved)
    finally:
        there.write_bytes(before)
    assert {finding.check for finding in done.findings} == {"config", "ledger and files", "lock", "retrains"}
    assert all(finding.step for finding in done.findings)
    (files,) = [f for f in done.findings if f.check == "ledger and files"]
    assert "its files are not right" in files.what


@pytest.mark.slow
def test_the_command_says_what_it_could_not_check_and_ends_with_1_for_a_finding(story, command_line, monkeypatch):
    trueup = command_line(story.folder)
    monkeypatch.chdir(story.folder)
    done = trueup("audit", "--advisories", NOBODY, "--markdown", "audit.md", "--json")
    assert done.code == 1
    said = json.loads(done.out.splitlines()[-1])
    assert [finding["check"] for finding in said["findings"]] == ["approvals"]
    assert "known holes" in {each["check"] for each in said["unchecked"]}
    text = (story.folder / "audit.md").read_text()
    assert text.startswith("# trueup audit: 1 finding, 3 not checked\n")
    assert "cannot be reached" in text


@pytest.mark.thorough
def test_a_hole_in_an_installed_package_is_found_unless_it_is_accepted(tmp_path, monkeypatch):
    from datetime import date

    monkeypatch.setattr(packages, "installed", lambda: {"jinja2": "3.1.5", "rich": "14.0.0"})
    project = tmp_path / "pyproject.toml"
    with serving("jinja2", "3.1.5", fixed_in="3.1.6") as service:
        (hole,) = packages.holes(tmp_path, service, date(2026, 11, 30))
        assert isinstance(hole, Finding)
        assert "jinja2 3.1.5: GHSA-zzzz" in hole.what
        project.write_text(
            '[[tool.trueup.accepted-holes]]\npackage = "jinja2"\nid = "GHSA-zzzz"\nuntil = 2026-12-31\nreason = "x"\n'
        )
        assert packages.holes(tmp_path, service, date(2026, 11, 30)) == []
        assert len(packages.holes(tmp_path, service, date(2027, 1, 1))) == 1
        project.write_text("[")
        (unchecked,) = packages.holes(tmp_path, service, date(2026, 11, 30))
    assert isinstance(unchecked, Unchecked)


def test_the_lock_is_compared_with_what_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "installed", lambda: {"a-b": "1.0", "c": "2", "extra": "3", "pip": "9"})
    (unchecked,) = packages.drift(tmp_path)
    assert "requirements.lock does not exist" in unchecked.why
    lock = "# a comment\nA_b[x]==1.0 \\\n    --hash=sha256:00\nc==1 ; python_version < '3'\nc==2; python_version >= '3'\nd==5\n-e .\n"
    (tmp_path / "requirements.lock").write_text(lock)
    (more,) = packages.drift(tmp_path)
    assert more.what == "not in requirements.lock, but installed: extra"
    (tmp_path / "requirements.lock").write_text("A.b==1.1\nc==2\nextra==3\n")
    (other,) = packages.drift(tmp_path)
    assert "a-b 1.0 (locked 1.1)" in other.what


@given(what=st.text(), step=st.text(), name=st.sampled_from(["", "prod"]))
def test_no_text_of_a_finding_leaves_its_block(what, step, name):
    """Outside of fenced blocks there are only words of our own, so that nothing is read as markup, link or mention."""
    done = Audited((Finding("lock", what, step),), (Unchecked("retrains", what),), 1, 1, 1)
    lines, fence, outside = in_markdown(done, name).split("\n"), "", []
    for line in lines:
        if not fence and line.startswith("```"):
            fence = line.removesuffix("text")
        elif fence and line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert not fence
    where = f" in {name}" if name else ""
    assert [line for line in outside if line] == [
        f"# trueup audit{where}: 1 finding, 1 not checked",
        "## lock",
        "## not checked",
        "Checked: 1 ledger entries, 1 models, 1 packages.",
    ]
