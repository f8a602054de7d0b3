"""What `ledger verify` finds: each way to change the past, done as somebody would who owns the machine."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.story import Story, stream
from trueup.audit.export import export
from trueup.audit.verify import anchor, verify
from trueup.errors import UsageError
from trueup.ledger.entries import GENESIS, Decision, entry_hash
from trueup.ledger.tables import CHAMPIONS, DECISIONS, OUTBOX


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Two champions, one after the other."""
    told = Story(tmp_path_factory.mktemp("proof"), stream(8 * 7, change_on=5 * 7, per_day=120))
    for week in (5, 8):
        told.turn(week)
        anchor(told.home)
    assert len(told.model.succession()) == 2
    return told


@pytest.fixture
def story(grown, tmp_path):
    other = grown.branch(tmp_path)
    return other


def checked(story):
    return verify({"toy": story.config}, story.home)


def owner(story):
    """A connection of somebody who owns the database."""
    engine = sa.create_engine(story.home.engine.url)
    with engine.begin() as connection:
        for name in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
    return engine


def anchors(story):
    return story.home.root / "ledger.anchors"


def test_an_untouched_home_is_right(story):
    found = checked(story)
    assert found.problems == ()
    assert found.entries == len(story.home.ledger.entries())
    assert found.anchors == 3  # two in the file, the newest as MLflow's tag
    assert found.models == 2


def test_an_end_that_was_cut_off_is_found_by_the_anchors(story):
    newest = story.home.ledger.entries()[-1]
    with owner(story).begin() as connection:
        for table in (OUTBOX, CHAMPIONS, DECISIONS):
            connection.execute(sa.delete(table).where(table.c.seq == newest.seq))
    assert story.home.ledger.verify() == []  # the chain that is left is whole, and signed
    found = [p for p in checked(story).problems if p.seq == newest.seq]
    assert len([p for p in found if "is gone" in p.what]) == 2  # the file and MLflow say so


def test_everything_rewritten_by_somebody_with_the_key_is_found_by_the_anchors(story):
    signer = story.home.ledger._signer
    with owner(story).begin() as connection:
        prev = GENESIS
        for row in connection.execute(sa.select(DECISIONS).order_by(DECISIONS.c.seq)).mappings().all():
            new = dict(row) | {"prev_hash": prev, "as_of": row["as_of"].replace("T00", "T01")}
            new["hash"] = prev = entry_hash(new)
            new["signature"] = signer.sign(prev)
            connection.execute(sa.update(DECISIONS).where(DECISIONS.c.seq == row["seq"]).values(new))
    assert story.home.ledger.verify() == []
    assert any("was rewritten" in p.what and "ledger.anchors" in p.what for p in checked(story).problems)


def test_a_file_elsewhere_is_an_anchor_too(story, tmp_path, monkeypatch):
    elsewhere = tmp_path / "other disk" / "anchors"
    monkeypatch.setenv("TRUEUP_LEDGER_ANCHOR", str(elsewhere))
    story.open()
    anchor(story.home)
    assert json.loads(elsewhere.read_text())["seq"] == story.home.ledger.entries()[-1].seq
    anchors(story).unlink()
    elsewhere.write_text(elsewhere.read_text().replace('"hash": "', '"hash": "0'))
    assert any(str(elsewhere) in p.what for p in checked(story).problems)


def test_a_last_line_that_a_crash_has_torn_is_taken_off_and_nothing_is_lost(story):
    before = anchors(story).read_text()
    anchors(story).write_text(before + '{"hash": "ab')
    assert checked(story).problems == ()
    as_of = story.home.ledger.entries()[-1].as_of
    story.home.ledger.append(Decision("one more", "toy", "held", as_of))
    anchor(story.home)
    lines = anchors(story).read_text().splitlines()
    assert lines[:-1] == before.splitlines()
    assert json.loads(lines[-1])["seq"] == story.home.ledger.entries()[-1].seq
    anchor(story.home)
    assert anchors(story).read_text().splitlines() == lines


def test_an_alias_moved_behind_the_ledgers_back_is_found(story):
    first, second = (c.version for c in story.model.succession())
    story.home.registry.set_champion_alias("toy", first)
    try:
        (found,) = checked(story).problems
        assert f"MLflow's alias names version {first}" in found.what
        assert "trueup reconcile" in found.what
    finally:
        story.home.registry.set_champion_alias("toy", second)


@pytest.mark.parametrize("how", ["one bit", "one more", "one less", "a link"])
def test_a_version_whose_files_were_touched_is_named(grown, how, tmp_path):
    champion = grown.model.succession()[0]
    folder = Path(champion.uri.removeprefix("file://"))
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    file = folder / "model.skops"
    try:
        if how == "one bit":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        elif how == "one more":
            (folder / "more.py").write_text("print('hello')")
        elif how == "one less":
            file.unlink()
        else:
            file.unlink()
            file.symlink_to(kept / "model.skops")
        (found,) = checked(grown).problems
        assert f"names version {champion.version} of toy" in found.what
    finally:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    assert checked(grown).problems == ()


def test_an_export_holds_all_that_is_signed(story, tmp_path):
    count = export(story.home, tmp_path / "ledger.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert count == len(rows) == len(story.home.ledger.entries())
    for row in rows:
        assert entry_hash(row | {"body": row["hashed"]}) == row["hash"]
        assert json.loads(row["hashed"]) == row["body"]
        assert story.home.ledger._signer.verifies(row["key_id"], row["hash"], row["signature"])
    assert export(story.home, tmp_path / "ledger.csv", "toy") == count
    table = list(csv.DictReader((tmp_path / "ledger.csv").read_text().splitlines()))
    assert [r["kind"] for r in table] == [r["kind"] for r in rows]
    with pytest.raises(UsageError, match=r"\.jsonl or \.csv"):
        export(story.home, tmp_path / "ledger.xml")
