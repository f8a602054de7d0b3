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
from trueup.ledger.signing import open_signer
from trueup.ledger.tables import DECISIONS, METADATA

KEY, OTHER = "11" * 32, "22" * 32


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/trueup.db")
    initialise(engine, METADATA)
    yield engine
    engine.dispose()


def ledger(engine, tmp_path, key=KEY, earlier=None):
    return Ledger(engine, signer=open_signer(tmp_path, key, earlier))


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
    before = ledger(engine, tmp_path, OTHER)
    before.append(decision(0))
    after = ledger(engine, tmp_path, KEY)
    after.append(decision(1))
    (found,) = after.verify()
    assert found.seq == 1
    assert "TRUEUP_LEDGER_EARLIER_KEYS" in found.what
    assert ledger(engine, tmp_path, KEY, open_signer(tmp_path, OTHER).public).verify() == []


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
        open_signer(tmp_path, given)
    assert not given or given not in str(refused.value)


def test_a_key_may_be_written_in_base64(tmp_path):
    assert (
        open_signer(tmp_path, "ERERERERERERERERERERERERERERERERERERERERERE=").public
        == open_signer(tmp_path, KEY).public
    )
