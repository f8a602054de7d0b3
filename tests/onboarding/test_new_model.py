"""From a messy table through `new`, `check` and the loop: what is wrong with it is named, settled, and learned from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import messy
from tests.editors import marked
from trueup.adapters.background import NoReports
from trueup.config import json_schema
from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.profiling.questions import Ask
from trueup.domain.types import Status
from trueup.errors import UsageError
from trueup.handoffs import Cycle
from trueup.home import Home
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import Model
from trueup.onboarding.check import check
from trueup.onboarding.new_model import Drafted, draft, save

BATCHES = 6


@dataclass
class Made:
    """A messy table, the config that was made of it, and what its first batches came to."""

    table: messy.Messy
    drafted: Drafted
    home: Home
    config: ModelConfig
    problems: list[str]
    turns: list[Cycle]

    @property
    def model(self) -> Model:
        return Model(self.config, self.home)

    @property
    def rows(self) -> pd.DataFrame:
        """The landed rows of all batches."""
        return pd.concat([self.home.store.read(c.batch.rows) for t in self.turns for c in t.batches])

    @property
    def decisions(self) -> list[str]:
        """What the ledger holds of decisions."""
        return [e.kind for e in self.home.ledger.entries(self.config.model)]


def opened(folder: Path) -> Home:
    """A home beside the configs, without reports."""
    home = Home(Settings(home=folder / "home", configs=folder / "configs"))
    home.background = NoReports()
    return home


def quick(text: str) -> str:
    """Fewer recipes to try, which is not looked at here."""
    return re.sub(r"trials: \d+", "trials: 1", text).replace(
        "families: [gradient_boosting, linear]", "families: [gradient_boosting]"
    )


def asked(table: messy.Messy, folder: Path, **said: object) -> Ask:
    """What a person says who knows nothing of the table but what its columns are called."""
    data = table.write(folder / "data")
    labels = None if table.outcomes is None else str(table.outcomes_path(folder / "data"))
    return Ask(table.fault, str(data), "ordered", "late", labels=labels, **said)


def made(table: messy.Messy, folder: Path, turns: int) -> Made:
    """Write the config, check it, and turn the loop when a first champion is due and two batches on: without an edit."""
    home = opened(folder)
    drafted = draft(asked(table, folder), home)
    save(drafted)
    assert marked(drafted.text) == []
    drafted.path.write_text(quick(drafted.path.read_text()))
    config = load_model(home.configs, table.fault)
    first = drafted.findings.times.moments.min().normalize()
    weeks = [first + timedelta(weeks=w + 1) for w in range(40)]
    newest = drafted.findings.times.moments.max()
    full = [w for w in weeks if w <= newest][-BATCHES:]
    done = [cycle(steps, Model(config, home), w.to_pydatetime()) for w in (full[-3], full[-1])[:turns]]
    return Made(table, drafted, home, config, check(table.fault, home).problems, done)


@pytest.fixture
def of(tmp_path) -> Iterator[Callable[..., Made]]:
    """What became of a fault's table: a champion, without an edit, whatever else is to be seen."""
    known: list[Made] = []

    def get(fault: str, turns: int = 2) -> Made:
        known.append(made(messy.FAULTS[fault](), tmp_path, turns))
        if turns:
            _comes_to_a_champion(known[-1])
        assert known[-1].problems == []
        return known[-1]

    yield get
    for each in known:
        each.home.close()


def _comes_to_a_champion(done: Made) -> None:
    assert len([c for t in done.turns for c in t.batches]) >= BATCHES
    used = [c for t in done.turns for c in t.batches if c.batch.rows.rows]
    assert {c.status for c in used} == {Status.PASS}, [c.reasons for c in used]
    decided = [t.decided for t in done.turns if t.decided.outcome != "none"]
    assert decided[-1].reasons or decided[-1].verdicts
    assert "promoted" in done.decisions, [d.reasons for d in decided]
    assert sum(s.new for t in done.turns for s in t.scored if s.version is not None) > 200


def test_columns_that_know_the_answer_are_left_out_and_named(of):
    done = of("leak", turns=0)
    assert {s.column for s in done.drafted.findings.suspects} == {"hours_over", "mail_sent"}
    for column in ("hours_over", "mail_sent"):
        assert re.search(rf"CHECK: left out: .*{column}.*: LEAK SUSPECT", done.drafted.text)
        assert column not in done.config.input_columns
    assert set(done.config.features.numeric) == {"amount", "km", "items"}
    assert (done.config.export.format, done.config.export.required) == ("onnx", False)


def test_what_stands_for_nothing_is_missing(of):
    done, frame = of("sentinels"), messy.sentinels().frame
    found = done.drafted.findings
    assert "CHECK: values that mean missing" in done.drafted.text
    said = {"amount": ["?"], "km": [-200], "items": [999], "stock": ["unknown"], "city": ["NULL"]}
    assert done.config.ingest.missing == said
    assert {n: sum(c.sentinels.values()) for n, c in found.columns.items() if c.sentinels} == {
        name: int(frame[name].astype(str).isin(["?", "-200.0", "999", "unknown", "NULL"]).sum()) for name in said
    }
    rows = done.rows
    assert rows["km"].min() > 0
    assert rows["items"].max() == 8
    assert (rows[["amount", "km", "items", "stock", "city"]].isna().mean() > 0.02).all()
    assert set(rows["city"].dropna().unique()) == {"Bern", "Graz", "Lyon", "Turin"}


@pytest.mark.thorough  # tests/unit/profiling/test_profile.py and tests/stages/test_values.py read such times, too
def test_dates_that_are_written_in_two_ways_are_read_right(of):
    done, right = of("mixed_dates"), messy.orders()
    assert done.drafted.findings.times.moments.tolist() == right["ordered"].tolist()
    assert "CHECK time: written in 2 ways (ISO 8601, %d/%m/%Y %H:%M:%S)" in " ".join(done.drafted.text.split())
    landed = done.home.source(done.config).everything()["ordered"]
    assert pd.to_datetime(landed).sort_values().tolist() == right["ordered"].tolist()
    assert sum(c.batch.rows.rows for t in done.turns for c in t.batches) == len(
        right[right["ordered"] < messy.START + timedelta(weeks=7)]
    )


def test_of_rows_with_the_same_key_the_last_counts(of):
    done, frame = of("duplicates"), messy.duplicates().frame
    assert done.drafted.findings.duplicates == 140
    assert "140 rows repeat another or its key; of each the last counts" in done.drafted.text
    assert done.config.ingest.key == ["order"]
    newest = frame[frame["ordered"] < messy.START + timedelta(weeks=7)].drop_duplicates("order", keep="last")
    assert sorted(done.rows["amount"]) == sorted(newest["amount"])


def test_how_long_an_outcome_takes_is_guessed_from_the_newest_rows(of):
    done = of("label_delay", turns=0)
    assert done.config.ingest.label.known_after == timedelta(days=5)
    text = " ".join(done.drafted.text.split())
    assert "CHECK: known_after: the newest" in text
    assert "of 5 days, have no outcome yet" in text


def test_outcomes_in_a_second_file_are_joined_by_the_key_that_is_called_otherwise_there(of):
    done = of("outcomes_apart")
    label = done.config.ingest.label
    assert (label.key, label.known_at, label.known_after) == ({"order": "order_no"}, "told", None)
    assert "CHECK: told says when an outcome became known" in done.drafted.text
    newest = done.model.batches(done.turns[-1].as_of)[0]
    labels = done.home.store.read(newest.labels)
    assert len(labels) == newest.rows.rows
    assert ((labels["known_at"] - labels["event_time"]) == timedelta(days=3)).all()


def test_rows_from_a_moment_on_can_be_left_out_of_sight(tmp_path):
    table, until = messy.Messy("plain", messy.orders()), messy.START + timedelta(days=35)
    late = table.frame["ordered"] >= until
    told = [
        draft(asked(replace(table, frame=frame), tmp_path / str(i), until=until), opened(tmp_path / str(i)))
        for i, frame in enumerate((table.frame, table.frame.assign(km=table.frame["km"].where(~late, -999))))
    ]
    assert told[0].text == told[1].text.replace(str(tmp_path / "1"), str(tmp_path / "0"))
    assert f"(--until): {int(late.sum()):,}" in told[0].text
    with pytest.raises(UsageError, match="no row is earlier"):
        draft(asked(table, tmp_path / "none", until=messy.START), opened(tmp_path / "none"))


def test_a_category_of_very_many_values_is_no_feature(of):
    done = of("categories", turns=0)
    found = done.drafted.findings
    assert found.columns["customer"].distinct > 1_000
    assert "values, each too rare to learn from" in done.drafted.text
    assert "customer" not in done.config.features.categorical
    assert "shop" in done.config.features.categorical
    allowed = [r.kwargs["column"] for r in found.usual.rules if "value_set" in r.kwargs]
    assert "city" in allowed
    assert "customer" not in allowed
    assert [e.type for e in done.config.validation.expectations] == ["expect_column_values_to_not_be_null"]


@pytest.mark.thorough  # a gap of a year is in test_new_odd.py
def test_a_gap_is_named_and_its_batches_are_empty_not_broken(of):
    done = of("gap")
    (found,) = done.drafted.findings.gaps
    assert (found.start.date().isoformat(), found.end.date().isoformat()) == ("2024-01-28", "2024-02-26")
    assert "CHECK: no row from 2024-01-28 to 2024-02-26" in done.drafted.text
    empty = [c for t in done.turns for c in t.batches if not c.batch.rows.rows]
    assert len(empty) == 4
    assert {c.status for c in empty} == {Status.INCONCLUSIVE}


def test_where_a_linear_model_is_as_good_as_any_it_becomes_champion(tmp_path):
    """It would never be better than the linear model that a larger table's challengers are compared with."""
    rng = np.random.default_rng(3)
    x, rows = rng.normal(size=(2, 3000)), np.arange(3000)
    late = rng.random(3000) < 1 / (1 + np.exp(-1.5 * x[0] + x[1]))
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rows * 45, unit="min")
    frame = pd.DataFrame({"id": rows, "ordered": when, "a": x[0], "b": x[1], "late": late.astype(int)})
    frame.to_csv(tmp_path / "orders.csv", index=False)
    home = opened(tmp_path)
    drafted = draft(Ask("orders", str(tmp_path / "orders.csv"), "ordered", "late"), home)
    save(drafted)
    written = drafted.path.read_text().replace("families: [gradient_boosting, linear]", "families: [linear]")
    drafted.path.write_text(re.sub(r"trials: \d+", "trials: 1", written))
    decided = cycle(steps, Model(load_model(home.configs, "orders"), home), datetime(2024, 3, 25)).decided
    assert decided.outcome == "promoted", decided.reasons
    home.close()


def test_drafting_writes_nothing_and_saving_refuses_to_overwrite(tmp_path):
    home = opened(tmp_path)
    table = messy.Messy("plain", messy.orders(days=21))
    drafted = draft(asked(table, tmp_path), home)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]
    save(drafted)
    assert drafted.path.read_text() == drafted.text
    with pytest.raises(UsageError, match="exists; choose another name, or overwrite it with --force"):
        save(drafted)
    save(drafted, replace_it=True)
    assert sorted(p.name for p in drafted.path.parent.iterdir()) == [".schema", "plain.usual.yaml", "plain.yaml"]
    assert {p.name: p.read_text() for p in (drafted.path.parent / ".schema").iterdir()} == json_schema.texts()
    home.close()


def test_the_same_table_gives_the_same_config(tmp_path):
    home = opened(tmp_path)
    ask = asked(messy.Messy("plain", messy.orders(days=28)), tmp_path)
    assert draft(ask, home).text == draft(ask, home).text
    home.close()
