"""What is found out about a table that nobody has described: kinds, times, suspects, people, batches and what is usual."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from tests import messy
from trueup.config.sections.features import FeaturesConfig
from trueup.config.tasks import Task
from trueup.domain.profiling.columns import Column, comma_decimals, profile
from trueup.domain.profiling.dialect import header_of, marks_of
from trueup.domain.profiling.leaks import suspects
from trueup.domain.profiling.learned_expectations import learn
from trueup.domain.profiling.personal_data import personal
from trueup.domain.profiling.times import Gap, choose_period, closed_days, gaps, read_times

RNG = np.random.default_rng(5)
N = 1_000


def one(values: object, name: str = "x") -> Column:
    """A column's profile."""
    return profile(pd.DataFrame({name: values}))[name]


# Kinds


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        (RNG.normal(size=N), "x", "number"),
        (RNG.integers(0, 9, N), "items", "number"),
        (RNG.integers(0, 9, N), "store_id", "category"),
        (RNG.permutation(N), "order_id", "identifier"),
        (np.arange(N), "n", "counter"),
        (np.random.default_rng(1).permutation(N) + 500_000, "Ticket", "identifier"),
        (np.random.default_rng(1).permutation(4 * N)[:N], "amount", "number"),
        (RNG.choice(["a", "b"], N), "x", "category"),
        (RNG.random(N) < 0.5, "is_new", "number"),
        ([f"u{i}" for i in range(N)], "x", "identifier"),
        ([f"some words about case {i}" for i in range(N)], "x", "text"),
        (pd.date_range("2024-01-01", periods=N), "x", "time"),
        (["same"] * N, "x", "constant"),
        ([7] * N, "x", "constant"),
        ([None] * N, "x", "empty"),
        (["?"] * N, "x", "empty"),
        (RNG.choice(["01", "02", "10"], N), "x", "category"),  # a leading zero names something
        (RNG.choice(["1.5", "2.5", "n/a"], N), "x", "number"),
    ],
)
def test_the_kind_of_a_column(values, name, kind):
    assert one(values, name).kind == kind


def test_a_category_of_very_many_values_is_told_apart():
    found = one([f"c{i}" for i in RNG.integers(0, 5_000, 8_000)])
    assert (found.kind, found.many, found.informative) == ("category", True, False)


# pandas counts some texts to their first NUL only, and lone surrogates not always alike.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(st.one_of(st.none(), TEXT, st.integers(), st.floats(), st.booleans()), max_size=60))
def test_whatever_a_column_holds_it_has_a_kind_and_its_figures_are_right(values):
    found = one(pd.Series(values, dtype=object))
    assert len(found.values) == len(values)
    assert found.absent == pytest.approx(1.0 if not values else found.values.isna().mean())
    assert found.distinct == found.values.nunique()


# What stands for nothing


@pytest.mark.parametrize("value", [-200, -999, -9999])
def test_a_value_far_below_all_others_that_comes_again_means_missing(value):
    values = RNG.normal(20, 5, N)
    values[::50] = value
    found = one(values)
    assert found.sentinels == {float(value): 20}
    assert found.absent == pytest.approx(0.02)
    assert found.values.min() > -10


@pytest.mark.parametrize("value", [999, 9999])
def test_so_does_one_far_above(value):
    values = RNG.integers(18, 90, N).astype(float)
    values[::50] = value
    assert one(values).sentinels == {float(value): 20}


@pytest.mark.parametrize(
    "values",
    [
        np.r_[RNG.normal(-150, 30, N), [-200.0] * 20],  # a legitimate minimum among its like
        np.r_[RNG.integers(-5, 6, N), [-1] * 20],
        np.r_[RNG.integers(0, 5, N), [-1] * 20],  # -1 among small counts
        np.r_[RNG.integers(0, 1_000, N), [999] * 20],
        np.r_[RNG.normal(20, 5, N), [-200.0]],  # once: an outlier
        np.r_[RNG.integers(0, 2, N)],
        np.r_[RNG.integers(90, 101, N), [99] * 20],
    ],
)
def test_what_belongs_to_the_others_is_no_sentinel(values):
    assert one(values).sentinels == {}


def test_a_sentinel_of_one_column_is_known_in_the_others():
    far, near = RNG.normal(20, 5, N), RNG.gamma(3, 60, N)
    far[::50] = near[::40] = -200
    found = profile(pd.DataFrame({"far": far, "near": near}))
    assert found["near"].sentinels == {-200.0: 25}


@pytest.mark.parametrize("word", ["?", "NULL", "n/a", "unknown", "Missing", " - "])
def test_a_word_between_numbers_means_missing(word):
    values = pd.Series(RNG.integers(0, 90, N).astype(str)).mask(np.arange(N) % 20 == 0, word)
    found = one(values)
    assert (found.kind, found.sentinels, found.odd) == ("number", {word: 50}, 0)


def test_unknown_is_a_category_among_categories():
    found = one(RNG.choice(["red", "blue", "unknown", "?"], N))
    assert set(found.sentinels) == {"?"}
    assert found.distinct == 3


def test_few_words_between_numbers_are_counted_and_many_make_it_a_category():
    numbers = pd.Series(RNG.integers(0, 90, N).astype(str))
    few = one(numbers.mask(np.arange(N) < 10, "about ten"))
    assert (few.kind, few.odd) == ("number", 10)
    assert one(numbers.mask(np.arange(N) < 300, "about ten")).kind == "category"


def test_decimal_commas_are_seen():
    frame = pd.DataFrame({"a": ["1,5", "2,25", "3"] * 9, "b": [1, 2, 3] * 9, "c": ["x,y", "a", "b"] * 9})
    assert comma_decimals(frame) == ["a"]


# Times

MOMENTS = pd.Series(pd.date_range("2024-01-03 10:00", periods=100, freq="87h")).astype("datetime64[us]")


@pytest.mark.slow
@pytest.mark.parametrize(
    "style",
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M:%S",
     "%m/%d/%Y %I:%M %p", "%Y/%m/%d %H:%M", "%d-%b-%Y %H:%M", "%b %d, %Y %H:%M"],
)  # fmt: skip
def test_times_are_read_as_they_were_written(style):
    found = read_times(MOMENTS.dt.strftime(style))
    assert found.moments.tolist() == MOMENTS.dt.floor("min").tolist()
    assert (found.unreadable, found.twin) == (0, None)
    assert found.iso == style.startswith("%Y")
    assert found.formats == (() if found.iso else (style,))


@pytest.mark.slow
@given(
    st.lists(
        st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(lambda d: d.replace(microsecond=0)),
        min_size=1, max_size=40,
    ),
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S"]),
)  # fmt: skip
def test_any_times_are_read_back(moments, style):
    written = pd.Series([f"{m:{style}}" for m in moments])
    assert read_times(written).moments.tolist() == moments


def test_day_and_month_that_nothing_decides_are_told():
    days = pd.Series(["03/04/2024", "05/04/2024", "04/06/2024", "02/01/2024", "07/08/2024", "05/05/2024"])
    found = read_times(days)
    assert {found.formats[0], found.twin} == {"%d/%m/%Y", "%m/%d/%Y"}


@pytest.mark.slow
def test_the_order_of_the_file_decides_between_day_and_month():
    twelve = MOMENTS[MOMENTS.dt.day <= 12]
    assert read_times(twelve.dt.strftime("%m/%d/%Y")).formats == ("%m/%d/%Y",)
    assert read_times(twelve.dt.strftime("%d/%m/%Y")).formats == ("%d/%m/%Y",)


def test_times_written_in_two_ways_are_all_read():
    text = MOMENTS.dt.strftime("%Y-%m-%d %H:%M").where(MOMENTS.index < 50, MOMENTS.dt.strftime("%d/%m/%Y %H:%M"))
    found = read_times(text)
    assert (found.iso, found.formats, found.unreadable) == (True, ("%d/%m/%Y %H:%M",), 0)
    assert found.moments.tolist() == MOMENTS.tolist()
    assert not found.plain


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1000), ("us", 1_000_000), ("ns", 1_000_000_000)])
def test_counts_of_time_since_1970(unit, factor):
    found = read_times((MOMENTS - pd.Timestamp("1970-01-01")) // pd.Timedelta(seconds=1) * factor)
    assert found.formats == (f"epoch {unit}",)
    assert found.moments.tolist() == MOMENTS.tolist()


def test_days_written_as_numbers():
    found = read_times(MOMENTS.dt.strftime("%Y%m%d").astype(int))
    assert found.formats == ("%Y%m%d",)
    assert found.moments.tolist() == MOMENTS.dt.normalize().tolist()


def test_zones_are_brought_to_utc_and_said():
    text = MOMENTS.dt.strftime("%Y-%m-%dT%H:%M:%S+02:00")
    for zoned in (read_times(text), read_times(MOMENTS.dt.tz_localize("Etc/GMT-2"))):
        assert zoned.zoned
        assert zoned.plain
        assert zoned.moments.tolist() == (MOMENTS - pd.Timedelta(hours=2)).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("written", ["typed", "offset", "day first", "epoch s"])
def test_the_second_pass_of_a_repeated_hour_is_told_where_instants_are_known(written):
    instants = pd.Series(pd.date_range("2024-11-03 04:30", periods=60, freq="30min", tz="UTC"))
    local = instants.dt.tz_convert("America/New_York")
    column = {
        "typed": instants,
        "offset": local.map(lambda t: t.isoformat()),
        "day first": local.dt.strftime("%d/%m/%Y %H:%M:%S%z"),
        "epoch s": instants.astype("int64") // 10 ** (9 if instants.dt.unit == "ns" else 6),
    }[written]
    found = read_times(column, "America/New_York")
    assert (found.moments == local.dt.tz_localize(None)).all()
    assert np.flatnonzero(found.second).tolist() == [3, 4]
    assert not read_times(local.dt.tz_localize(None), "America/New_York").second.any()


@pytest.mark.slow
def test_what_is_no_time_is_counted_and_shown():
    text = MOMENTS.dt.strftime("%Y-%m-%d").mask(MOMENTS.index < 3, "soon")
    found = read_times(text)
    assert (found.unreadable, found.examples) == (3, ("soon",))
    assert found.moments.isna().sum() == 3
    assert read_times(pd.Series([1.5, 2.5, 3.5])).unreadable == 3
    nothing = read_times(pd.Series(["red", None, "blue"]))
    assert (nothing.unreadable, set(nothing.examples)) == (2, {"red", "blue"})


# Batches


@pytest.mark.parametrize(
    ("days", "per_day", "period"), [(60, 300, "day"), (200, 40, "week"), (700, 8, "month"), (30, 8, "day"), (9, 5, "day")]
)  # fmt: skip
def test_a_batch_is_the_shortest_period_with_enough_rows(days, per_day, period):
    moments = pd.Series(pd.date_range("2024-01-01", periods=days * per_day, freq=timedelta(days=1) / per_day))
    assert choose_period(moments)[0] == period


def test_gaps_are_longer_than_two_batches():
    moments = pd.Series([*pd.date_range("2023-01-01", "2023-03-01"), *pd.date_range("2024-03-01", "2024-04-01")])
    for period in ("day", "week", "month"):
        (found,) = gaps(moments, period)
        assert (found.start, found.end) == (pd.Timestamp("2023-03-01"), pd.Timestamp("2024-03-01"))
    assert gaps(pd.Series(pd.date_range("2023-01-01", "2023-03-01")), "day") == []


def test_days_of_the_week_that_never_have_rows_are_no_gaps():
    open_days = pd.Series(pd.bdate_range("2024-01-01", "2024-02-23"))
    assert closed_days(open_days) == [5, 6]
    holiday = open_days[open_days != pd.Timestamp("2024-02-12")]
    assert gaps(holiday, "day") == []
    week = open_days[~open_days.between("2024-01-15", "2024-01-18")]
    assert gaps(week, "day") == [Gap(pd.Timestamp("2024-01-12"), pd.Timestamp("2024-01-19"))]
    assert closed_days(open_days[:15]) == closed_days(pd.Series(pd.NaT, range(3), dtype="datetime64[us]")) == []


# Columns that know the answer


def accused(frame: pd.DataFrame, outcome: pd.Series, task: Task) -> dict[str, str]:
    """The suspects, and why."""
    times = pd.Series(pd.date_range("2024-01-01", periods=len(frame), freq="h"))
    return {s.column: s.why for s in suspects(profile(frame), outcome, times, task).suspects}


def binary(n: int = 2_000) -> tuple[pd.DataFrame, pd.Series]:
    """An honest strong feature, and an outcome."""
    strong = RNG.normal(size=n)
    y = pd.Series((strong + RNG.normal(0, 0.4, n) > 0).astype(float))
    return pd.DataFrame({"strong": strong, "other": RNG.normal(size=n)}), y


def test_an_honest_strong_feature_is_not_accused():
    frame, y = binary()
    assert accused(frame, y, Task.BINARY) == {}
    amount = 3 * frame["strong"] + RNG.normal(0, 0.6, len(frame))
    assert accused(frame, amount, Task.REGRESSION) == {}


def test_a_copy_of_the_outcome_is():
    frame, y = binary()
    word = y.map({0.0: "kept", 1.0: "left"})
    found = accused(frame.assign(word=word, nearly=y + RNG.normal(0, 0.1, len(y))), y, Task.BINARY)
    assert set(found) == {"word", "nearly"}
    assert found["word"].startswith("a copy of the outcome in other words")
    assert found["nearly"].startswith("near-perfect alone")


def test_what_is_filled_with_the_outcome_comes_with_it():
    frame, y = binary()
    unknown = y.index >= 1_900
    found = accused(
        frame.assign(score=frame["other"].mask(unknown)), y.mask(unknown), Task.BINARY
    )  # filled as the outcome is
    assert "comes with the outcome" in found["score"]
    refund = frame["other"].abs().where(y == 1)  # filled where the outcome is 1
    assert "whether it is filled predicts the outcome" in accused(frame.assign(refund=refund), y, Task.BINARY)["refund"]


def test_a_moment_after_the_rows_own_is_recorded_later():
    frame, y = binary()
    times = pd.Series(pd.date_range("2024-01-01", periods=len(frame), freq="h"))
    before, after = times - pd.Timedelta(days=9), times + pd.Timedelta(days=3)
    sometimes = after.where(RNG.random(len(frame)) < 0.5)
    table = frame.assign(before=before, after=after, sometimes=sometimes)
    found = suspects(profile(table), y, times, Task.BINARY)
    assert found.settled == ["after"]  # of each row: it may say when the outcome became known
    (suspect,) = found.suspects
    assert suspect.column == "sometimes"
    assert "recorded after the event" in suspect.why


def test_a_column_that_tells_very_much_alone_is_named_and_stays():
    frame, _ = binary()
    amount = 3 * frame["strong"] + RNG.normal(0, 0.8, len(frame))
    times = pd.Series(pd.date_range("2024-01-01", periods=len(frame), freq="h"))
    found = suspects(profile(frame), amount, times, Task.REGRESSION)
    assert ([s.column for s in found.strong], found.suspects) == (["strong"], [])


def test_parts_of_which_the_outcome_is_the_sum_are_told_together():
    frame, _ = binary()
    planned, actual = RNG.normal(100, 30, len(frame)), RNG.normal(100, 30, len(frame))
    found = accused(frame.assign(planned=planned, actual=actual), pd.Series(actual - planned), Task.REGRESSION)
    assert set(found) == {"planned", "actual"}
    assert "added up" in found["actual"]


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine])
def test_well_known_tables_have_no_suspects(load):
    table = load(as_frame=True)
    mixed = table.frame.sample(frac=1, random_state=1).reset_index(drop=True)
    y, X = mixed.pop("target"), mixed
    classes = y.nunique()
    outcome = y.astype(float) if classes == 2 else y.astype(str)
    assert accused(X, outcome, Task.BINARY if classes == 2 else Task.MULTICLASS) == {}


# People


def test_columns_about_people_are_named_and_those_that_name_one_apart():
    frame = pd.DataFrame(
        {
            "email": [f"a{i}@b.org" for i in range(N)],
            "contact": [f"c{i}@d.org" for i in range(N)],
            "age": RNG.integers(18, 90, N),
            "customerName": [f"Ann {i}" for i in range(N)],
            "postal_code": RNG.integers(1000, 9999, N),
            "usage": RNG.normal(size=N),
            "page": RNG.integers(0, 9, N),
            "address": [f"{i} Long Street" for i in range(N)],
        }
    )
    found = {name: naming for name, _, naming in personal(profile(frame))}
    assert found == {
        "email": True, "contact": True, "customerName": True, "address": True, "age": False, "postal_code": False,
    }  # fmt: skip


# What is usual


def test_what_is_usual_is_written_as_expectations_that_all_of_the_table_meets():
    frame = messy.orders(days=70, per_day=30, seed=3)
    used = FeaturesConfig(numeric=["amount", "km"], categorical=["city"])
    found = learn(frame.iloc[90:], frame["ordered"].iloc[90:], "week", used)
    rules = {(r.type.removeprefix("expect_"), r.kwargs.get("column")): r.kwargs for r in found.rules}
    assert set(rules) == {
        ("table_row_count_to_be_between", None),
        ("column_values_to_be_between", "amount"),
        ("column_values_to_be_between", "km"),
        ("column_values_to_be_in_set", "city"),
    }
    assert (
        rules["table_row_count_to_be_between", None]["min_value"] > 100
    )  # the first week, a part of one, does not count
    for name in ("amount", "km"):
        bounds = rules["column_values_to_be_between", name]
        assert frame[name].between(bounds["min_value"], bounds["max_value"]).mean() > 0.99
    assert set(rules["column_values_to_be_in_set", "city"]["value_set"]) == set(frame["city"].dropna())
    few = learn(frame.iloc[:300], frame["ordered"].iloc[:300], "week", used)
    assert not few.rules
    assert "too few" in few.left_out[0]


def test_times_with_a_zone_are_brought_to_the_one_that_is_asked_for():
    noon = pd.to_datetime(pd.Series(["2024-07-01 12:00", "2024-12-01 12:00"])).dt.tz_localize("UTC")
    for column in (noon, noon.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")):
        assert read_times(column, "America/New_York").moments.dt.hour.tolist() == [8, 7]


def test_commas_between_thousands_are_no_decimal_commas():
    large = pd.DataFrame({"sum": ["1,374", "9,106", "12,005", "88"], "x": [0.5, 1.5, 2.5, 3.5]})
    assert comma_decimals(large) == []
    assert marks_of(large["sum"], ".").marks == (",",)
    assert comma_decimals(pd.DataFrame({"a": ["1,5", "2,25", "3"]})) == ["a"]
    assert comma_decimals(pd.DataFrame({"a": ["1,374", "9,106"]})) == []


@pytest.mark.slow
def test_dates_of_any_form_are_moments_and_long_digits_are_words():
    days = pd.date_range("2024-01-01", periods=80)
    for form in ("%d.%m.%Y", "%d/%m/%Y"):
        column = profile(pd.DataFrame({"closed": days.strftime(form)}))["closed"]
        assert column.kind == "time"
        assert column.values.tolist() == days.tolist()
    cards = profile(pd.DataFrame({"card": [str(10**19 + i) for i in range(80)]}))["card"]
    assert (cards.kind, cards.distinct) == ("identifier", 80)


def test_a_sparse_column_does_not_hide_that_others_add_up():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 800))
    sparse = {f"s{i}": np.where(rng.random(800) < 0.05, 1.5 * a, np.nan) for i in range(2)}
    frame = pd.DataFrame({"a": a, "b": b, **sparse})
    when = pd.Series(pd.date_range("2024-01-01", periods=800, freq="h"))
    found = suspects(profile(frame), pd.Series(a + b), when, Task.REGRESSION)
    assert {"a", "b"} <= {s.column for s in found.suspects}


def test_days_of_a_spreadsheet_are_read_and_a_counter_is_not_taken_for_them():
    serial = (MOMENTS - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)
    found = read_times(serial)
    assert (found.formats, found.unreadable) == (("excel",), 0)
    assert found.moments.tolist() == MOMENTS.tolist()
    assert read_times(pd.Series(np.arange(60_000))).formats == ("days",)


def test_a_counter_is_read_as_days_and_an_hour_of_the_day_or_a_year_is_not():
    found = read_times(pd.Series(np.arange(800) + 3))
    assert (found.formats, found.unreadable) == (("days",), 0)
    assert found.moments.diff().dropna().eq(pd.Timedelta(days=1)).all()
    assert read_times(pd.Series(np.arange(800) % 24)).formats == ()
    assert read_times(pd.Series(np.arange(800) // 10 + 1900)).formats == ()
    assert read_times(pd.Series(np.arange(800) * 1_000)).formats == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        "%d-%b-%y %I.%M.%S %p", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z", "%d.%m.%Y %H:%M:%S UTC", "%Y%m%d%H%M%S",
        "%B %d, %Y, %I:%M:%S %p", "%G-W%V-%u", "%A, %d %B %Y %H:%M:%S",
    ],
)  # fmt: skip
def test_forms_of_other_programs_are_found(form):
    written = MOMENTS.dt.tz_localize("UTC").dt.strftime(form).str.upper()
    if "%z" not in form:
        written = written.str.replace("UTC", "UTC")
    found = read_times(written.str.title() if "%A" in form else written)
    assert (len(found.formats), found.iso, found.unreadable) == (1, False, 0)
    whole = MOMENTS.dt.normalize() if "%u" in form else MOMENTS
    assert found.moments.tolist() == whole.tolist()
    assert found.zoned == ("%z" in form or "UTC" in form)


@pytest.mark.slow
def test_words_between_times_are_named_one_by_one():
    found = read_times(pd.Series([*MOMENTS.astype(str), "Total", "ordered", "Total"]))
    assert (found.unreadable, found.words, found.uniform, found.plain) == (3, ("Total", "ordered"), True, False)


@pytest.mark.parametrize(
    ("values", "decimal", "marks", "doubtful"),
    [
        (["1,414.31", "12.5", "900", "3,000"], ".", (",",), False),
        (["1.414,31", "12,5", "900"], ",", (".",), False),
        (["1,414", "12,500", "900"], ".", (",",), True),
        (["$1,414.31", "$12", "$5"], ".", ("$", ","), False),
        (["(12.5)", "3.5", "4"], ".", ("()",), False),
        (["12%", "3%", "4.5%"], ".", ("%",), False),
        (["12 kg", "3 kg", "4.5 kg"], ".", ("kg",), True),
        (["12-", "3", "4"], ".", ("-",), False),
        (["5 €", "-6,5 €", "1.000 €"], ",", ("€", "."), False),
    ],
)
def test_what_is_written_in_numbers(values, decimal, marks, doubtful):
    found = marks_of(pd.Series(values), decimal)
    assert (found.marks, bool(found.doubt)) == (marks, doubtful)


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "c"], ["12 kg", "3 lb", "4 oz"], ["$5", "€6", "£7"], ["0,512", "1,250", "0,033"], ["12", "13", "14"],
        ["001%", "002%", "003%"], ["A12", "A13", "A14"], ["2024-01-05", "2024-01-06", "2024-01-07"], [None, None, None],
    ],
)  # fmt: skip
def test_what_is_no_number_with_marks(values):
    assert marks_of(pd.Series(values, dtype=object), ".") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("t,x\n1,2\n", {}),
        ("Report\n\nt,x\n1,2\n", {"skip_rows": 2}),
        ("Report, t of x\rt;x\r1;2\r", {"skip_rows": 1}),
        ('Group,,\n"t",x\n', {"skip_rows": 1}),
        ("x, t\n1, 2\n", {"trim": True}),
        ("x^t\n", {"separator": "^"}),
        ("a,b\n", None),
    ],
)
def test_the_line_that_names_the_columns_is_found(text, found):
    assert header_of(text, "t") == found


def test_a_long_id_is_no_phone_number():
    ids = pd.Series([str(7_300_000_000_000_000_000 + 3 * k) for k in range(50)])
    phones = pd.Series([f"+49 170 {1_000_000 + 7919 * k}" for k in range(50)])
    found = {name: Column(name, "identifier", values, 50, 0.0) for name, values in (("id", ids), ("call", phones))}
    assert list(personal(found)) == [("call", "holds phone numbers", True)]


@pytest.mark.parametrize("kind", ["int64", "Int64", "uint64", "decimal"])
@pytest.mark.parametrize("missing", [False, True])
def test_ids_of_more_digits_than_a_float_holds_keep_them(kind, missing):
    ids = [7_300_000_000_000_000_000 + 3 * i for i in range(400)]
    values = {
        "int64": pd.Series(ids, dtype="Int64" if missing else "int64"),
        "Int64": pd.Series(ids, dtype="Int64"),
        "uint64": pd.Series([2 * i for i in ids], dtype="UInt64" if missing else "uint64"),
        "decimal": pd.Series([*map(Decimal, ids)], dtype=object),
    }[kind]
    if missing:
        values[[3, 5]] = pd.NA if kind != "decimal" else None
    found = profile(pd.DataFrame({"order_id": values}))["order_id"]
    assert (found.kind, found.distinct) == ("identifier", 398 if missing else 400)
    assert found.values[0] == str(int(values[0]))


def test_a_code_that_is_a_huge_float_is_a_number():
    assert profile(pd.DataFrame({"net_nr": [1e20, 2e20, 3e20] * 40}))["net_nr"].kind == "number"
