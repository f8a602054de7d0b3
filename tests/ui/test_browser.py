"""The pages in a real browser: live without a reload, for keyboard and screen reader, and closed to other sites."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser import chromium
from tests.free import free_port
from tests.postgres import cluster
from tests.stack import ROOT, SLOW
from tests.story import Story, in_week, stream
from tests.ui.fleets import Fleet

pytestmark = pytest.mark.thorough
EVIL = '<script>document.title="broken"</script><img src=x onerror="document.title=1"><b>bold</b>'
PAGES = [
    "/",
    "/models/evil",
    "/decisions/2",
    "/ledger",
    "/ledger?model=calm&at=2026-02-01T00:00",
    "/approvals",
    "/nothing",
    f"/models/evil/explain?key={quote(EVIL)}",
]


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    made = Fleet(tmp_path_factory.mktemp("fleet"), "calm", "evil", "grave").open()
    for number in range(12):
        made.batch("calm", number, skill=0.2 + number / 100)
        made.batch("grave", number, "decayed" if number > 9 else "healthy", skill=0.2 - number / 50)
        made.batch("evil", number, reasons=(EVIL,), columns=(EVIL, "c"))
    made.decide("calm", "promoted", 0)
    made.decide("evil", "promoted", 0, reasons=(EVIL,))
    made.decide("grave", "promoted", 0)
    made.decide("evil", "pending", 11, version=2, reasons=(EVIL,), epoch=1)
    yield made
    made.close()


@contextmanager
def served(home, configs, port=None, **more):
    """The server, as soon as it answers."""
    port = port or free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "PREFECT_"))}
    environment |= {"TRUEUP_HOME": str(home), "TRUEUP_CONFIGS": str(configs), **more}
    command = [sys.executable, "-m", "trueup", "ui", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode in {0, -15}, said
    assert "Traceback" not in said


def answers(url):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code in {200, 401}
    return False


def until(holds, seconds=60.0):
    deadline = time.monotonic() + SLOW * seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def address(fleet):
    with served(fleet.settings.root, fleet.configs) as (url, _):
        until(lambda: "config" not in httpx.get(url, trust_env=False).text or True)
        yield url


@pytest.fixture
def page(browser, address):
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.problems = []
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("console", lambda m: opened.problems.append(m.text) if m.type == "error" else None)
    expect.set_options(timeout=SLOW * 20_000)
    yield opened
    context.close()


def names(page):
    return page.eval_on_selector_all("#fleet-rows tr", "rows => rows.filter(r => !r.hidden).map(r => r.dataset.name)")


def test_a_new_batch_and_decision_appear_without_a_reload(page, fleet):
    page.goto("/")
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    assert names(page) == ["evil", "grave", "calm"]
    page.evaluate("window.same = true")
    fleet.batch("calm", 12, "data_broken", skill=0.3)
    begun = time.monotonic()
    expect(page.locator("tr[data-name=calm] .chip").first).to_have_text("data broken")
    assert time.monotonic() - begun < SLOW * 2
    expect(page.locator("[role=status]")).to_contain_text("calm: batch until 2026-01-18, data broken")
    assert names(page) == ["evil", "calm", "grave"]
    fleet.decide("calm", "held", 12)
    expect(page.locator("tr[data-name=calm] .outcome")).to_contain_text("held")
    assert page.evaluate("window.same")
    assert page.problems == []


def test_a_filter_and_an_order_stay_when_rows_come_anew(page, fleet):
    page.goto("/")
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    page.get_by_role("button", name="Model").focus()
    page.keyboard.press("Enter")
    assert names(page) == ["calm", "evil", "grave"]
    page.keyboard.press("Enter")
    assert names(page) == ["grave", "evil", "calm"]
    expect(page.get_by_role("columnheader", name="Model")).to_have_attribute("aria-sort", "descending")
    page.get_by_label("Filter").fill("GRA decayed")
    assert names(page) == ["grave"]
    fleet.decide("grave", "held", 30)
    expect(page.locator("tr[data-name=grave] .outcome")).to_contain_text("held")
    assert names(page) == ["grave"]
    page.get_by_label("Filter").fill("no such model")
    expect(page.locator("#no-match")).to_be_visible()


def test_the_keyboard_reaches_the_content_and_a_model(page):
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="calm", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("calm")


def test_html_in_values_stays_text(page):
    for path in PAGES:
        page.goto(path)
        page.wait_for_timeout(300)
        assert page.title().endswith("Trueup"), path
        assert page.locator("img, main b").count() == 0, path
    page.goto("/models/evil")
    drawn = page.locator("#c-drift .ytick text").last
    expect(drawn).to_be_attached()
    texts = page.locator("#c-drift .ytick").all_text_contents()
    assert any(EVIL in text for text in texts), texts
    assert [p for p in page.problems if "404" not in p] == []


def test_a_mark_leads_to_its_decision(page):
    page.goto("/models/calm")
    marks = page.locator("#c-performance .scatterlayer").last.locator("path.point")
    expect(marks.first).to_be_visible()
    box = marks.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(
        page.locator("#c-performance .hoverlayer .legend, #c-performance .hoverlayer .hovertext").first
    ).to_be_visible()
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_role("heading", level=1)).to_have_text("#1: promoted")
    assert page.problems == []


def test_a_chart_keeps_its_height_when_resized_and_fits_on_paper(page):
    drawn = "document.querySelector('#c-drift .main-svg').getBoundingClientRect()"
    page.goto("/models/calm")
    expect(page.locator("#c-drift .main-svg").first).to_be_visible()
    width, height = page.evaluate(f"[{drawn}.width, {drawn}.height]")
    page.set_viewport_size({"width": 900, "height": 700})
    until(lambda: page.evaluate(f"{drawn}.width") < width)
    assert page.evaluate(f"{drawn}.height") == height
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    on_paper = page.evaluate(f"[{drawn}.width, {drawn}.height]")
    assert on_paper == [670, height]
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    until(lambda: page.evaluate(f"{drawn}.width") > 670)
    assert page.problems == []


def test_a_command_is_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/approvals")
    page.get_by_role("button", name="Approve: copy the command").click()
    expect(page.get_by_role("button", name="copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "trueup approve 4 --by NAME"


@pytest.fixture(scope="module")
def axe(pytestconfig, tmp_path_factory):
    """The text of axe-core, which stays in pytest's cache."""
    kept = pytestconfig.cache.mkdir("axe-core-4.14.1") / "axe.min.js"
    if not kept.exists():
        problem = "" if shutil.which("npm") else "no npm"
        if not problem:
            folder = tmp_path_factory.mktemp("axe")
            packed = subprocess.run(
                ["npm", "pack", "axe-core@4.14.1"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
            )
            problem = packed.stderr[-300:] if packed.returncode else ""
            if not problem:
                shutil.unpack_archive(folder / "axe-core-4.14.1.tgz", folder, "gztar")
                shutil.copy(folder / "package" / "axe.min.js", kept)
        if problem:
            assert os.environ.get("CI") != "true", problem
            pytest.skip(f"axe-core is not there: {problem}")
    return kept.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(browser, address, axe, scheme, width):
    found = {}
    # axe is brought into the page by the test, which its policy would refuse.
    context = browser.new_context(
        base_url=address, color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900}
    )
    page = context.new_page()
    for path in PAGES:
        page.goto(path)
        page.wait_for_timeout(700)
        if serious := serious_findings(page, axe):
            found[path] = serious
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()
    assert not found


def serious_findings(page, axe):
    page.evaluate(axe)
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [v for v in result["violations"] if v["impact"] in {"serious", "critical"}]
    return [(v["id"], v["help"], [n["html"][:150] for n in v["nodes"][:3]]) for v in serious]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_a_prediction_is_explained_from_the_page_of_its_model(browser, axe, tmp_path, scheme, width):
    story = Story(tmp_path, stream(7 * 7))
    story.turn(5)
    story.turn(7)
    row = story.frame[in_week(story.frame, 6)].iloc[0]
    with served(story.home.settings.root, story.configs) as (url, _):
        context = browser.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900})
        page = context.new_page()
        page.goto(f"{url}/models/toy")
        page.get_by_label("Key of the row").fill(f"id={row['id']}")
        page.keyboard.press("Enter")
        features = page.get_by_role("region", name="Features and what they contribute")
        expect(features.get_by_role("row")).to_have_count(4, timeout=SLOW * 60_000)
        expect(page.get_by_role("heading", name=f"id {row['id']}")).to_be_visible()
        assert serious_findings(page, axe) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()


def test_a_page_of_another_site_reaches_nothing(browser, address, tmp_path):
    (tmp_path / "evil.html").write_text("<!doctype html><title>evil</title><body>")
    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{other.server_port}/evil.html")
        told = page.evaluate(
            """async (address) => {
                const get = (mode) => fetch(address + "/", {mode}).then((a) => a.type + a.status, () => "refused");
                const load = (tag, name, path) => new Promise((done) => {
                    const element = document.createElement(tag);
                    element.onload = () => done("loaded");
                    element.onerror = () => done("refused");
                    element[name] = address + path;
                    document.body.append(element);
                });
                const source = new EventSource(address + "/events");
                const events = new Promise((done) => { source.onopen = () => done("open"); source.onerror = () => done("refused"); });
                return {
                    cors: await get("cors"), opaque: await get("no-cors"), post: await fetch(address + "/", {method: "POST"}).then(() => "sent", () => "refused"),
                    script: await load("script", "src", "/static/ui.js"), image: await load("img", "src", "/static/icon.svg"), events: await events,
                };
            }""",
            address,
        )
        assert set(told.values()) == {"refused"}, told
        page.evaluate(
            "a => { const f = document.createElement('iframe'); f.src = a; document.body.append(f); }", address
        )
        page.wait_for_timeout(500)
        assert not any("Fleet" in frame.content() for frame in page.frames[1:])
        page.close()
        other.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def test_a_page_connects_again_after_a_restart(browser, fleet):
    port = free_port()
    page = browser.new_page()
    with served(fleet.settings.root, fleet.configs, port) as (url, _):
        page.goto(url)
        expect(page.locator("#link")).to_have_attribute("data-state", "live", timeout=SLOW * 20_000)
    expect(page.locator("#link")).to_have_attribute("data-state", "lost", timeout=SLOW * 20_000)
    fleet.decide("calm", "rejected", 40)
    with served(fleet.settings.root, fleet.configs, port):
        expect(page.locator("#link")).to_have_attribute("data-state", "live", timeout=SLOW * 60_000)
        expect(page.locator("tr[data-name=calm] .outcome")).to_contain_text("rejected", timeout=SLOW * 20_000)
        page.close()


def test_an_open_page_says_that_the_home_cannot_be_read_and_when_it_can(browser, tmp_path):
    with cluster() as server:
        address = server.url.render_as_string(hide_password=False)
        made = Fleet(tmp_path, "calm", database_url=address).open()
        made.batch("calm", 0)
        made.home.engine.dispose()
        with served(made.settings.root, made.configs, TRUEUP_DATABASE_URL=address) as (url, _):
            page = browser.new_page()
            page.goto(url)
            expect(page.locator("#link")).to_have_attribute("data-state", "live")
            server.stop()
            expect(page.get_by_role("alert")).to_contain_text("The home cannot be read.", timeout=60_000)
            expect(page.get_by_role("link", name="calm", exact=True)).to_be_visible()
            server.start()
            expect(page.get_by_role("alert")).to_be_empty(timeout=60_000)
            page.close()
        made.close()


def test_a_browser_with_the_token_sees_the_page_and_its_events(browser, fleet):
    token = "a-token-of-the-test"
    with served(fleet.settings.root, fleet.configs, TRUEUP_REPORTS_TOKEN=token) as (url, _):
        context = browser.new_context(http_credentials={"username": "me", "password": token})
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#link")).to_have_attribute("data-state", "live", timeout=SLOW * 20_000)
        context.close()


def test_a_turn_of_the_loop_in_another_process_appears(browser, tmp_path):
    story = Story(tmp_path, stream(49))
    story.home.close()
    with served(story.home.root, story.configs) as (url, _):
        page = browser.new_page()
        page.goto(url)
        expect(page.locator("#link")).to_have_attribute("data-state", "live", timeout=SLOW * 20_000)
        expect(page.locator("tr[data-name=toy]")).to_contain_text("no batch yet", timeout=SLOW * 20_000)
        environment = {**os.environ, "TRUEUP_HOME": str(story.home.root), "TRUEUP_CONFIGS": str(story.configs)}
        command = [sys.executable, "-c", "from trueup.cli.main import main; main()", "run", "toy"]
        done = subprocess.run(
            command,
            env=environment | {"TRUEUP_REPORTS": "false"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        expect(page.locator("tr[data-name=toy] .outcome")).to_contain_text("promoted", timeout=SLOW * 2_000)
        expect(page.locator("tr[data-name=toy]")).to_contain_text("new champion")
        page.close()
