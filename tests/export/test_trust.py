"""The trust anchor of a model: what a device is told to believe, and who signed it."""

import json

import pytest

from tests import streams
from trueup.ledger.canonical import canonical
from trueup.ledger.signing import Keys, open_signer


@pytest.fixture
def shop(command_line, tmp_path, monkeypatch):
    streams.write(tmp_path, streams.Stream(days=7).frame())
    monkeypatch.setenv("TRUEUP_LEDGER_KEY", "33" * 32)
    return command_line(tmp_path)


def written(shop, *also):
    file = shop.folder / "trust.json"
    done = shop("export-trust", "toy", "--to", str(file), *also, "--json")
    assert done.code == 0, done.err
    return json.loads(file.read_text()), json.loads(done.out)


def is_signed_with(signer, anchor):
    content = canonical({key: value for key, value in anchor.items() if key != "signed"}).encode()
    return signer.verifies_document(
        "trueup-trust-1", anchor["signed"]["key_id"], content, anchor["signed"]["signature"]
    )


def test_an_anchor_has_the_model_and_the_key_that_signs_it(shop, tmp_path):
    anchor, said = written(shop)
    signer = open_signer(tmp_path, Keys("33" * 32))
    assert (anchor["format"], anchor["model"]) == ("trueup-trust/1", "toy")
    assert anchor["keys"] == [{"key_id": signer.key_id, "public": signer.public}]
    assert is_signed_with(signer, anchor)
    assert said["number"] == anchor["number"] > 1_700_000_000  # seconds since 1970
    assert said["keys"] == [signer.key_id]


def test_a_key_is_changed_in_three_steps_each_signed_by_a_key_that_is_believed(shop, tmp_path, monkeypatch):
    old, new = open_signer(tmp_path, Keys("33" * 32)), open_signer(tmp_path, Keys("44" * 32))
    both, _ = written(shop, "--also", new.public)
    assert [key["key_id"] for key in both["keys"]] == [old.key_id, new.key_id]
    assert is_signed_with(old, both)
    monkeypatch.setenv("TRUEUP_LEDGER_KEY", "44" * 32)
    monkeypatch.setenv("TRUEUP_LEDGER_EARLIER_KEYS", old.public)
    after, _ = written(shop)
    assert [key["key_id"] for key in after["keys"]] == [
        new.key_id
    ]  # the ledger believes the earlier one, devices do not
    assert is_signed_with(new, after)


@pytest.mark.parametrize("key", ["", "abc", "zz" * 32])
def test_what_is_no_key_is_refused_and_nothing_is_written(shop, key):
    done = shop("export-trust", "toy", "--to", str(shop.folder / "trust.json"), "--also", key)
    assert done.code == 1
    assert "not a key; it has 32 bytes in hex or base64" in done.err
    assert not (shop.folder / "trust.json").exists()


def test_an_unknown_model_is_wrong_usage(shop):
    done = shop("export-trust", "toi", "--to", str(shop.folder / "trust.json"))
    assert done.code == 2
    assert "did you mean toy?" in done.err


def test_a_key_that_others_may_read_signs_nothing(shop, monkeypatch):
    monkeypatch.delenv("TRUEUP_LEDGER_KEY")
    assert shop("export-trust", "toy", "--to", str(shop.folder / "trust.json")).code == 0
    (shop.home / "ledger.key").chmod(0o644)
    done = shop("export-trust", "toy", "--to", str(shop.folder / "trust.json"))
    assert done.code == 1
    assert "chmod 600" in done.err
