"""The ledger's signature: what nobody with the key has written is found, and the key is looked after."""

from __future__ import annotations

import stat
from datetime import datetime

import pytest
import sqlalchemy as sa

from trueup.adapters.sql.engines import connect, initialise
from trueup.errors import LedgerError
from trueup.ledger.entries import Decision, entry_hash
from trueup.ledger.ledger import Ledger
from trueup.ledger.record import Record
from trueup.ledger.signing import Keys, open_signer
from trueup.ledger.tables import DECISIONS, METADATA

KEY, OTHER = "11" * 32, "22" * 32


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/trueup.db")
    initialise(engine, METADATA)
    yield engine
    engine.dispose()


def ledger(engine, tmp_path, key=KEY, earlier=None):
    return Ledger(engine, signer=open_signer(tmp_path, Keys(key, earlier=earlier)))


def decision(number):
    return Decision(f"flights-{number}", "flights", "rejected", datetime(2013, 3, 1 + number), Record(number=number))


def without_triggers(engine):
    with engine.begin() as connection:
        for name in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {name}"))


def test_a_signed_ledger_is_fine(engine, tmp_path):
    written = ledger(engine, tmp_path)
    for number in range(3):
        written.append(decision(number))
    assert written.verify() == []


def test_a_chain_rewritten_to_its_end_is_found(engine, tmp_path):
    """Hashes alone cannot show it: whoever may write to the database computes them anew."""
    written = ledger(engine, tmp_path)
    for number in range(3):
        written.append(decision(number))
    without_triggers(engine)
    with engine.begin() as connection:
        prev = None
        for row in connection.execute(sa.select(DECISIONS).order_by(DECISIONS.c.seq)).mappings().all():
            new = dict(row)
            if row["seq"] >= 2:
                new["body"] = row["body"].replace("1", "7")
                new["prev_hash"] = prev
                new["hash"] = entry_hash(new)
                connection.execute(sa.update(DECISIONS).where(DECISIONS.c.seq == row["seq"]).values(new))
            prev = new["hash"]
    assert Ledger(engine).verify() == []
    found = written.verify()
    assert [p.seq for p in found] == [2, 3]
    assert "has an invalid signature" in str(found[0])


def test_an_entry_without_a_signature_is_named(engine, tmp_path):
    Ledger(engine).append(decision(0))
    ledger(engine, tmp_path).append(decision(1))
    found = ledger(engine, tmp_path).verify()
    assert [p.seq for p in found] == [1]
    assert "is not signed" in str(found[0])


def test_an_earlier_key_is_believed_when_it_is_named(engine, tmp_path):
    ledger(engine, tmp_path, OTHER).append(decision(0))
    (found,) = ledger(engine, tmp_path, KEY).verify()
    assert found.seq == 1
    assert "TRUEUP_LEDGER_EARLIER_KEYS" in found.what
    after = ledger(engine, tmp_path, KEY, open_signer(tmp_path, Keys(OTHER)).public)
    after.append(decision(1))
    assert after.verify() == []


def test_another_key_than_that_of_the_newest_entry_signs_nothing(engine, tmp_path):
    """Two homes on one database, each with a key of its own: the second is stopped before the ledger is spoilt."""
    ledger(engine, tmp_path, OTHER).append(decision(0))
    with pytest.raises(LedgerError, match="nothing was signed; set TRUEUP_LEDGER_KEY or TRUEUP_LEDGER_KEY_FILE"):
        ledger(engine, tmp_path, KEY).append(decision(1))
    assert len(ledger(engine, tmp_path).entries()) == 1


def test_no_second_key_is_made_for_a_ledger_that_is_signed(tmp_path):
    signed_with = open_signer(tmp_path / "first").key_id
    with pytest.raises(LedgerError, match="this home has none, so nothing was signed"):
        open_signer(tmp_path / "second", signed_with=signed_with)
    assert not (tmp_path / "second").exists()


def test_a_key_of_a_secret_store_is_read_from_its_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{KEY}\n")
    file.chmod(0o440)
    assert open_signer(tmp_path, Keys(file=file)).public == open_signer(tmp_path, Keys(KEY)).public
    for keys, problem in (
        (Keys(KEY, file), "are both set"),
        (Keys(file=tmp_path / "none"), "KEY_FILE: .* cannot be read"),
    ):
        with pytest.raises(LedgerError, match=problem):
            open_signer(tmp_path, keys)
    file.chmod(0o444)
    with pytest.raises(LedgerError, match="can be read by everybody"):
        open_signer(tmp_path, Keys(file=file))


def test_public_keys_suffice_to_verify_and_sign_nothing(engine, tmp_path):
    ledger(engine, tmp_path, OTHER).append(decision(0))
    home = tmp_path / "elsewhere"
    public = ",".join(open_signer(tmp_path, Keys(key)).public for key in (KEY, OTHER))
    reader = Ledger(engine, signer=open_signer(home, Keys(public=public)))
    assert reader.verify() == []
    with pytest.raises(LedgerError, match="only public keys"):
        reader.append(decision(1))
    assert not home.exists()
    stranger = Ledger(engine, signer=open_signer(home, Keys(public=open_signer(tmp_path, Keys(KEY)).public)))
    assert "is signed with another key" in str(stranger.verify()[0])


def test_a_home_makes_its_key_once_for_its_owner_only(tmp_path):
    first = open_signer(tmp_path / "home")
    file = tmp_path / "home" / "ledger.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert open_signer(tmp_path / "home").public == first.public
    assert list(file.parent.iterdir()) == [file]


def test_a_key_that_others_may_read_is_refused(tmp_path):
    open_signer(tmp_path)
    (tmp_path / "ledger.key").chmod(0o644)
    with pytest.raises(LedgerError, match="chmod 600"):
        open_signer(tmp_path)


@pytest.mark.parametrize("given", ["", "abc", "zz" * 32, "11" * 31])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path, given):
    with pytest.raises(LedgerError, match="TRUEUP_LEDGER_KEY: not a key") as refused:
        open_signer(tmp_path, Keys(given))
    assert not given or given not in str(refused.value)


def test_a_key_may_be_written_in_base64(tmp_path):
    assert (
        open_signer(tmp_path, Keys("ERERERERERERERERERERERERERERERERERERERERERE=")).public
        == open_signer(tmp_path, Keys(KEY)).public
    )


def test_a_document_is_signed_as_one_of_its_kind_and_never_as_an_entry(tmp_path):
    signer = open_signer(tmp_path, Keys(KEY))
    content = ("ab" * 32).encode()  # what an entry's hash looks like
    signature = signer.sign_document("trueup-bundle-1", content)
    assert signer.verifies_document("trueup-bundle-1", signer.key_id, content, signature)
    assert signer.verifies_document("trueup-trust-1", signer.key_id, content, signature) is False
    assert signer.verifies_document("trueup-bundle-1", signer.key_id, content + b" ", signature) is False
    assert signer.verifies_document("trueup-bundle-1", "0" * 16, content, signature) is None
    assert signer.verifies(signer.key_id, content.decode(), signature) is False
    assert signer.verifies(signer.key_id, f"trueup-bundle-1\n{content.decode()}", signature)  # the bytes are these
    assert not signer.verifies_document("trueup-bundle-1", signer.key_id, content, signer.sign(content.decode()))


@pytest.mark.parametrize("kind", ["", "ab" * 32, "trueup", "trueup-bundle-1\nx", "Trueup-1"])
def test_what_names_no_kind_of_document_signs_nothing(tmp_path, kind):
    with pytest.raises(ValueError, match="names no kind of document"):
        open_signer(tmp_path, Keys(KEY)).sign_document(kind, b"x")


def test_the_public_keys_of_all_that_is_believed_are_known(tmp_path):
    before = open_signer(tmp_path, Keys(OTHER))
    after = open_signer(tmp_path, Keys(KEY, earlier=before.public))
    assert after.public_of(before.key_id) == before.public
    assert after.public_of(after.key_id) == after.public
    assert after.public_of("0" * 16) is None
