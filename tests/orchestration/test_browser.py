"""What a person does on Prefect's pages, in a real browser on a real stack: start a retrain, read it, approve.

The tests stand in the order of a day: a run's page is read while a retrain is at work, and the approval has waited for
longer than a dead run is given before somebody answers. With SCREENSHOTS=1 (`make screenshots`) the pages are
kept as the pictures of docs/how-to.
"""

import os
import re
import time
from contextlib import suppress

import pandas as pd
import pytest
import yaml
from playwright.sync_api import Error, expect

from tests import streams
from tests.browser import chromium
from tests.stack import ROOT, SLOW, Stack, until
from tests.story import PLAIN, NoReports, in_week, stream
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.governance.approval import approve, open_approvals
from trueup.home import Home
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import Model
from trueup.orchestration.recovery import processes
from trueup.orchestration.recovery.dead_runs import DEAD_AFTER

pytestmark = pytest.mark.thorough

AUTOMATIC, APPROVED = "late_orders", "returns"
NOW = streams.week(8)
IMAGES = ROOT / "docs" / "images"
WORDS = {r"\bx\b": "distance", r"\bz\b": "weight", r"\bgroup\b": "carrier", r"\bt$": "ordered_at", r"\by,": "late,"}


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a champion of each model, and a challenger of one of them that waits for a person."""
    folder = tmp_path_factory.mktemp("browser")
    frame = stream(8 * 7, change_on=5 * 7, per_day=160)
    last = in_week(frame, 7)
    frame.loc[last, "z"] += 0.6  # which moves, and decides nothing
    frame.loc[frame[last].index[:3], "x"] = 50.0  # which nobody orders over
    names = {"x": "distance", "z": "weight", "group": "carrier", "t": "ordered_at", "y": "late"}
    for model, mode in ((AUTOMATIC, "auto"), (APPROVED, "approval")):
        streams.write(folder, frame.rename(columns=names), config(model, mode))
    opened = Home(Settings(home=folder / "home", configs=folder / "configs"))
    shared, opened.background = opened.background, NoReports()
    for model in (AUTOMATIC, APPROVED):
        cycle(steps, Model(load_model(opened.configs, model), opened), streams.week(5))
    returns = Model(load_model(opened.configs, APPROVED), opened)
    (first,) = open_approvals(returns)
    approve(returns, first, "Ann", "the first one")
    opened.background = shared
    assert cycle(steps, returns, NOW).decided.outcome == "pending"
    assert shared.wait() == []
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def stack(home, browser):  # noqa: ARG001  (without a browser no stack is needed)
    folder = home.root.parent
    found = Stack(home.root, deployments(folder), more={"TRUEUP_CONFIGS": str(home.configs)})
    assert found.up()["ready"]
    assert found("reconcile")[0] == 0  # tells the server what waits
    yield found
    processes.end(home.root, grace=0)


@pytest.fixture
def page(browser, stack):
    """A page of the UI; what it cannot load of others than Prefect's own icons is a failure."""
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{stack.ports['prefect']}", viewport={"width": 1280, "height": 900}
    )
    opened = context.new_page()
    opened.set_default_timeout(SLOW * 90_000)
    expect.set_options(timeout=SLOW * 30_000)
    yield opened
    with suppress(Error):
        context.close()


@pytest.fixture(scope="module")
def watched(stack):
    """A run that watches the newest batches of the model without approvals, started before anything else."""
    return stack.runs(f"run/{AUTOMATIC}", model=AUTOMATIC, as_of=NOW.isoformat(), retrain="never")


def test_a_bad_value_is_refused_in_the_form(page, stack, watched):  # noqa: ARG001
    open_form(page, stack)
    as_of = parameter(page, "as_of")
    as_of.get_by_role("button").first.click()
    page.get_by_role("button", name="Use JSON input").click()
    as_of.get_by_role("textbox").fill('"tomorrow"')
    page.get_by_role("button", name="Submit").click()
    expect(as_of).to_contain_text("'tomorrow' is not valid")
    expect(page).to_have_url(re.compile(r"/run\b"))
    assert not of_flow(stack, "retrain")


def test_the_page_of_a_run_shows_what_was_checked_and_what_moved(page, stack, watched):
    ended(stack, watched)
    open_artifacts(page, watched)
    cards = page.get_by_role("tabpanel").get_by_role("link")
    expect(cards.filter(has_text="validation-late-orders")).to_have_count(3)
    expect(cards.filter(has_text="diagnosis-late-orders")).to_have_count(3)
    expect(cards.filter(has_text="3 in quarantine")).to_have_count(1)
    keep(page, "run")
    cards.filter(has_text="diagnosis-late-orders").filter(has_text="[2024-02-19").click()
    moved = page.get_by_role("row").filter(has_text="weight")
    expect(moved).to_contain_text("psi")
    keep(page, "diagnosis")
    for name, title in {"Drift report": "", "Data Docs of this batch": "validation"}.items():
        opens(page, name, title)


def test_a_retrain_is_started_from_its_form_and_its_page_tells_the_verdict(page, stack, home, watched):
    ended(stack, watched)
    before = home.ledger.champion(AUTOMATIC).version
    open_form(page, stack)
    as_of, reason = parameter(page, "as_of"), parameter(page, "reason")
    as_of.get_by_role("button", name="date-time").click()
    page.get_by_text("Select date and time").click()
    page.locator("input[type=date]").fill(f"{NOW:%Y-%m-%d}")
    page.locator("input[type=time]").fill(f"{NOW:%H:%M}")
    page.get_by_role("button", name="Apply").click()
    choose(page, reason, "schedule")
    expect(page.get_by_text("Name of a config in the folder of configs")).to_be_visible()
    keep(page, "retrain-form")
    page.get_by_role("button", name="Submit").click()
    run = until(lambda: of_flow(stack, "retrain"))[0]
    page.goto(f"/runs/flow-run/{run['id']}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=SLOW * 120_000)
    expect(page.get_by_text(f"retrain {AUTOMATIC}: schedule").first).to_be_visible()
    open_artifacts(page, run["id"])
    page.get_by_role("link").filter(has_text="decision-late-orders").click()
    expect(page.get_by_role("row").filter(has_text="paired")).to_contain_text("✔ pass")
    expect(page.get_by_role("row").filter(has_text="log_loss")).to_be_visible()
    keep(page, "decision")
    opens(page, "Dossier", f"{AUTOMATIC} version")
    opens(page, "MLflow run", "MLflow")
    now = home.ledger.champion(AUTOMATIC)
    assert now.version > before
    assert now.entry.body.trigger.reason == "schedule"
    assert now.entry.as_of == NOW
    assert home.registry.champion_alias(AUTOMATIC) == now.version


def test_a_challenger_that_waits_is_approved_from_the_form(page, stack, home):
    config = load_model(home.configs, APPROVED)
    (waiting,) = open_approvals(Model(config, home))
    before, proposed = home.ledger.champion(APPROVED).version, waiting.body.model.version
    assert home.registry.champion_alias(APPROVED) == before
    run = until(lambda: [r for r in of_flow(stack, "approve") if r["state"]["name"] == "Suspended"], 60)[0]
    assert run["name"] == f"approve {APPROVED}: version {proposed}"
    open_artifacts(page, run["id"])
    page.get_by_role("link").filter(has_text=f"version {proposed} waits until").click()
    expect(page.get_by_role("row").filter(has_text="paired")).to_contain_text("✔ pass")
    picture = page.get_by_role("img", name="Challenger against champion")
    picture.scroll_into_view_if_needed()
    until(lambda: picture.evaluate("image => image.complete && image.naturalWidth > 100"))
    page.set_viewport_size({"width": 1280, "height": 1500})
    keep(page, "approval")
    page.set_viewport_size({"width": 1280, "height": 900})

    # Somebody who takes his time: meanwhile this run would have been marked as dead.
    since = time.monotonic() - age(run)
    until(lambda: time.monotonic() - since > DEAD_AFTER + 15, 150)
    page.goto(f"/runs/flow-run/{run['id']}")
    page.get_by_role("button", name="Resume").click()
    form = page.get_by_role("dialog")
    expect(form).to_contain_text("Who decides")  # the button is there before the form is, and does nothing then
    form.get_by_role("button", name="Submit").click()
    for field in ("decision", "name", "why"):
        expect(form).to_contain_text(f"'{field}' is a required property")
    assert open_approvals(Model(config, home))
    page.reload()
    page.get_by_role("button", name="Resume").click()
    choose(page, parameter(form, "Decision"), "approve")
    parameter(form, "Name").get_by_role("textbox").fill("A. Smith")
    parameter(form, "Why").get_by_role("textbox").fill("looked at the slices")
    keep(page, "approval-form")
    form.get_by_role("button", name="Submit").click()
    expect(form).not_to_be_visible()
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=SLOW * 120_000)
    assert home.registry.champion_alias(APPROVED) == proposed
    entry = home.ledger.champion(APPROVED).entry
    assert (entry.kind, entry.body.approver.name) == ("promoted", "A. Smith")
    assert entry.body.approver.why == "looked at the slices"
    assert not open_approvals(Model(config, home))
    assert home.ledger.verify() == []
    open_artifacts(page, run["id"])
    page.get_by_role("link").filter(has_text="decision-returns").click()
    expect(page.get_by_text("approved by A. Smith: looked at the slices")).to_be_visible()


def config(model, mode):
    """The config of the made-up stream, in the words of a shop."""
    text = PLAIN.replace("model: toy", f"model: {model}").replace("gate_window: 14 days", "gate_window: 7 days")
    text = text.replace("min_history: 28 days", "min_history: 14 days\n  window: 14 days")  # of the world as it is now
    text = text.replace("promote:\n", f"promote:\n  mode: {mode}\n")
    for pattern, word in WORDS.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def deployments(folder):
    """The project's deployments under the names of these models; nothing runs by itself."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for deployment in content["deployments"]:
        deployment.pop("schedules", None)
    text = yaml.safe_dump({"name": "trueup", "deployments": content["deployments"]})
    text = text.replace("flight_delays", AUTOMATIC).replace("flight_air_time", APPROVED)
    (folder / "prefect.yaml").write_text(text)
    return folder


def of_flow(stack, name):
    return stack.ask("/flow_runs/filter", {"flows": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC"})


def ended(stack, run):
    state = until(lambda: (s := stack.ask(f"/flow_runs/{run}")["state"])["type"] in {"COMPLETED", "FAILED"} and s, 120)
    assert state["type"] == "COMPLETED", state["message"]


def age(run):
    """Seconds since a run came to its state."""
    return time.time() - pd.Timestamp(run["state"]["timestamp"]).timestamp()


def open_form(page, stack):
    """Go to the form of `retrain` as a person does."""
    found = stack.ask(f"/deployments/name/retrain/{AUTOMATIC}")
    page.goto(f"/deployments/deployment/{found['id']}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("link", name="Custom run").click()
    expect(page.get_by_role("button", name="Submit")).to_be_visible()


def open_artifacts(page, run):
    page.goto(f"/runs/flow-run/{run}")
    page.get_by_role("tablist").get_by_text("Artifacts", exact=True).click()


def parameter(within, name):
    """The part of a form that asks for one value; its description follows the name without a space."""
    return within.locator(".schema-form-property").filter(has_text=re.compile(rf"^\s*{name}(?![a-z_])"))


def choose(page, field, option):
    field.get_by_role("group").get_by_role("button").press("ArrowDown")
    page.get_by_role("option", name=option, exact=True).click()


def opens(page, link, title):
    """A link leads to a page that is there."""
    url = page.get_by_role("link", name=link).get_attribute("href")
    other = page.context.new_page()
    until(lambda: other.goto(url, timeout=120_000).ok)  # reports are rendered beside the run, and come a little later
    assert title in other.title()
    other.close()


def keep(page, name):
    """Take a picture for the documentation, when asked for."""
    if os.environ.get("SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")
