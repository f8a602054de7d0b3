"""Tokens: who may ask, and how that changes while a server runs."""

import json
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta

import pytest

from trueup.errors import UsageError, WorkError
from trueup.serving import tokens
from trueup.serving.settings import read_settings
from trueup.serving.tokens import Denied, Tokens


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    return tmp_path / "serving" / "tokens.json"


def bearer(token):
    return f"Bearer {token}".encode()


def test_a_token_has_a_name_and_a_scope_and_only_its_digest_is_kept(file):
    token = tokens.add(file, "shop", "record")
    grant = Tokens(file).grant(bearer(token))
    assert (grant.name, grant.scope, grant.records) == ("shop", "record", True)
    assert (grant.allows("predict"), grant.allows("admin")) == (True, False)
    assert token.split("_", 2)[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer x", b"Bearer trueup_a_b", b"Basic trueup_a_b", b"Bearer \xff_\xff_\xff"]
)
def test_anything_else_is_denied(file, header):
    tokens.add(file, "shop", "predict")
    with pytest.raises(Denied):
        Tokens(file).grant(header)


def test_the_secret_of_another_token_is_denied(file):
    one, other = tokens.add(file, "one", "predict"), tokens.add(file, "other", "admin")
    mixed = "_".join([*other.split("_", 2)[:2], one.split("_", 2)[2]])
    with pytest.raises(Denied, match="may have been revoked"):
        Tokens(file).grant(bearer(mixed))


def test_tokens_change_without_a_restart(file):
    clock = Clock()
    known = Tokens(file, clock=clock)
    assert known.open
    assert known.grant(None).scope == "predict"
    token = tokens.add(file, "shop", "record")
    clock.now += 2
    assert not known.open
    assert known.grant(bearer(token)).name == "shop"
    tokens.revoke(file, "shop")
    clock.now += 2
    with pytest.raises(Denied):
        known.grant(bearer(token))
    with pytest.raises(Denied):
        known.grant(None)


def test_a_file_that_becomes_unreadable_changes_nothing(file, caplog):
    clock, token = Clock(), tokens.add(file, "shop", "record")
    known = Tokens(file, clock=clock)
    file.write_text("{")
    clock.now += 2
    assert known.grant(bearer(token)).name == "shop"
    assert "stay valid" in caplog.text
    with pytest.raises(WorkError, match="is no file of tokens"):
        Tokens(file)


def test_a_file_that_is_lost_lets_nobody_else_in(file, caplog):
    clock, token = Clock(), tokens.add(file, "shop", "record")
    known = Tokens(file, clock=clock)
    file.unlink()
    clock.now += 2
    assert not known.open
    assert known.grant(bearer(token)).name == "shop"
    with pytest.raises(Denied):
        known.grant(None)
    assert "is gone" in caplog.text


def test_a_server_for_others_lets_nobody_in_without_a_file(file):
    known = Tokens(file, required=True)
    assert not known.open
    with pytest.raises(Denied, match="trueup token add"):
        known.grant(None)


def test_an_expired_token_is_denied(file):
    token = tokens.add(file, "shop", "predict", expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(Denied, match="expired at"):
        Tokens(file).grant(bearer(token))


def test_a_rate_is_kept_and_shared_by_workers(file):
    clock, token = Clock(), tokens.add(file, "shop", "predict", rate=4)
    known = Tokens(file, workers=2, clock=clock)
    for _ in range(2):
        known.grant(bearer(token))
    with pytest.raises(Denied, match="4 times a second") as caught:
        known.grant(bearer(token))
    assert caught.value.wait == pytest.approx(0.5)
    clock.now += 0.5
    known.grant(bearer(token))


def test_names_are_used_once_and_mistakes_are_named(file):
    tokens.add(file, "shop", "predict")
    with pytest.raises(UsageError, match="there is a token shop already"):
        tokens.add(file, "shop", "record")
    with pytest.raises(UsageError, match=r"did you mean shop\?"):
        tokens.revoke(file, "shpo")
    with pytest.raises(UsageError, match="rate"):
        tokens.add(file, "other", "predict", rate=0)


def test_the_command_line_adds_lists_and_revokes(command_line, tmp_path):
    trueup = command_line(tmp_path)
    said = trueup("token", "add", "shop", "--scope", "record", "--rate", "50", "--expires", "90 days")
    file = trueup.home / "serving" / tokens.FILE
    assert Tokens(file).grant(bearer(said.out.strip())).scope == "record"
    assert "shown only now" in said.err
    listed = json.loads(trueup("token", "list", "--json").out)["tokens"]
    assert [(t["name"], t["scope"], t["rate"]) for t in listed] == [("shop", "record", 50)]
    assert "50 a second" in trueup("token", "list").out
    assert "may not ask any more" in trueup("token", "revoke", "shop").out
    assert trueup("token", "list").out.startswith("no tokens")
    wrong = trueup("token", "add", "shop", "--expires", "soon")
    assert (wrong.code, "--expires" in wrong.err) == (2, True)


def test_tokens_of_a_secret_store_are_followed_when_it_points_to_others(trueup, tmp_path, monkeypatch):
    """As Kubernetes mounts a Secret: a link to a link to a folder, of which the second one changes."""
    made = tmp_path / "made.json"
    monkeypatch.setenv("TRUEUP_TOKENS_FILE", str(made))
    first = trueup("token", "add", "shop").out.split()[0]
    folder = tmp_path / "mounted"
    (folder / "..1").mkdir(parents=True)
    (folder / "..1" / "tokens.json").write_bytes(made.read_bytes())
    (folder / "..data").symlink_to("..1")
    (folder / "tokens.json").symlink_to("..data/tokens.json")
    second = trueup("token", "add", "other").out.split()[0]
    monkeypatch.setenv("TRUEUP_TOKENS_FILE", str(folder / "tokens.json"))
    settings = read_settings(["toy", "--host", "0.0.0.0"], os.environ)
    clock = Clock()
    known = Tokens(settings.tokens, required=not settings.loopback, clock=clock)
    assert known.grant(bearer(first)).name == "shop"
    with pytest.raises(Denied):
        known.grant(bearer(second))
    (folder / "..2").mkdir()
    (folder / "..2" / "tokens.json").write_bytes(made.read_bytes())
    (folder / "..new").symlink_to("..2")
    (folder / "..new").rename(folder / "..data")
    shutil.rmtree(folder / "..1")
    clock.now += 2
    assert known.grant(bearer(second)).name == "other"
