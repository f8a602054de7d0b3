"""A version is made again from what was recorded; whatever was changed since is named, and nothing else is."""

import hashlib
import json
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from tests import streams
from tests.story import CONFIG, Story, stream
from trueup.adapters.git import code_facts
from trueup.audit.reproduce import reproduce
from trueup.errors import UnknownModel, UsageError
from trueup.governance.quarantine import release
from trueup.ledger.tables import DECISIONS
from trueup.loop import steps
from trueup.loop.turn import challenge
from trueup.stages.ingest import ingest
from trueup.upkeep.retention import gc

JUDGED, REFITTED, REJECTED = 1, 2, 3
OWN = CONFIG.replace("  categorical: [group]\n", "  categorical: [group]\n  custom: own:more\n").replace(
    "promote:\n", "promote:\n  gates: [{kind: paired, min_gain: 0.5}, {kind: baseline}]\n"
)
CUSTOM = "def more(rows):\n    return rows[['x']].abs().set_axis(['size'], axis=1)\n"


def git(story, *words):
    named = ["-c", "user.name=a", "-c", "user.email=a@b", "-C", str(story.configs)]
    return subprocess.run(["git", *named, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """One that was promoted, with its refit, and one that was rejected; with history, a function, and a quarantine."""
    frame = stream(8 * 7)
    frame.loc[frame.index % 400 == 7, "x"] = 99.0  # outside of what the suite expects
    told = Story(tmp_path_factory.mktemp("reproduce"), frame, OWN)
    (told.configs / "own.py").write_text(CUSTOM)
    git(told, "init", "-q")
    git(told, "add", "toy.yaml", "own.py")
    git(told, "commit", "-qm", "one")
    told.turn(5)
    ingested = [steps.validate(told.model, b, streams.week(8)) for b in ingest_to(told, 8)]
    assert any(checked.quarantined for checked in ingested)
    decided = challenge(steps, told.model, streams.week(8), "manual")
    assert (decided.outcome, decided.version) == ("rejected", REJECTED), decided.reasons
    return told


def ingest_to(story, week):
    return ingest(story.model, streams.week(week))


@pytest.fixture
def story(grown, tmp_path):
    other = grown.branch(tmp_path)
    return other


def about(found):
    return [d.about for d in found.differences]


def contents(story):
    files = [f for f in story.folder.rglob("*") if f.is_file() and not f.name.endswith(("-wal", "-shm", ".pyc"))]
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize(
    ("version", "role", "outcome"),
    [(JUDGED, "judged", "promoted"), (REFITTED, "refitted", "promoted"), (REJECTED, "judged", "rejected")],
)
def test_every_kind_of_version_comes_out_to_the_last_bit_and_nothing_is_changed(grown, version, role, outcome):
    before = contents(grown)
    found = reproduce("toy", version, grown.home)
    assert found.same, found.differences
    assert found.exact
    assert (found.role, found.outcome, found.largest) == (role, outcome, 0.0)
    assert found.rows > 300
    assert found.metrics["log_loss"]["recorded"] == found.metrics["log_loss"]["rebuilt"] > 0
    assert not found.circumstances
    assert contents(grown) == before


def test_what_came_since_does_not_matter(story, monkeypatch):
    """Corrected rows, rows out of quarantine, another function and config, other code; and then the retention."""
    changed = story.frame.assign(z=story.frame["z"] + (story.frame["t"] < streams.week(2)))
    story.source(changed)
    release(story.model, None, by="a", why="b")
    text = (story.configs / "toy.yaml").read_text()
    (story.configs / "toy.yaml").write_text(text.replace("period: week", "period: week\n  revisit: 99"))
    ingest_to(story, 8)
    assert story.batch(0).rows.revision == 2
    (story.configs / "own.py").write_text(CUSTOM.replace("abs()", "mul(7)"))
    monkeypatch.setattr(
        "trueup.audit.reproduce.code_facts", lambda folder: {**code_facts(folder), "version.numpy": "1.0"}
    )
    made_by = git(story, "rev-parse", "HEAD")
    git(story, "commit", "-qm", "two", "--allow-empty")
    later = story.home.now() + timedelta(days=3000)
    story.home.now = lambda: later
    gc(story.model)
    found = reproduce("toy", REFITTED, story.home)
    assert found.same, found.differences
    assert found.exact
    said = {d.about: d.what for d in found.circumstances}
    assert set(said) == {"commit", "changes", "package", "setting"}
    assert f"git worktree add ../trueup-{made_by[:12]} {made_by}" in said["commit"]
    assert said["package"] == f"numpy is 1.0, and was {np.__version__}"
    assert "ingest.revisit" in said["setting"]


def test_what_retention_has_taken_is_said_and_what_the_champion_rests_on_stays(story):
    stray = story.home.store.put_text("toy", b"what no decision names")
    later = story.home.now() + timedelta(days=9000)
    story.home.now = lambda: later
    gc(story.model)
    assert not (story.home.root / "recorded" / "toy" / stray).exists()
    found = reproduce("toy", REJECTED, story.home)
    assert about(found) == ["predictions"]
    assert "are gone" in found.differences[0].what
    assert not found.same
    assert reproduce("toy", REFITTED, story.home).same


@pytest.mark.parametrize("how", ["edited", "removed"])
def test_an_input_that_is_not_what_it_was_is_named(story, how):
    ref = story.batch(1).labels
    path = story.home.root / ref.path
    if how == "removed":
        path.unlink()
    else:
        frame = pd.read_parquet(path)
        frame.assign(label=1 - frame["label"]).to_parquet(path)
    found = reproduce("toy", REFITTED, story.home)
    assert about(found) == ["input"]
    assert f"toy/labels {ref.window} r1" in found.differences[0].what
    assert ("is not what was landed" if how == "edited" else "cannot be read") in found.differences[0].what
    assert not found.same


def test_a_registered_model_that_was_touched_is_named_and_the_rest_is_the_same(story):
    (entry, *_) = story.home.ledger.entries("toy")
    with story.home.registry.files(entry.body.model.uri) as folder:
        assert folder.is_relative_to(story.folder)
        file = folder / "model.skops"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    found = reproduce("toy", REFITTED, story.home)
    assert about(found) == ["model"]
    assert "content of a file was changed" in found.differences[0].what
    assert found.rows > 0  # the judged model was compared all the same
    assert not found.same


def test_predictions_that_were_edited_are_counted(story):
    (entry, *_) = story.home.ledger.entries("toy")
    path = story.home.root / entry.body.evaluation.path
    frame = pd.read_parquet(path)
    frame.loc[:4, "p_challenger"] += np.array([0.25, 0.01, 0.01, 0.01, 1e-12])
    frame.to_parquet(path)
    found = reproduce("toy", JUDGED, story.home)
    assert about(found) == ["predictions"]
    assert f"4 of {found.rows:,} judged predictions" in found.differences[0].what
    assert "the most by 0.25" in found.differences[0].what
    assert not found.exact


def edit(story, change):
    """Change an entry's record as the owner of the database could."""
    engine = sa.create_engine(story.home.engine.url)
    with engine.begin() as connection:
        for name in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        body = json.loads(connection.scalar(sa.select(DECISIONS.c.body).where(DECISIONS.c.seq == 1)))
        change(body)
        connection.execute(sa.update(DECISIONS).where(DECISIONS.c.seq == 1).values(body=json.dumps(body)))
    engine.dispose()


def test_a_record_with_another_seed_is_found(story):
    edit(story, lambda body: body["model"]["recipe"].update(seed=99))
    found = reproduce("toy", REFITTED, story.home)
    assert set(about(found)) == {"ledger", "rows", "predictions", "metric"}
    assert "entry 1: was edited" in found.differences[0].what
    assert any("training rows and recipe" in d.what for d in found.differences)
    assert any("log_loss is" in d.what for d in found.differences)


def test_a_record_without_its_config_or_function_cannot_be_made_again(story):
    (entry, *_) = story.home.ledger.entries("toy")
    names = entry.body.recorded
    (story.home.root / "recorded" / "toy" / names["config"]).write_text("{}")
    (story.home.root / "recorded" / "toy" / names["function"]).unlink()
    assert names["config"] == entry.body.config_digest
    found = reproduce("toy", JUDGED, story.home)
    assert about(found) == ["config", "function"]
    assert "its digest is not its name" in found.differences[0].what


def test_versions_and_models_that_no_decision_names(grown):
    with pytest.raises(UsageError, match="no decision names version 7; those that can be made again: 1, 2, 3"):
        reproduce("toy", 7, grown.home)
    with pytest.raises(UnknownModel):
        reproduce("../toy", 1, grown.home)


def test_the_command_says_it_with_its_exit_code(story, monkeypatch, capsys):
    from trueup.cli.main import main

    def said(*words):
        monkeypatch.setattr(sys, "argv", ["trueup", "reproduce", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr()

    monkeypatch.setenv("TRUEUP_HOME", str(story.home.root))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(story.configs))
    assert said("toy", "9")[0] == 2
    code, told = said("toy", "1")
    assert code == 0, told
    assert "to the last bit" in told.out
    (story.home.root / story.batch(0).rows.path).unlink()
    code, told = said("toy", "1", "--json")
    found = json.loads(told.out.splitlines()[-1])
    assert code == 1
    assert found["same"] is False
    assert [d["about"] for d in found["differences"]] == ["input"]
