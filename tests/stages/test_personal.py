"""Columns with personal data: what a turn writes counts their failing values, and shows none."""

import sqlite3

import pytest

from tests.story import PLAIN, Story, stream
from trueup.adapters.background import Background

MARK = "canary-4711@example.org"
CONFIG = PLAIN.replace("key: [id]", "key: [id]\n  keep: [mail]").replace(
    "  expectations:\n",
    "  expectations:\n    - {type: expect_column_values_to_match_regex, kwargs: {column: mail, regex: '^none$'}}\n",
)
PERSONAL = CONFIG + "governance: {personal: [mail]}\n"


def written(folder):
    """Everything in a home but the rows themselves: landed batches, and those in quarantine."""
    rows = {folder / "batches", folder / "quarantine"}
    files = [f for f in folder.rglob("*") if f.is_file() and not rows & {*f.parents}]
    database = sqlite3.connect(folder / "trueup.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    records = [repr(row) for name in tables for row in database.execute(f"SELECT * FROM {name}")]
    database.close()
    return [f.read_bytes() for f in files] + [record.encode() for record in records]


@pytest.mark.in_a_folder
@pytest.mark.parametrize(("config", "shown"), [(CONFIG, True), (PERSONAL, False)], ids=["not declared", "declared"])
def test_failing_values_are_counted_and_not_shown(tmp_path, config, shown, caplog):
    frame = stream(7, per_day=40).assign(mail="none")
    frame.loc[frame.index[:3], "mail"] = [f"{i}{MARK}" for i in range(3)]
    told = Story(tmp_path, frame, config)
    told.home.background = Background()
    done = told.turn(1)
    assert told.home.background.wait() == []
    (checked,) = done.batches
    assert checked.quarantined == 3
    assert "fails for 3 of 280 rows" in " ".join(checked.reasons)
    found = [content for content in written(tmp_path / "home") if MARK.encode() in content]
    assert bool(found) == shown, "without a declaration the values are in reports, so the search finds them"
    assert (MARK in repr(done)) == shown
    assert MARK not in caplog.text
