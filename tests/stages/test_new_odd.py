"""Tables that are odd in shape: each has a decided behaviour, and the config that `new` writes for it is sound."""

import numpy as np
import pandas as pd
import pytest

from trueup.config.settings import Settings
from trueup.domain.landing import split
from trueup.errors import TrueupError, UsageError
from trueup.stages.check import check
from trueup.stages.new import Ask, draft, save
from trueup.stages.ports import Ports


@pytest.fixture
def ports(tmp_path):
    opened = Ports(Settings(home=tmp_path / "home", configs=tmp_path / "configs"))
    yield opened
    opened.close()


def orders(n=2_400, days=120, seed=3):
    rng = np.random.default_rng(seed)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.integers(0, days * 86_400, n)), "s")
    x, shop = rng.normal(size=n).round(3), rng.choice(["a", "b", "c"], n)
    late = (rng.random(n) < 1 / (1 + np.exp(-1.5 * x))).astype(int)
    return pd.DataFrame({"order_id": np.arange(n) + 1, "ordered": when, "x": x, "shop": shop, "late": late})


def drafted(frame, ports, **said):
    """What `new` makes of a table, checked as `trueup check` would."""
    path = ports.configs.parent / "orders.csv"
    frame.to_csv(path, index=False)
    made = draft(Ask("orders", str(path), "ordered", "late", **said), ports)
    save(made, replace_it=True)
    assert check("orders", ports)["problems"] == []
    return made


def test_few_rows_make_a_config_with_smaller_limits_and_no_word_about_what_they_are_worth(ports):
    made = drafted(orders(n=48, days=24), ports)
    assert made.findings.choice is None
    assert made.config.validation.min_rows < 30
    assert made.config.train.min_rows == 30
    assert made.config.monitor.min_matured == 30


def test_of_fifty_columns_all_that_may_tell_something_are_features(ports):
    frame = orders()
    rng = np.random.default_rng(1)
    more = pd.DataFrame({f"n{i}": rng.normal(size=len(frame)).round(3) for i in range(45)})
    made = drafted(pd.concat([frame, more], axis=1), ports)
    assert {f"n{i}" for i in range(45)} <= set(made.config.features.numeric)
    assert not made.findings.suspects


def test_a_column_of_text_is_left_out_and_told_where_it_can_be_used(ports):
    frame = orders()
    words = np.random.default_rng(1).choice(["please", "ring", "the", "bell", "twice", "at", "gate"], (len(frame), 8))
    made = drafted(frame.assign(note=[" ".join(w) for w in words]), ports)
    assert "note" not in made.config.input_columns
    assert "features.custom" in made.findings.left_out["note"]
    assert "left out: note: is free text" in made.text


def test_booleans_are_numbers_and_an_outcome_that_is_true_counts_as_1(ports):
    frame = orders().assign(gift=lambda f: f["x"] > 0.4, late=lambda f: f["late"].astype(bool))
    made = drafted(frame, ports)
    assert "gift" in made.config.features.numeric
    raw = ports.source(made.config).everything()
    landing = split(raw, made.config.ingest, made.config.task, made.config.input_columns, made.config.numeric_columns)
    assert set(landing.rows["gift"]) == {0, 1}
    assert landing.labels["label"].sum() == frame["late"].sum()


def test_a_category_of_thousands_is_a_key_of_histories_at_most(ports):
    frame = orders(n=9_000)
    customer = np.random.default_rng(1).integers(0, 1_500, len(frame))
    made = drafted(frame.assign(customer=[f"customer {c}" for c in customer]), ports)
    assert "customer" not in made.config.features.categorical
    assert "each too rare to learn from" in made.findings.left_out["customer"]


def test_times_with_a_zone_are_brought_to_the_models(ports):
    frame = orders()
    zoned = frame.assign(ordered=frame["ordered"].dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"))
    made = drafted(zoned, ports, timezone="America/New_York")
    assert made.config.ingest.timezone == "America/New_York"
    first, _ = ports.source(made.config).extent()
    assert first == frame["ordered"].min().tz_localize("UTC").tz_convert("America/New_York").tz_localize(None)


def test_a_years_gap_is_named_and_the_batches_of_the_gap_are_empty(ports):
    frame = orders()
    later = frame.assign(order_id=frame["order_id"] + 10_000, ordered=frame["ordered"] + pd.Timedelta(days=480))
    made = drafted(pd.concat([frame, later]), ports)
    (gap,) = made.findings.gaps
    assert (gap.end - gap.start).days > 350
    assert f"CHECK: no row from {gap.start:%Y-%m-%d} to {gap.end:%Y-%m-%d}" in made.text
    middle = gap.start + pd.Timedelta(days=100)
    assert ports.source(made.config).read(middle, middle + pd.Timedelta(days=30)).empty


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"key": ("ordr_id",)}, r"no column ordr_id \(did you mean order_id\?\)"),
        ({"labels": "nowhere.csv"}, "there is no such file"),
        ({"above": 1.0, "labels": None}, None),
    ],
)
def test_what_is_said_wrong_is_told_with_the_mend(ports, said, what):
    if what is None:
        assert drafted(orders().assign(late=lambda f: f["x"] * 3), ports, **said).config.ingest.label.above == 1.0
        return
    with pytest.raises(TrueupError, match=what):
        drafted(orders(), ports, **said)


def test_a_key_that_repeats_everywhere_is_told_and_the_last_row_counts(ports):
    frame = orders().drop(columns=["order_id"])
    twice = pd.concat([frame, frame.assign(late=1 - frame["late"])])
    made = drafted(twice, ports)
    assert made.findings.duplicates == len(frame)
    assert "share theirs with another" in made.text


def test_an_outcome_that_tells_nothing_apart_is_refused(ports):
    with pytest.raises(UsageError, match="nothing to tell apart"):
        drafted(orders().assign(late=1), ports)
