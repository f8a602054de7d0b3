"""What a decision's record holds, that nobody agrees to what they asked for, and the dossier made of it all."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.adapters.background import NoReports
from trueup.audit.dossier import make
from trueup.audit.dossiers import dossier_page, dossiers_kept_current
from trueup.audit.rebuild_notes import last_rebuilt, note_rebuilt
from trueup.cli.main import app
from trueup.domain.data.digest import config_digest
from trueup.domain.judging.gates import rule
from trueup.domain.types import Actor
from trueup.errors import UsageError
from trueup.governance import approval
from trueup.governance.rollback import override
from trueup.loop import steps, turn
from trueup.model import Model

CANARY, VALUE = "<script>alert('use')</script>", "<img src=x onerror=alert(1)>"
CONFIG = (
    PLAIN.replace("promote:\n", "promote:\n  mode: approval\n  approval: {four_eyes: true}\n")
    .replace("value_set: [a, b, c]", f'value_set: [a, b, "{VALUE}"]')
    .replace("resamples: 300", "resamples: 300\n  min_slice_rows: 50")
    + f"""
governance:
  owner: "Ann & Bob"
  risk_tier: limited
  intended_use: "{CANARY}"
  limitations: ["Not for Sundays."]
"""
)
ANN = Actor("person", "Ann", "ann", "command line")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Five weeks: Ann asked for a first challenger, which passed and waits."""
    frame = stream(5 * 7, per_day=120)
    told = Story(tmp_path_factory.mktemp("dossier"), frame.replace({"group": {"c": VALUE}}), CONFIG)
    told.home.actor = ANN
    told.done = turn.retrain(steps, told.model, streams.week(5), "manual")
    assert told.done.outcome == "pending", told.done.reasons
    return told


@pytest.fixture
def story(first, tmp_path):
    other = first.branch(tmp_path)
    other.done = first.done
    other.home.actor = replace(ANN, name="Bob", account="bob")
    return other


def entry_of(story):
    return story.home.ledger.entry(story.done.sequence)


def approve(story, by):
    return approval.approve(story.model, entry_of(story), by, "looked at the slices")


def facts_of(story, version=None):
    made = make(story.model, version, bill=False)
    return json.loads(Path(made.data).read_text()), Path(made.page).read_text()


def test_a_record_says_who_asked_on_what_data_and_by_which_rules(first):
    body = entry_of(first).challenge
    assert (body.trigger.kind, body.actor.name) == ("request", "Ann")
    assert body.trigger.asked_at
    assert body.epoch.plain() == {"expected": 0, "resulting": 0}
    assert body.model.format == "skops"
    assert body.data.overlap.status == "pass"
    assert body.data.label.known_after == "1 day"
    for part in (body.data.training, body.data.gate, body.data.reference):
        assert part.rows > 0
        assert len(part.digest) == 64
    assert {b.status for b in body.validation.batches} == {"pass"}
    assert body.evaluation.digest == first.home.store.evaluation_digest(body.evaluation.path)
    assert {"git_commit", "git_dirty", "lock_digest", "environment_digest", "seed"} <= body.code.keys()
    assert body.governance.owner == "Ann & Bob"
    assert body.retention["decisions"] == "3650 days"
    assert len(body.policy_digest) == 64


def test_what_people_say_of_a_model_makes_no_retrain_a_new_one(first):
    other = first.config.model_copy(update={"governance": first.config.governance.model_copy(update={"owner": "Eve"})})
    assert config_digest(other) == config_digest(first.config)
    assert turn.retrain(steps, Model(other, first.home), streams.week(5), "manual") == first.done


@pytest.mark.parametrize("by", ["Ann", " ann "])
def test_who_asked_cannot_approve(story, by):
    with pytest.raises(UsageError, match=r"second pair of eyes.*Ann requested this retrain"):
        approve(story, by)
    assert [e.kind for e in story.home.ledger.entries("toy")] == ["pending"]


def test_nor_can_they_under_another_name_from_the_same_account(first, story):
    body = entry_of(first).body
    story.home.actor = replace(ANN, name="somebody", account="ann")
    assert body.actor.name == "Ann"
    with pytest.raises(UsageError, match="second pair of eyes"):
        approve(story, "Carl")


def test_an_override_needs_two_and_neither_is_who_asked_for_the_version(story):
    version = entry_of(story).body.judged.version
    for by, asked_by in (("Bob", ""), ("Bob", "bob"), ("Ann", "Carl")):
        with pytest.raises(UsageError, match="four_eyes"):
            override(story.model, version, by, "cannot wait", asked_by)
    done = override(story.model, version, "Bob", "cannot wait", "Carl")
    body = story.home.ledger.entry(done.sequence).body
    assert body.approver.four_eyes.plain() == {"demanded": True, "asked_by": "Carl", "differ": True}
    assert body.actor.name == "Carl"
    assert body.data.gate.rows > 0
    assert body.epoch.plain() == {"expected": 0, "resulting": 1}


def test_the_page_says_what_was_judged_what_a_check_asks_and_whether_it_was_rebuilt(story):
    approve(story, "Bob")
    facts, page = facts_of(story)
    assert facts["fitted"]["refitted"]
    judged = facts["fitted"]["judged_version"]
    assert f"Judged was version {judged}" in page
    assert f"Measured on version {judged}." in page
    assert "A first champion passes when its mean loss is below each of theirs" in page
    assert "It was not rebuilt here so far." in page
    assert "it not rebuilt here so far" in page or "Not with certainty" in page
    assert "Read from a source of kind files (path data/*.csv). Times are UTC" in page
    assert "It was not monitored as champion." in page
    assert f"trueup rollback {facts['model']}" in page
    note_rebuilt(story.home, "toy", facts["version"], "the same: predictions on 7 gate rows, to the last bit")
    _, page = facts_of(story)
    assert "the same: predictions on 7 gate rows, to the last bit" in page
    assert last_rebuilt(story.home, "toy", 99) is None


def test_a_pass_whose_interval_holds_0_says_that_nothing_is_shown():
    figures = {
        "loss": "log_loss",
        "min_gain": 0.003,
        "level": 0.4,
        "attempt": 1,
        "margin": None,
        "low": -0.02,
        "high": 0.001,
    }
    said = rule("paired", figures)
    assert "lower by at least 0.003" in said
    assert "with 0.6 confidence (attempt 1 against this champion)" in said
    assert "must not be worse by 0.0015" in rule("paired", {**figures, "margin": 0.0015})
    assert "so a gain is likely, but not shown" in said
    assert "not shown" not in rule("paired", {**figures, "high": -0.001})
    of_auc = rule("paired", {**figures, "loss": "auc", "low": 0.01, "high": 0.02})
    assert "higher by at least 0.003, and higher at all" in of_auc
    assert rule("paired", {}) == ""
    assert rule("something new", {}) == ""


def test_the_champions_dossier_answers_the_five_questions(story):
    done = approve(story, "Bob")
    facts, page = facts_of(story)
    assert facts["version"] == done.version
    assert facts["decision"]["sequence"] == done.sequence
    assert facts["decision"]["approver"]["name"] == "Bob"
    assert facts["decision"]["asked_by"] == "Ann"
    assert facts["decision"]["problems"] == []
    assert facts["terms"][0]["until"] is None
    assert [h["outcome"] for h in facts["history"]] == ["pending", "promoted"]
    assert {b["state"] for b in facts["batches"]} == {"right"}
    assert {f["state"] for f in facts["files"]} == {"right"}
    assert facts["evaluation"]["metrics"]["challenger"]["log_loss"] > 0
    assert facts["calibration"]
    assert {b["feature"] for b in facts["baseline"]} == {"x", "z", "group"}
    assert {v["check"] for v in facts["verdicts"]} >= {"overlap", "paired", "baseline", "slices", "refit"}
    assert facts["rebuild"]["command"] == f"trueup reproduce toy {done.version}"
    for said in ("What data?", "How good?", "For whom worse?", "Who approved?", "Can I rebuild it?", "Bob", "supports"):
        assert said in page
    assert "data:image/png;base64," in page


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_nothing_from_elsewhere_and_shows_what_is_said_as_text(story):
    _, page = facts_of(story, entry_of(story).body.judged.version)
    assert CANARY not in page
    assert VALUE not in page
    assert "&lt;script&gt;" in page
    assert "&lt;img src=x" in page
    for tag, attributes in Elements(page).found:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:").startswith("data:")
        assert "//" not in attributes.get("href", "")
    assert "url(" not in page
    assert "@import" not in page


def test_dossiers_are_made_anew_with_each_decision(story):
    """Of the versions that it is about, and of the champion that it replaced."""
    made = []

    class Drawing(NoReports):
        def submit(self, _what, job, *args):
            made.append(args[-1])
            job(*args)

    def standing(version):
        return json.loads(dossier_page(story.home.root, "toy", version).with_suffix(".json").read_text())["standing"]

    story.home.background = Drawing()
    body = entry_of(story).body
    served, judged = body.model.version, body.judged.version
    with dossiers_kept_current(story.home):
        approve(story, "Bob")
    assert standing(served).startswith("champion since")
    with dossiers_kept_current(story.home):
        override(story.model, judged, "Bob", "cannot wait", "Carl")
    assert made == [sorted({served, judged})] * 2
    assert standing(served).startswith("no longer champion: replaced")
    assert standing(judged).startswith("champion since")


def test_a_rejected_version_has_a_dossier_and_a_version_unknown_has_none(story):
    approval.reject(story.model, entry_of(story), "Ann", "too close to the holidays")
    facts, page = facts_of(story, story.done.version)
    assert facts["standing"] == "never champion: rejected"
    assert facts["decision"]["reasons"] == ["rejected by Ann: too close to the holidays"]
    assert facts["terms"] == []
    assert "It was never the champion." in page
    with pytest.raises(UsageError, match="no record of version 99"):
        facts_of(story, 99)


def test_the_config_to_rebuild_with_is_the_one_of_then(story):
    def met():
        facts, _ = facts_of(story, story.done.version)
        return {need["what"]: need["met"] for need in facts["rebuild"]["needs"]}["the config"]

    (story.configs / "toy.yaml").write_text(CONFIG.replace("min_rows: 30", "min_rows: 20"))
    assert met()
    (kept,) = story.home.root.rglob(f"recorded/toy/{entry_of(story).body.recorded['config']}*")
    kept.unlink()
    assert not met()


def test_what_is_gone_or_was_changed_is_said_to_be(story):
    body = entry_of(story).challenge
    (story.home.root / body.evaluation.path).unlink()
    baseline = story.home.root / body.model.baseline_path
    baseline.write_bytes(baseline.read_bytes() + b"x")
    landed = body.inputs[0]
    next(story.home.root.rglob(f"{landed.sha256[:32]}.parquet")).unlink()
    facts, page = facts_of(story, story.done.version)
    assert facts["evaluation"]["state"] == "gone"
    assert {f["what"]: f["state"] for f in facts["files"]}["sample of the training rows"] == "changed"
    assert (facts["calibration"], facts["baseline"]) == (None, None)
    assert not facts["rebuild"]["ready"]
    assert "the predictions for them are gone" in page


def test_the_command_makes_page_data_and_bill_of_materials(story, tmp_path, monkeypatch):
    approve(story, "Bob")
    monkeypatch.setenv("TRUEUP_HOME", str(story.home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(story.configs))
    said = CliRunner().invoke(app, ["dossier", "toy", "--out", str(tmp_path / "out"), "--json"])
    assert said.exit_code == 0, said.output
    made = json.loads(said.stdout.splitlines()[-1])
    bill = json.loads(Path(made["sbom"]).read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert "scikit-learn" in {c["name"] for c in bill["components"]}
    assert Path(made["sbom"]).name in Path(made["page"]).read_text()
    assert json.loads(Path(made["data"]).read_text())["sbom"]["packages"] == len(bill["components"])
