"""What a person does on the page of a model, in a real browser: fill in a row, read the answer, see another version come.

With SCREENSHOTS=1 (`make screenshots`) the page is kept as the picture of docs/how-to/serve.md.
"""

import os
import re

import pytest
from playwright.sync_api import expect

from tests.browser import chromium
from tests.serving.test_process import ask, example, serving
from tests.stack import ROOT, SLOW
from trueup.governance.rollback import override

pytestmark = pytest.mark.thorough


@pytest.fixture
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def story(shop, tmp_path):
    return shop.branch(tmp_path)


def test_a_person_asks_the_model_and_sees_another_version_come(story, browser):
    with serving(story, "toy") as (port, _):
        page = browser.new_page(viewport={"width": 1120, "height": 900}, base_url=f"http://127.0.0.1:{port}")
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        expect.set_options(timeout=SLOW * 30_000)
        page.goto("/")
        before = ask(port, "/v1/models/toy")["version"]
        expect(page.get_by_role("heading", level=1)).to_have_text("toy")

        x = page.get_by_label("x", exact=False).and_(page.locator("[name=x]"))
        expect(x).not_to_have_value("")  # an example stands there
        x.fill("two")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("label.wrong .mistake")).to_contain_text("give a number")
        x.fill("-0.75")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#version")).to_have_text(str(before))
        expect(page.locator("label.wrong")).to_have_count(0)
        row = {**example(story), "x": -0.75}
        told = ask(port, "/v1/models/toy/predict", {"row": row})["predictions"][0]["prediction"]
        shown = float(page.locator("#prediction").inner_text().removesuffix("%"))
        assert shown == pytest.approx(100 * told, abs=0.06)

        other = 1 if before != 1 else 2
        override(story.model, other, "A. Smith", "to see it come")
        expect(page.locator("#changed")).to_contain_text(
            re.compile(rf"version {other} answers; before it was version {before}"), timeout=SLOW * 90_000
        )
        expect(page.locator("#now-version")).to_have_text(f"version {other}")
        expect(x).to_have_value("-0.75")  # what was typed stays
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#version")).to_have_text(str(other))
        keep(page)
        assert not [text for text in problems if "422" not in text]  # the browser reports the refused row, too


def keep(page):
    """Take the picture for the documentation, when asked for."""
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=ROOT / "docs" / "images" / "serving-page.png", animations="disabled")
