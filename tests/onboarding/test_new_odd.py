"""Tables that are odd in shape: each has a decided behaviour, and the config that `new` writes for it is sound."""

import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from tests.editors import marked
from trueup.config.settings import Settings
from trueup.domain.data.landing import split
from trueup.domain.profiling.questions import Ask
from trueup.errors import TrueupError, UsageError
from trueup.home import Home
from trueup.onboarding.check import check
from trueup.onboarding.deployments import deploy
from trueup.onboarding.new_model import draft, save


@pytest.fixture
def home(tmp_path):
    opened = Home(Settings(home=tmp_path / "home", configs=tmp_path / "configs"))
    yield opened
    opened.close()


def orders(n=2_400, days=120, seed=3):
    rng = np.random.default_rng(seed)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.integers(0, days * 86_400, n)), "s")
    x, shop = rng.normal(size=n).round(3), rng.choice(["a", "b", "c"], n)
    late = (rng.random(n) < 1 / (1 + np.exp(-1.5 * x))).astype(int)
    return pd.DataFrame({"order_id": np.arange(n) + 1, "ordered": when, "x": x, "shop": shop, "late": late})


def drafted(frame, home, **said):
    """What `new` makes of a table, checked as `trueup check` would."""
    path = home.configs.parent / "orders.csv"
    frame.to_csv(path, index=False)
    made = draft(Ask("orders", str(path), "ordered", "late", **said), home, replace_it=True)
    save(made, replace_it=True)
    assert check("orders", home).problems == []
    assert marked(made.text) == []
    return made


def test_few_rows_make_a_config_with_smaller_limits_and_no_word_about_what_they_are_worth(home):
    made = drafted(orders(n=48, days=24), home)
    assert made.findings.choice is None
    assert made.config.validation.min_rows < 30
    assert made.config.train.min_rows == 30
    assert made.config.monitor.min_matured == 30


def test_of_fifty_columns_all_that_may_tell_something_are_features(home):
    frame = orders()
    rng = np.random.default_rng(1)
    more = pd.DataFrame({f"n{i}": rng.normal(size=len(frame)).round(3) for i in range(45)})
    made = drafted(pd.concat([frame, more], axis=1), home)
    assert {f"n{i}" for i in range(45)} <= set(made.config.features.numeric)
    assert not made.findings.suspects


def test_an_id_that_few_rows_lack_is_still_the_key(home):
    frame = orders().astype({"order_id": "Int64"})
    frame["order_id"] += 7_300_000_000_000_000_000
    frame.loc[7, "order_id"] = pd.NA
    path = home.configs.parent / "orders.parquet"
    frame.assign(ordered=frame["ordered"].dt.floor("D")).to_parquet(path, index=False)
    made = draft(Ask("orders", str(path), "ordered", "late"), home)
    assert made.config.ingest.key == ["order_id"]
    assert "CHECK: 1 rows have no order_id" in made.text
    frame.loc[::20, "order_id"] = pd.NA
    frame.to_parquet(path, index=False)
    assert "order_id" not in draft(Ask("orders", str(path), "ordered", "late"), home).config.ingest.key


@pytest.mark.parametrize("word", ["-", "N/A", "?"])
def test_an_id_with_a_word_for_missing_is_no_key(home, word):
    frame = orders()
    frame["order_id"] = [f"A{i:05d}" for i in range(len(frame))]
    frame.loc[::20, "order_id"] = word
    path = home.configs.parent / "orders.csv"
    frame.assign(ordered=frame["ordered"].dt.floor("D")).to_csv(path, index=False)
    made = draft(Ask("orders", str(path), "ordered", "late"), home)
    assert "order_id" not in made.config.ingest.key


def test_rows_without_a_key_are_counted_and_are_no_copies_of_each_other(home):
    frame = orders(n=300, days=60).astype({"order_id": "Int64"})
    frame.loc[[5, 100, 200], "order_id"] = pd.NA
    made = drafted(frame, home, key=("order_id",))
    assert made.findings.duplicates == 0
    assert "CHECK: 3 rows have no order_id; rows without a key are left out, and counted" in " ".join(
        made.text.replace("#", " ").split()
    )


def test_rows_without_a_time_are_counted(home):
    frame = orders(n=300, days=60)
    made = drafted(pd.concat([frame, frame.head(2).assign(order_id=0, ordered=pd.NaT, shop=["Total", "b"])]), home)
    assert made.findings.rows == 302
    said = "CHECK time: 2 rows have no ordered, as a line of totals; they are left out, and counted"
    assert said in made.findings.notes


def test_a_row_of_a_far_year_is_set_aside_and_named(home):
    frame = orders(n=300, days=60).astype({"ordered": str})
    made = drafted(pd.concat([frame, frame.tail(1).assign(order_id=0, ordered="9999-12-31 00:00:00")]), home)
    assert made.findings.rows == 300
    assert any("up to 9999-12-31, far from all others" in note for note in made.findings.notes)


def test_an_end_that_may_never_come_is_no_moment_of_the_outcome(home):
    frame = orders(n=300, days=60)
    ends = frame["ordered"].dt.strftime("%Y-%m-%d %H:%M:%S").where(frame["order_id"] % 2 == 0, "9999-12-31 00:00:00")
    made = drafted(frame.assign(valid_until=ends), home)
    assert made.config.ingest.label.known_at is None


def test_a_column_of_text_is_left_out_and_told_where_it_can_be_used(home):
    frame = orders()
    words = np.random.default_rng(1).choice(["please", "ring", "the", "bell", "twice", "at", "gate"], (len(frame), 8))
    made = drafted(frame.assign(note=[" ".join(w) for w in words]), home)
    assert "note" not in made.config.input_columns
    assert "features.custom" in made.findings.left_out["note"]
    assert "left out: note: is free text" in made.text


def test_booleans_are_numbers_and_an_outcome_that_is_true_counts_as_1(home):
    frame = orders().assign(gift=lambda f: f["x"] > 0.4, late=lambda f: f["late"].astype(bool))
    made = drafted(frame, home)
    assert "gift" in made.config.features.numeric
    raw = home.source(made.config).everything()
    landing = split(raw, made.config.ingest, made.config.task, made.config.input_columns, made.config.numeric_columns)
    assert set(landing.rows["gift"]) == {0, 1}
    assert landing.labels["label"].sum() == frame["late"].sum()


def test_a_counter_of_days_is_a_time_and_that_is_said(home):
    frame = orders(n=900).assign(ordered=np.arange(900)).drop(columns="order_id")
    made = drafted(frame, home)
    assert made.config.ingest.time_format == "days"
    assert "CHECK time: ordered counts and has no date; each step is read as a day" in " ".join(made.text.split())
    assert made.config.ingest.period == "month"
    rows = home.source(made.config).read(pd.Timestamp("1970-02-01"), pd.Timestamp("1970-03-01"))
    assert rows["ordered"].tolist() == [*pd.date_range("1970-02-01", "1970-02-28")]


def test_a_year_as_time_is_told_with_the_query_that_makes_a_day_of_it(home):
    frame = orders(n=900).assign(ordered=1930 + np.arange(900) // 10)
    with pytest.raises(UsageError, match=r"holds '1930'.*: years, and a row needs its day.*make_date") as told:
        drafted(frame, home)
    query = str(told.value).split("--query '")[1].rstrip("'")
    assert drafted(frame, home, query=query).findings.times.moments.min() == pd.Timestamp("1930-01-01")


def test_a_category_of_thousands_is_a_key_of_histories_at_most(home):
    frame = orders(n=9_000)
    customer = np.random.default_rng(1).integers(0, 1_500, len(frame))
    made = drafted(frame.assign(customer=[f"customer {c}" for c in customer]), home)
    assert "customer" not in made.config.features.categorical
    assert "each too rare to learn from" in made.findings.left_out["customer"]


def test_times_with_a_zone_are_brought_to_the_models(home):
    frame = orders()
    zoned = frame.assign(ordered=frame["ordered"].dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"))
    made = drafted(zoned, home, timezone="America/New_York")
    assert made.config.ingest.timezone == "America/New_York"
    first, _ = home.source(made.config).extent()
    assert first == frame["ordered"].min().tz_localize("UTC").tz_convert("America/New_York").tz_localize(None)


def test_both_passes_of_a_repeated_hour_are_rows_of_their_own(home):
    frame = orders(n=800, days=40)
    times = pd.date_range("2024-10-20 04:00", periods=len(frame), freq="30min", tz="UTC").tz_convert("America/New_York")
    frame = frame.assign(ordered=times.map(lambda t: t.isoformat()))
    made = drafted(frame, home, key=("ordered",), timezone="America/New_York")
    assert made.findings.duplicates == 0
    assert "repeat another" not in made.text


def test_a_years_gap_is_named_and_the_batches_of_the_gap_are_empty(home):
    frame = orders()
    later = frame.assign(order_id=frame["order_id"] + 10_000, ordered=frame["ordered"] + pd.Timedelta(days=480))
    made = drafted(pd.concat([frame, later]), home)
    (gap,) = made.findings.gaps
    assert (gap.end - gap.start).days > 350
    assert f"CHECK: no row from {gap.start:%Y-%m-%d} to {gap.end:%Y-%m-%d}" in made.text
    middle = gap.start + pd.Timedelta(days=100)
    assert home.source(made.config).read(middle, middle + pd.Timedelta(days=30)).empty


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"key": ("ordr_id",)}, r"no column ordr_id \(did you mean order_id\?\)"),
        ({"labels": "nowhere.csv"}, "there is no such file"),
        ({"above": 1.0, "labels": None}, None),
    ],
)
def test_what_is_said_wrong_is_told_with_the_mend(home, said, what):
    if what is None:
        assert drafted(orders().assign(late=lambda f: f["x"] * 3), home, **said).config.ingest.label.above == 1.0
        return
    with pytest.raises(TrueupError, match=what):
        drafted(orders(), home, **said)


def test_where_no_column_names_a_row_all_rows_are_kept_and_that_is_said(home):
    frame = orders().drop(columns=["order_id"])
    made = drafted(pd.concat([frame, frame.assign(late=1 - frame["late"])]), home)
    assert made.config.ingest.key == []
    assert "CHECK: no column names a row" in made.text
    raw = home.source(made.config).everything()
    landing = split(raw, made.config.ingest, made.config.task, made.config.input_columns, made.config.numeric_columns)
    assert (len(landing.rows), landing.facts["duplicates"]) == (2 * len(frame), 0)
    assert landing.rows["row_id"].is_unique


def test_an_outcome_that_tells_nothing_apart_is_refused(home):
    with pytest.raises(UsageError, match="nothing to predict"):
        drafted(orders().assign(late=1), home)


def test_a_column_that_tells_the_outcome_is_no_feature_and_names_no_rows_either(home):
    frame = orders(n=600).drop(columns=["order_id"]).assign(ordered=lambda f: f["ordered"].dt.normalize())
    frame = frame.assign(answer=frame["late"].map({0: "on time", 1: "after time"}), place=np.arange(600) % 7)
    made = drafted(frame, home)
    assert {s.column for s in made.findings.suspects} == {"answer"}
    assert "answer" not in made.config.input_columns


def test_outcomes_are_joined_by_the_column_that_holds_the_keys_whatever_their_times_are_called(home):
    frame = orders(n=600)
    outcomes = pd.DataFrame(
        {
            "visits": np.arange(600) % 5 + 1,
            "order": frame["order_id"],
            "ordered": frame["ordered"] + pd.Timedelta(days=10),
            "late": frame["late"],
        }
    ).head(500)
    outcomes.to_csv(home.configs.parent / "outcomes.csv", index=False)
    labels = str(home.configs.parent / "outcomes.csv")
    made = drafted(frame.drop(columns=["late"]), home, labels=labels)
    assert made.config.ingest.label.key == {"order_id": "order"}
    assert made.config.ingest.label.known_at == "ordered"
    assert made.findings.outcome.takes.days == 10
    assert made.findings.outcome.values.notna().sum() == 500
    assert "CHECK: order of the outcomes holds the values of order_id" in made.text


def test_offsets_are_kept_where_a_query_has_to_read_the_times(home):
    frame = orders(n=600)
    frame["ordered"] = frame["ordered"].dt.strftime("%Y-%m-%dT%H:%M:%S+02:00")
    frame.loc[5, "ordered"] = "31/01/2024 05:00"
    made = drafted(frame, home)
    assert "TIMESTAMPTZ" in made.config.ingest.source.query
    extent = home.source(made.config).extent()
    assert extent == (made.findings.times.moments.min(), made.findings.times.moments.max())


@pytest.mark.parametrize(
    "data",
    ["http://127.0.0.1/a.csv?token=s3cr3t", "postgresql://me:s3cr3t@db/shop", "https://me:s3cr3t@example.org/a.csv"],
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(home, data):
    with pytest.raises(UsageError, match="contains a password or token") as refused:
        draft(Ask("orders", data, "ordered", "late", query="SELECT 1"), home)
    assert "s3cr3t" not in str(refused.value)


def test_json_within_json_lines_is_named_with_a_query_that_takes_it_apart(home):
    frame = orders(n=600).astype({"ordered": str})
    frame["buyer"] = [{"age": 20 + i % 50, "plan": "plus"} for i in range(len(frame))]
    path = home.configs.parent / "orders.jsonl"
    frame.to_json(path, orient="records", lines=True)
    made = draft(Ask("orders", str(path), "ordered", "late"), home)
    (note,) = [n for n in made.findings.notes if "JSON" in n]
    assert note.startswith("CHECK: buyer: JSON as text")
    query = note.partition("--query: ")[2].replace("name", "age")
    apart = draft(Ask("apart", str(path), "ordered", "late", query=query), home)
    assert "age" in apart.config.features.numeric
    assert "buyer" not in apart.config.features.categorical


def test_outcomes_may_be_in_a_table_of_a_database(home):
    frame = orders().assign(order_id=lambda f: f["order_id"].map("{:07d}".format))
    url = f"sqlite:///{home.configs.parent / 'shop.db'}"
    with closing(sqlite3.connect(home.configs.parent / "shop.db")) as database:
        settled = (frame["ordered"] + pd.Timedelta("9 days")).astype(str)
        frame[["order_id", "late"]].assign(settled=settled).to_sql("outcomes", database, index=False)
        frame.drop(columns="late").astype({"ordered": str}).to_sql("orders", database, index=False)
    read = {"query": "SELECT * FROM orders", "labels": url}
    with pytest.raises(UsageError, match=r"--labels is a database: .* --labels-query"):
        draft(Ask("shop", url, "ordered", "late", **read), home)
    made = draft(Ask("shop", url, "ordered", "late", **read, labels_query="SELECT * FROM outcomes"), home)
    save(made)
    checked = check("shop", home)
    assert checked.problems == []
    assert checked.labels.matching == 1
    assert (made.config.ingest.key, made.config.ingest.label.known_at) == (["order_id"], "settled")


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"positive": "Yes"}, "holds 0 and 1; name one of them"),
        ({"above": 0.5, "task": "regression"}, "leave one of them out"),
        ({"timezone": "Mars/Phobos"}, "--timezone Mars/Phobos"),
    ],
)
def test_answers_that_cannot_be_are_refused(home, said, what):
    with pytest.raises(UsageError, match=what):
        drafted(orders(), home, **said)


def test_names_of_columns_come_back_as_they_are(home):
    names = [f"col  number {i}: 'a' # \"b\"" if i % 2 else f"größe {i}, x" for i in range(12)]
    rng = np.random.default_rng(1)
    frame = pd.concat([orders(), pd.DataFrame({n: rng.normal(size=2_400).round(3) for n in names})], axis=1)
    made = drafted(frame, home)
    assert set(names) <= set(made.config.features.numeric)


def test_deployments_are_left_alone_where_prefect_yaml_is_something_else(home):
    made = drafted(orders(), home)
    path = home.configs.parent / "prefect.yaml"
    for text in ("{}", "deployments: [\n", "- a\n", "deployments: []\nname: x\n", "deployments:\n  - text\n"):
        path.write_text(text)
        assert deploy(made.config, home.configs) is None  # the definitions are not there
        assert path.read_text() == text


def test_rows_out_of_order_are_told(home):
    frame = orders(n=600)
    assert "they are put in order of time" not in drafted(frame, home).text
    made = drafted(frame.sample(frac=1, random_state=1), home)
    assert "of the rows come after a later one; they are sorted by time" in made.text
