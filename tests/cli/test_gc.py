"""`trueup gc` and its flow: what they say, and that one at a time is at work on the files."""

import json
import os
from datetime import UTC, datetime

from tests.story import NoReports
from trueup.config.settings import Settings
from trueup.home import Home


def grow_old(home, days):
    """Let the reports that lie in a home be so many days old."""
    for file in (home / "reports").rglob("*"):
        then = datetime.now(UTC).timestamp() - days * 86_400
        os.utime(file, (then, then))


def test_the_command_says_what_it_removed(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("trueup.home.shared", NoReports)
    assert trueup("run", "toy").code == 0
    assert "0 files, 0 Bytes, removed" in trueup("gc").out
    grow_old(trueup.home, 400)

    promised = trueup("gc", "toy", "--dry-run")
    assert promised.code == 0, promised.err
    assert "Data Docs" in promised.out
    assert "4 files" in promised.out  # results and pages
    assert "would be removed" in promised.out
    told = json.loads(trueup("gc", "--json").out.splitlines()[-1])
    assert told["dry_run"] is False
    assert told["problems"] == []
    assert [c["model"] for c in told["collected"]] == ["toy", None]
    kinds = {r["kind"]: r["files"] for c in told["collected"] for r in c["removed"]}
    assert {kind for kind, files in kinds.items() if files} == {"Data Docs"}
    assert kinds["Data Docs"] == 4
    assert "0 files" in trueup("gc").out
    assert not list((trueup.home / "reports").rglob("*.json"))


def test_a_model_that_cannot_be_looked_at_does_not_stop_the_others(trueup):
    (trueup.folder / "configs" / "bad.yaml").write_text("model: bad\n")
    answer = trueup("gc", "--json")
    assert answer.code == 1
    told = json.loads(answer.out.splitlines()[-1])
    assert [c["model"] for c in told["collected"]] == ["toy"]  # what they share is left alone
    assert told["problems"][0].startswith("bad: ")
    assert trueup("gc", "toy").code == 0
    assert trueup("gc", "toi").code == 2


def test_only_one_is_at_work_on_the_files(trueup):
    home = Home(Settings(home=trueup.home))
    with home.alone_with_files() as alone:
        assert alone
        answer = trueup("gc")
    assert answer.code == 1
    assert "or a backup is running" in answer.err
    assert trueup("gc").code == 0
    home.close()


def test_the_flow_does_the_same(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    from flows.gc import gc

    monkeypatch.setattr("trueup.home.shared", NoReports)
    assert trueup("run", "toy", "--as-of", "2024-01-08").code == 0
    grow_old(trueup.home, 400)
    for dry_run in (True, False):
        done = gc(dry_run=dry_run)
        assert [(r.kind, r.files) for c in done.collected for r in c.removed if r.files] == [
            ("Data Docs", 2)
        ]  # the result and its page
    assert not list((trueup.home / "reports").rglob("*.json"))
