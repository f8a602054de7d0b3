"""The ledger on real databases: SQLite through two kinds of engine, and PostgreSQL where its programs are installed."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueup.adapters.sql.engines import connect, initialise
from trueup.domain.events import ModelStale
from trueup.errors import LedgerError, StaleDecision
from trueup.ledger.canonical import _plain, canonical
from trueup.ledger.entries import Decision, Event, Promotion
from trueup.ledger.ledger import Ledger
from trueup.ledger.record import Record, Serving
from trueup.ledger.signing import Keys, open_signer
from trueup.ledger.tables import CHAMPIONS, DECISIONS, METADATA, OUTBOX

AS_OF = datetime(2013, 3, 1)


@pytest.fixture(params=["home", "plain", "postgres"])
def engine(request, tmp_path):
    if request.param == "postgres":
        engine = connect(request.getfixturevalue("postgres_url"))
    elif request.param == "home":
        engine = connect(f"sqlite:///{tmp_path}/trueup.db")
    else:
        engine = sa.create_engine(f"sqlite:///{tmp_path}/plain.db")
    initialise(engine, METADATA)
    yield engine
    engine.dispose()


def decision(number=0, model="flights", epoch=None, **fields):
    promotion = None if epoch is None else Promotion(version=number + 1, manifest_digest="d" * 64, expected_epoch=epoch)
    kind = "rejected" if promotion is None else "promoted"
    body = Record(**fields.pop("body", {}))
    return Decision(f"{model}-{number}", model, kind, AS_OF + timedelta(days=number), body, promotion, **fields)


def count(engine, table):
    with engine.begin() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table))


def tamper(engine, statement):
    """Change rows as somebody would who owns the database and has taken the triggers away."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            for name in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(sa.text("SET session_replication_role = replica"))
        connection.execute(statement)
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SET session_replication_role = DEFAULT"))


class TestAppend:
    def test_an_entry_comes_back_as_it_was_recorded(self, engine):
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        ledger = Ledger(engine, now=lambda: moment)
        body = {"figures": {"log_loss": 0.1 + 0.2, "auc": float("nan"), "n": np.int64(7)}, "reasons": ["größer"]}
        entry = ledger.append(decision(body=body, epoch=0))
        assert (entry.seq, entry.model, entry.kind, entry.as_of, entry.recorded_at) == (
            1,
            "flights",
            "promoted",
            AS_OF,
            moment,
        )
        assert entry.body.figures == {"log_loss": 0.1 + 0.2, "auc": None, "n": 7}
        assert entry.body.promotion == Serving(epoch=1, version=1, manifest_digest="d" * 64)
        assert ledger.entries() == [entry] == [ledger.find("flights-0")]
        assert ledger.find("other") is None
        assert ledger.verify() == []

    def test_the_same_decision_again_changes_nothing(self, engine):
        ledger = Ledger(engine)
        event = Event("promoted", {"version": 1})
        first = ledger.append(decision(epoch=0, events=(event,), body={"seconds": 1.0}))
        again = ledger.append(decision(epoch=0, events=(event,), body={"seconds": 2.0}))
        assert again == first
        assert (count(engine, DECISIONS), count(engine, CHAMPIONS), count(engine, OUTBOX)) == (1, 1, 1)

    def test_an_id_of_another_model_is_refused(self, engine):
        ledger = Ledger(engine)
        ledger.append(decision())
        with pytest.raises(LedgerError, match="belongs to flights"):
            ledger.append(replace(decision(), model="trains"))

    def test_a_promotion_against_a_former_champion_is_stale_and_leaves_nothing(self, engine):
        ledger = Ledger(engine)
        ledger.append(decision(0, epoch=0))
        for stale in (0, 2):
            with pytest.raises(StaleDecision, match=r"epoch 1, judged against \d"):
                ledger.append(decision(1, epoch=stale, events=(Event("promoted"),)))
        assert (count(engine, DECISIONS), count(engine, CHAMPIONS), count(engine, OUTBOX)) == (1, 1, 0)
        assert ledger.append(decision(1, epoch=1)).seq == 2

    def test_the_database_refuses_to_change_what_was_appended(self, engine):
        ledger = Ledger(engine)
        ledger.append(decision(epoch=0))
        for table, statement in [
            (DECISIONS, sa.update(DECISIONS).values(kind="rejected")),
            (DECISIONS, sa.delete(DECISIONS)),
            (CHAMPIONS, sa.update(CHAMPIONS).values(version=9)),
            (CHAMPIONS, sa.delete(CHAMPIONS)),
        ]:
            with (
                pytest.raises(sa.exc.SQLAlchemyError, match=f"{table.name} can only be appended to"),
                engine.begin() as connection,
            ):
                connection.execute(statement)
        assert ledger.verify() == []

    def test_a_clock_that_jumps_back_does_not_change_the_order(self, engine):
        moments = iter([datetime(2026, 1, 2, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)])
        ledger = Ledger(engine, now=lambda: next(moments))
        ledger.append(decision(0, epoch=0))
        ledger.append(decision(1, epoch=1))
        assert [e.seq for e in ledger.entries()] == [1, 2]
        assert ledger.champion("flights").version == 2
        assert ledger.verify() == []

    def test_a_ledger_without_tables_says_so(self, tmp_path):
        engine = sa.create_engine(f"sqlite:///{tmp_path}/empty.db")
        with pytest.raises(LedgerError, match=r"cannot be read: no such table: decisions; check"):
            Ledger(engine).entries()
        with pytest.raises(LedgerError, match=r"cannot be written"):
            Ledger(engine).append(decision())
        engine.dispose()

    def test_a_locked_ledger_says_so(self, tmp_path):
        engine = sa.create_engine(f"sqlite:///{tmp_path}/x.db", connect_args={"timeout": 0.05})
        METADATA.create_all(engine)
        with engine.begin() as holder:
            holder.exec_driver_sql("UPDATE champions SET epoch = 1 WHERE 1 = 0")
            with pytest.raises(LedgerError, match=r"database is locked; .* run again"):
                Ledger(engine).append(decision())
        engine.dispose()

    def test_a_decision_is_well_formed(self):
        with pytest.raises(ValueError, match="without one"):
            Decision("x", "flights", "held", datetime(2013, 3, 1, tzinfo=UTC))
        with pytest.raises(ValueError, match="the ledger's own"):
            Decision("x", "flights", "held", AS_OF, Record(promotion=Serving(epoch=9, version=1, manifest_digest="")))


class TestReading:
    def test_champions_now_and_then(self, engine):
        ledger = Ledger(engine)
        assert ledger.champion("flights") is None
        ledger.append(decision(0, epoch=0, body={"recipe": "a"}))
        ledger.append(decision(1))
        ledger.append(decision(5, epoch=1, body={"recipe": "b"}))
        ledger.append(decision(0, model="trains", epoch=0))
        now = ledger.champion("flights")
        assert (now.epoch, now.version, now.entry.seq, now.entry.body.recipe) == (2, 6, 3, "b")
        assert ledger.champion_at("flights", AS_OF - timedelta(microseconds=1)) is None
        assert ledger.champion_at("flights", AS_OF + timedelta(days=4)).version == 1
        assert ledger.champion_at("flights", AS_OF + timedelta(days=5)).version == 6
        assert ledger.champion("trains").version == 1

    def test_a_rollback_is_a_promotion_of_an_older_version(self, engine):
        ledger = Ledger(engine)
        ledger.append(decision(0, epoch=0))
        ledger.append(decision(1, epoch=1))
        back = Decision(
            "back", "flights", "rolled_back", AS_OF + timedelta(days=2), promotion=Promotion(1, "d" * 64, 2)
        )
        ledger.append(back)
        assert (ledger.champion("flights").epoch, ledger.champion("flights").version) == (3, 1)

    def test_entries_by_model_and_the_newest_first_cut(self, engine):
        ledger = Ledger(engine)
        for number in range(4):
            ledger.append(decision(number, model="flights" if number % 2 else "trains"))
        assert [e.seq for e in ledger.entries("flights")] == [2, 4]
        assert [e.seq for e in ledger.entries(limit=2)] == [3, 4]
        assert ledger.entries("flights", limit=1)[0].seq == 4

    def test_the_outbox_is_emptied_once(self, engine):
        ledger = Ledger(engine)
        ledger.append(decision(0, events=(Event("a", {"x": 1}), Event("b"))))
        ledger.append(decision(1, events=(Event("c"),)))
        pending = ledger.pending_outbox()
        assert [(m.seq, m.topic, m.payload) for m in pending] == [(1, "a", {"x": 1}), (1, "b", {}), (2, "c", {})]
        assert [m.topic for m in ledger.pending_outbox(limit=1)] == ["a"]
        ledger.mark_delivered(pending[:2])
        ledger.mark_delivered(pending[:1])
        ledger.mark_delivered([])
        assert [m.topic for m in ledger.pending_outbox()] == ["c"]
        assert ledger.verify() == []


class TestAnnounce:
    def test_the_same_event_again_is_one_event_whoever_announces_it(self, engine):
        ledger = Ledger(engine)
        event = Event.of(ModelStale(model="flights", as_of=AS_OF, batch="a/b", revision=1, reasons=["old"]), "a/b:r1")
        assert ledger.announce("flights", [event, event]) == 1
        assert ledger.announce("flights", [event]) == 0
        ledger.append(decision(0, events=(event, Event("x"))))
        pending = ledger.pending_outbox()
        assert [(m.topic, m.model, m.seq) for m in pending] == [
            ("trueup.model.stale", "flights", None),
            ("x", "flights", 1),
        ]
        assert pending[0].payload["as_of"] == AS_OF.isoformat()
        assert len({m.event_id for m in pending}) == 2
        assert ledger.announce("flights", []) == 0
        with pytest.raises(ValueError, match="x: an event outside of a decision needs an id"):
            ledger.announce("flights", [Event("x")])
        assert ledger.verify() == []

    def test_both_consumers_keep_marks_of_their_own(self, engine):
        ledger = Ledger(engine)
        ledger.append(decision(0, events=(Event("a"), Event("b"))))
        ledger.mark_delivered(ledger.pending_outbox())
        assert [m.topic for m in ledger.pending_notices()] == ["a", "b"]
        ledger.mark_notified(ledger.pending_notices(limit=1))
        assert [m.topic for m in ledger.pending_notices()] == ["b"]
        assert ledger.pending_outbox() == []


EDITS = {
    "seq": 77,
    "model": "trains",
    "decision_id": "another",
    "kind": "promoted",
    "recorded_at": "2020-01-01T00:00:00.000000+00:00",
    "as_of": "2020-01-01T00:00:00.000000",
    "prev_hash": "f" * 64,
    "hash": "f" * 64,
    "body": "{}",
}


class TestVerify:
    @pytest.fixture
    def ledger(self, engine):
        ledger = Ledger(engine)
        for number in range(5):
            ledger.append(decision(number, body={"n": number}, epoch={0: 0, 3: 1}.get(number)))
        assert ledger.verify() == []
        return ledger

    @pytest.mark.parametrize("column", EDITS)
    def test_an_edited_field_is_found_and_its_entry_named(self, ledger, engine, column):
        tamper(engine, sa.update(DECISIONS).where(DECISIONS.c.seq == 2).values({column: EDITS[column]}))
        assert ledger.verify()[0].seq == 2

    def test_a_missing_entry_is_named(self, ledger, engine):
        tamper(engine, sa.delete(DECISIONS).where(DECISIONS.c.seq == 2))
        assert [str(p) for p in ledger.verify()] == ["entry 2: is missing; entry 3 follows"]

    def test_a_rewritten_entry_breaks_the_link_of_the_next(self, ledger, engine):
        from trueup.ledger.entries import entry_hash

        with engine.begin() as connection:
            row = dict(connection.execute(sa.select(DECISIONS).where(DECISIONS.c.seq == 3)).mappings().one())
        row["body"] = "{}"
        row["hash"] = entry_hash(row)
        tamper(engine, sa.update(DECISIONS).where(DECISIONS.c.seq == 3).values(row))
        assert [str(p) for p in ledger.verify()] == [
            "entry 4: does not follow on entry 3: one of the two was rewritten"
        ]

    def test_an_end_that_was_cut_off_shows_where_something_rests_on_it(self, ledger, engine):
        ledger.append(decision(9, events=(Event("x"),)))
        if engine.dialect.name == "postgresql":
            tamper(engine, sa.text("ALTER TABLE outbox DROP CONSTRAINT outbox_seq_fkey"))
        else:
            engine = sa.create_engine(engine.url)
        tamper(engine, sa.delete(DECISIONS).where(DECISIONS.c.seq == 6))
        assert [p.seq for p in ledger.verify()] == [6]
        engine.dispose()

    @pytest.mark.parametrize(
        ("column", "value"), [("version", 9), ("manifest_digest", "e" * 64), ("epoch", 9), ("seq", 2)]
    )
    def test_an_edited_champion_is_found(self, ledger, engine, column, value):
        tamper(engine, sa.update(CHAMPIONS).where(CHAMPIONS.c.epoch == 2).values({column: value}))
        assert 4 in {p.seq for p in ledger.verify()}

    def test_a_champion_that_nothing_made_is_found(self, ledger, engine):
        row = {"model": "flights", "epoch": 3, "version": 9, "manifest_digest": "e" * 64, "seq": 2}
        tamper(engine, sa.insert(CHAMPIONS).values(row))
        assert [str(p) for p in ledger.verify()] == [
            "entry 2: did not make the champion of flights in epoch 3, which names it"
        ]

    def test_bytes_in_a_column_do_not_stop_the_walk(self, tmp_path):
        engine = sa.create_engine(f"sqlite:///{tmp_path}/x.db")
        METADATA.create_all(engine)
        ledger = Ledger(engine)
        ledger.append(decision())
        tamper(engine, sa.text("UPDATE decisions SET body = x'00ff'"))
        assert [p.seq for p in ledger.verify()] == [1]
        engine.dispose()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.text(max_size=5).filter(lambda k: k not in Record.model_fields), plain, max_size=4)
steps = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["a", "b"]), st.none() | st.integers(0, 3), bodies), max_size=12
)


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


def in_memory():
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    METADATA.create_all(engine)
    return engine, Ledger(engine, signer=open_signer(Path(), Keys("07" * 32)))


def play(ledger, steps):
    """Append what can be appended; ids repeat, and many promotions are stale."""
    for number, model, epoch, body in steps:
        try:
            ledger.append(decision(number, model=model, epoch=epoch, body=body))
        except StaleDecision:
            continue


class TestProperties:
    @given(steps)
    def test_the_chain_holds_after_any_sequence(self, steps):
        engine, ledger = in_memory()
        play(ledger, steps)
        entries = ledger.entries()
        assert ledger.verify() == []
        assert [e.seq for e in entries] == list(range(1, len(entries) + 1))
        assert len({e.decision_id for e in entries}) == len(entries)
        for model in ("a", "b"):
            epochs = [e.body.promotion.epoch for e in entries if e.model == model and e.body.promotion]
            assert epochs == list(range(1, len(epochs) + 1))
            champion = ledger.champion(model)
            assert (champion.epoch if champion else 0) == len(epochs)
        engine.dispose()

    @given(steps.filter(len), st.data())
    @settings(suppress_health_check=[HealthCheck.filter_too_much])
    def test_any_single_edit_is_found(self, steps, data):
        engine, ledger = in_memory()
        play(ledger, [(0, "a", 0, {}), *steps])
        table = data.draw(st.sampled_from([DECISIONS, CHAMPIONS]))
        column = data.draw(st.sampled_from(list(table.c)))
        with engine.connect() as connection:
            rows = connection.execute(sa.select(table)).mappings().all()
        row = data.draw(st.sampled_from(rows))
        old = row[column.name]
        text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
        new = data.draw((st.integers(-5, 99) if isinstance(old, int) else text).filter(lambda v: v != old))
        clashes = column.name in {"seq", "epoch", "decision_id", "model"} and any(r[column.name] == new for r in rows)
        if not clashes:  # what the keys refuse needs no finding
            key = [c == row[c.name] for c in table.primary_key]
            tamper(engine, sa.update(table).where(*key).values({column.name: new}))
            assert ledger.verify()
        engine.dispose()

    @given(bodies)
    def test_canonical_text_is_a_fixed_point(self, body):
        text = canonical(body)
        assert text.isascii()
        assert canonical(json.loads(text)) == text
        assert canonical(dict(reversed(body.items()))) == text


# What a body holds, and what has to be told otherwise than JSON's own encoder would, or not at all.
odd = st.recursive(
    plain
    | st.sampled_from([Colour.RED, Number.ONE, np.float64("nan"), np.float32(0.1), np.bool_(True), np.int64(7)])
    | st.sampled_from(
        [AS_OF, pd.NaT, pd.Timestamp("2013-03-01"), {1}, object(), b"x", {1: 2}, {None: 1}, {Colour.RED: 1}]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def _read_again(text):
    """What was written, in its order: Python writes .0000001 as 1e-07, orjson as 1e-7, and both are the same number."""
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return text


class TestCanonical:
    @given(odd)
    def test_values_that_need_no_care_are_written_as_those_that_do(self, value):
        """The short way for JSON's own types gives what the long way gives, text or refusal."""

        def text(write):
            try:
                return write()
            except TypeError as error:
                return str(error)

        long = text(
            lambda: json.dumps(_plain(value, ("value",)), sort_keys=True, separators=(",", ":"), allow_nan=False)
        )
        short = text(lambda: canonical(value))
        assert _read_again(short) == _read_again(long)

    def test_what_is_written_how(self):
        value = {
            "t": pd.Timestamp("2013-03-01"),
            "nat": pd.NaT,
            "inf": float("-inf"),
            "np": [np.float64(0.5), np.bool_(True), np.float32("nan")],
            "tuple": (1, "ü"),
        }
        assert canonical(value) == (
            '{"inf":null,"nat":null,"np":[0.5,true,null],"t":"2013-03-01T00:00:00","tuple":[1,"\\u00fc"]}'
        )

    @pytest.mark.parametrize(
        ("value", "place"),
        [
            ({"a": {"b": {1, 2}}}, r"value\.a\.b: set"),
            ({"a": [object()]}, r"value\.a\[0\]: object"),
            ({1: 2}, "value: 1 is a key"),
        ],
    )
    def test_what_has_no_single_text_is_refused_with_its_place(self, value, place):
        with pytest.raises(TypeError, match=place):
            canonical(value)


def _engine(url, plain):
    return sa.create_engine(url) if plain else connect(url)


def _promote_often(url, plain, name, barrier, rounds, results):
    engine = _engine(url, plain)
    ledger = Ledger(engine)
    for number in range(rounds):
        barrier.wait(60)
        promotion = Promotion(1, "d", expected_epoch=number)
        try:
            ledger.append(Decision(f"{name}-{number}", "flights", "promoted", AS_OF, promotion=promotion))
            results.put((number, "won"))
        except LedgerError as error:
            results.put((number, "stale" if isinstance(error, StaleDecision) else str(error)))
    engine.dispose()


@pytest.mark.parametrize("where", ["home", "plain", "postgres"])
def test_of_two_processes_that_promote_at_once_one_wins(where, tmp_path, request):
    url = request.getfixturevalue("postgres_url") if where == "postgres" else f"sqlite:///{tmp_path}/trueup.db"
    engine = _engine(url, where == "plain")
    initialise(engine, METADATA)
    rounds, context = 20, multiprocessing.get_context("forkserver")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_promote_often, args=(url, where == "plain", name, barrier, rounds, results))
        for name in ("a", "b")
    ]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=120) for _ in range(2 * rounds)]
    for worker in workers:
        worker.join(60)
    for number in range(rounds):
        assert sorted(outcome for n, outcome in outcomes if n == number) == ["stale", "won"]
    ledger = Ledger(engine)
    assert ledger.verify() == []
    assert len(ledger.entries()) == ledger.champion("flights").epoch == rounds
    engine.dispose()
