"""The documentation says what is so: generated pages are fresh, and links lead somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs.generate import PAGES

ROOT = Path(__file__).parents[1]
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [unquote(link) for link in LINK.findall(prose) if not re.match(r"[a-z]+:", link)]
    missing = [link for link in links if (path := link.split("#")[0]) and not (page.parent / path).exists()]
    assert not missing
