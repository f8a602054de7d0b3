"""The form of an approval on a real server: it waits, wants an answer, and is only a view of the ledger."""

import contextlib
from datetime import timedelta

import httpx
import pytest

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.governance import approval
from trueup.governance.approval import open_approvals
from trueup.governance.rollback import override
from trueup.orchestration.stack.health import post

APPROVAL = PLAIN.replace("promote:\n", "promote:\n  mode: approval\n")


@pytest.fixture(scope="module")
def proposed(tmp_path_factory):
    """A first challenger that waits."""
    told = Story(tmp_path_factory.mktemp("approval"), stream(6 * 7), APPROVAL)
    told.turn(5)
    return told


class Page:
    """A flow run of the approval, as its page on the server knows it."""

    def __init__(self, server, entry):
        from prefect.client.orchestration import get_client

        from flows.approve import approve

        self.server, self.flow = server, approve
        deployment = approve.to_deployment("test").apply()
        with get_client(sync_client=True) as client:
            self.id = client.create_flow_run_from_deployment(deployment, parameters={"approval": str(entry.seq)}).id

    def start(self):
        """What a worker does: run it from the top."""
        from prefect.client.orchestration import get_client
        from prefect.exceptions import Pause
        from prefect.flow_engine import run_flow

        with get_client(sync_client=True) as client:
            run = client.read_flow_run(self.id)
        with contextlib.suppress(Pause):  # which lets a worker's process end
            run_flow(self.flow, flow_run=run, parameters=run.parameters, return_type="state")
        return self.state()

    def state(self):
        """Type and message of its state."""
        found = httpx.get(f"{self.server}/flow_runs/{self.id}", timeout=60).json()["state"]
        return found["name"], found["message"]

    def delete(self):
        """Leave nothing behind that waits."""
        post(f"{self.server}/flow_runs/{self.id}", {}, tries=20, method="DELETE")

    def resume(self, body):
        """Whether the server takes an answer."""
        return post(f"{self.server}/flow_runs/{self.id}/resume", body, tries=20)["status"]


@pytest.fixture
def page(proposed, tmp_path, monkeypatch, prefect_server):
    """A copy of the home, and the page of its approval, suspended."""
    other = proposed.branch(tmp_path)
    monkeypatch.setenv("TRUEUP_HOME", str(other.folder / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(other.configs))
    (other.entry,) = open_approvals(other.model)
    other.page = Page(prefect_server, other.entry)
    assert other.page.start()[0] == "Suspended"
    yield other
    other.page.delete()
    other.home.close()


ANSWER = {"decision": "approve", "name": "Ann", "why": "looked at the slices"}


def test_it_waits_refuses_an_empty_answer_and_approves(page):
    version = page.entry.body.model.version
    for empty in ({}, {"run_input": {}}, {"run_input": {**ANSWER, "name": ""}}, {"run_input": {"decision": "approve"}}):
        assert page.page.resume(empty) == "REJECT", empty
    assert page.page.state()[0] == "Suspended"
    assert page.model.champion() is None
    assert page.page.resume({"run_input": ANSWER}) == "ACCEPT"
    assert page.page.start()[0] == "Completed"
    assert page.home.registry.champion_alias("toy") == version
    entry = page.home.ledger.champion("toy").entry
    assert (entry.kind, entry.body.approver.name) == ("promoted", "Ann")
    assert entry.body.approver.why == "looked at the slices"


def test_its_page_shows_the_evidence(page, prefect_server):
    wanted = {"artifacts": {"key": {"any_": ["approval-toy"]}, "flow_run_id": {"any_": [str(page.page.id)]}}}
    (artifact,) = httpx.post(f"{prefect_server}/artifacts/filter", json=wanted, timeout=60).json()
    for words in ("| check | verdict | why |", "| log_loss |", "[Dossier](", f"trueup approve {page.entry.seq} --by"):
        assert words in artifact["data"]


def test_a_rejection_by_the_form_keeps_things_as_they_are(page):
    assert page.page.resume({"run_input": {**ANSWER, "decision": "reject", "why": "too few rows"}}) == "ACCEPT"
    assert page.page.start()[0] == "Completed"
    assert page.model.champion() is None
    assert page.home.ledger.entries("toy")[-1].body.reasons == ("rejected by Ann: too few rows",)


def test_decided_by_the_command_line_meanwhile_it_ends_with_that(page):
    done = approval.approve(page.model, page.entry, "Bob")
    assert page.page.resume({"run_input": {**ANSWER, "decision": "reject"}}) == "ACCEPT"
    assert page.page.start()[0] == "Completed"
    assert page.model.champion().version == done.version
    assert [e.kind for e in page.home.ledger.entries("toy")] == ["pending", "promoted"]


def test_decided_elsewhere_its_page_does_not_wait_for_ever(page):
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    assert reconcile_home().views == ()
    assert page.page.state()[0] == "Suspended"
    approval.approve(page.model, page.entry, "Bob")
    (name,) = reconcile_home().views
    assert name == f"approve toy: version {page.entry.body.model.version}"
    assert page.page.state() == ("Resuming", "decided elsewhere; this run ends with what was recorded")
    assert page.page.start()[0] == "Completed"
    assert reconcile_home().views == ()


def test_an_expired_approval_is_recorded_and_its_page_ends(page, monkeypatch):
    from trueup.home import Home
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    late = page.home.now() + timedelta(days=400)
    monkeypatch.setattr(Home, "now", lambda _: late, raising=False)
    monkeypatch.setattr("trueup.home._wall_clock", lambda: late)
    assert len(reconcile_home().views) == 1
    assert "expired" in page.home.ledger.entries("toy")[-1].body.reasons[0]
    assert page.page.start()[0] == "Completed"


def test_a_crash_after_the_answer_does_not_lose_it(page):
    """The process dies between the form and the ledger; begun again, the run has its answer still."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed, Pending, Running

    from trueup.orchestration.recovery.dead_runs import flip

    assert page.page.resume({"run_input": ANSWER}) == "ACCEPT"
    with get_client(sync_client=True) as client:
        for state in (Pending(), Running(), Crashed()):
            client.set_flow_run_state(page.page.id, state, force=True)
    assert len(flip(timedelta(hours=1)).again) == 1
    assert page.page.start()[0] == "Completed"
    assert page.home.ledger.entries("toy")[-1].body.approver.name == "Ann"


def test_a_stale_approval_is_refused(page):
    judged = page.entry.body.judged.version
    override(page.model, judged, "Bob", "cannot wait")
    assert page.page.resume({"run_input": ANSWER}) == "ACCEPT"
    assert page.page.start()[0] == "Completed"
    assert page.model.champion().version == judged
    assert "stale" in page.home.ledger.entries("toy")[-1].body.reasons[0]


def test_the_rollback_flow_goes_back_and_shows_it(page):
    from flows.rollback import rollback

    approval.approve(page.model, page.entry, "Bob")
    first = page.model.champion().version
    override(page.model, page.entry.body.judged.version, "Bob", "a try")
    assert rollback("toy", by="Ann", why="complaints").version == first
    assert page.home.registry.champion_alias("toy") == first
    assert streams.week(5) <= page.model.champion().promoted_as_of
