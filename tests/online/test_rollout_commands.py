"""The rollout on the command line, in `trueup status`, in the ledger, the dossier and the messages to people."""

import json
import shlex

import pytest
import yaml

from tests.blocks import ROOT, blocks, commands
from tests.online.rollouts import CHALLENGER
from trueup.audit.dossier import gather
from trueup.config.load import parse_model
from trueup.config.sections.promotion import RolloutConfig
from trueup.errors import AlreadyDecided, UsageError
from trueup.governance import rollout
from trueup.loop.notices import notify
from trueup.reporting.dossier_words import approved
from trueup.serving import published

BY = ("--by", "Ann", "--why", "release freeze")


@pytest.fixture
def say(tried, command_line):
    return command_line(tried.folder)


def test_status_shows_the_step_the_figures_and_the_verdicts(servers, say):
    servers.count(40)
    shown = say("rollout", "status", "toy")
    assert shown.code == 0
    assert "version 2 beside champion 1: shadow" in shown.out
    assert "step 0: 40 requests to both, 40 rows predicted by the challenger; 0 errors" in shown.out
    assert "40 of 100 rows of the shadow" in shown.out
    facts = json.loads(say("rollout", "status", "toy", "--json").out.splitlines()[-1])["rollout"]
    assert (facts["action"], facts["traffic"][0]["requests"]) == ("wait", 40)
    assert "rollout: version 2 in the shadow, until" in say("status", "toy").out


def test_a_person_pauses_checks_advances_and_aborts(servers, say, tried):
    assert "rollout_paused version 2" in say("rollout", "pause", "toy", *BY).out
    servers.count(120)
    assert "waits" in say("rollout", "check", "toy").out
    assert say("rollout", "resume", "toy", *BY).code == 0
    done = json.loads(say("rollout", "check", "toy", "--json").out.splitlines()[-1])["checked"]
    assert done["decided"] == "rollout_advanced"
    assert published.read(published.folder_of(tried.home.root, "toy"), tried.home.signer).rollout.step == 1
    assert say("rollout", "abort", "toy", "--by", "Ann").code == 2  # without a reason
    assert "rejected version 2" in say("rollout", "abort", "toy", *BY).out
    assert "no rollout is under way" in say("rollout", "status", "toy").out
    assert say("rollout", "advance", "toy", *BY).code == 2
    listed = say("ledger", "show", "toy").out
    assert "rollout_paused version 2" in listed
    assert "ended by Ann in the canary with 50 % of the keys: release freeze" in listed
    assert [e.kind for e in tried.home.ledger.entries("toy")][-1] == "rejected"


def test_the_page_does_what_it_says(say, tried):
    page = ROOT / "docs" / "how-to" / "rollout.md"
    (written,) = [text for kind, text in blocks(page) if kind == "yaml"]
    config = parse_model((tried.configs / "toy.yaml").read_text() + "\n", "toy.yaml")
    assert RolloutConfig.model_validate(yaml.safe_load(written)["promote"]["rollout"]) == RolloutConfig()
    assert config.promote.rollout is not None
    for command in [line for block in commands(page) for line in block.splitlines() if line.startswith("trueup")]:
        done = say(*shlex.split(command.replace("late_orders", "toy"))[1:])
        assert done.code == 0, (command, done.err)
    kinds = [e.kind for e in tried.home.ledger.entries("toy")]
    assert kinds[2:] == ["rollout_paused", "rollout_resumed", "rollout_advanced", "rejected"]


def test_a_step_is_for_advance_alone(tried):
    with pytest.raises(UsageError, match="at_step is for advance, and the action is pause"):
        rollout.act(tried.model, "pause", "Ann", "a freeze", at_step=0)


class Pat:
    """A person who keeps messages."""

    digest = "pat"

    def __init__(self):
        self.messages = []

    def send(self, title, text):
        self.messages.append((title, text))


def test_people_are_told_of_a_rollback_with_its_figures(servers, tried):
    servers.checked(150, raises=0.3)
    pat = Pat()
    notify(tried.home, [pat])
    ((_, text),) = pat.messages
    assert (
        "toy has rolled back version 2, which was in a rollout: rolled back in the shadow: the challenger raised"
        in text
    )
    assert "the limit is 1 %" in text


def test_people_are_not_told_of_a_success(servers, tried):
    servers.checked(120)
    servers.checked(300)
    pat = Pat()
    notify(tried.home, [pat])
    assert pat.messages == []


def test_the_dossier_tells_the_story_of_the_rollout(servers, tried):
    facts, _ = gather(tried.model, CHALLENGER)
    assert facts.standing == "meets online traffic in a rollout, not champion yet"
    assert approved(facts.decision).startswith("The gates alone passed it to a rollout")
    rollout.advance_by_hand(tried.model, "Ann", "tested elsewhere")
    servers.checked(150, nan=0.3)
    facts, _ = gather(tried.model, CHALLENGER)
    assert [h.outcome for h in facts.history] == ["rollout", "rollout_advanced", "rejected"]
    assert facts.standing == "never champion: rejected"
    assert approved(facts.decision).startswith("The gates passed it, and its rollout rolled it back")
    assert "NaN or infinite" in facts.decision.reasons[0]


@pytest.mark.slow  # starts a Prefect server
def test_the_form_in_prefect_makes_the_same_call(tried, servers, monkeypatch, prefect_server):
    import flows.rollout

    assert prefect_server
    servers.count(40)
    monkeypatch.setenv("TRUEUP_HOME", str(tried.home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(tried.configs))
    with pytest.raises(AlreadyDecided, match="is at step 0, not 1"):
        flows.rollout.rollout("toy", "advance", by="Ann", why="tested elsewhere", at_step=1)
    done = flows.rollout.rollout("toy", "advance", by="Ann", why="tested elsewhere", at_step=0)
    assert done.outcome == "rollout_advanced"
    assert flows.rollout.rollout("toy", "abort", by="Ann", why="too slow").reasons[0].endswith("too slow")
    assert [e.kind for e in tried.home.ledger.entries("toy")][-2:] == ["rollout_advanced", "rejected"]
