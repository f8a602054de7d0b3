"""Text of strangers in a comment: whatever it is, a reader of Markdown sees text."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from trueup.ci.escape import block, code, text

READER = MarkdownIt("gfm-like", {"linkify": False, "html": True})
ATTACKS = [
    "<script>alert(1)</script>", "![x](http://e.vil/x.png)", "[x](javascript:a)", "@admins please", "fixes #12", "`a`", "```\n# x",
    "a | b |", "**bold** _it_ ~~no~~", "<!-- trueup:ci -->", "&lt;b&gt;", "1. one", "1) one", "- two", "# three", "> four", "http://e.vil www.e.vil",
    "a\n\n# b", "\u202eevil", "\\", "a\r\n| b", "group!7 %milestone $9 ^x", "x" * 5_000, "[^1]", "<https://e.vil>", "a@b.vil",
]  # fmt: skip
ANY = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("<>&[]()!*_`|#@\\~:\n-.$")), max_size=80)


def kinds(markdown):
    """The kinds of all tokens, with those inside of paragraphs."""
    return {child.type for token in READER.parse(markdown) for child in (token, *(token.children or []))}


def shown(markdown):
    """The text that a reader sees."""
    inline = [t for t in READER.parse(markdown) if t.type == "inline"]
    return "".join(c.content for t in inline for c in t.children if c.type in {"text", "text_special"}).replace(
        "\u200b", ""
    )


@given(ANY)
@example("")
def test_a_text_stays_text(value):
    allowed = {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}
    made = text(value)
    assert kinds(made) <= allowed
    assert "\n" not in made
    assert "|" not in made


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_shown_as_they_are(attack):
    made = text(attack)
    assert kinds(made) <= {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}
    seen = shown(made)
    assert seen.rstrip("…") in " ".join(attack.replace("\u202e", "").split())
    rendered = READER.render(made)
    assert not re.search(r"[@#!%$^~]\w|://|www\.\w|<(?!/?p>)", rendered), "a host looks for these in what was rendered"


@given(ANY, ANY)
def test_a_text_stays_in_its_cell(one, other):
    table = f"| a | b |\n|---|---|\n| {text(one)} | {code(other)} |\n"
    tokens = [t.type for t in READER.parse(table)]
    assert tokens.count("td_open") == 2
    assert tokens.count("table_open") == 1
    assert tokens[-1] == "table_close"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("`\n~ ")), max_size=200))
def test_a_block_ends_where_it_should(value):
    tokens = READER.parse(f"{block(value)}\n\nafter")
    assert [t.type for t in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
