"""A model's row: what of its past still counts."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trueup.adapters.store.results import Result
from trueup.config.load import parse_model
from trueup.domain.types import Window
from trueup.ui.charts import sparkline
from trueup.ui.fleet import row_of, rows
from trueup.ui.reader import Facts
from trueup.ui.records import Line, Seen, SeenDecision, SeenModel, SeenPromotion, SeenTerms
from trueup.ui.urgency import ORDER, Signs, needs, rank

NOW = datetime(2026, 1, 20, tzinfo=UTC)
CONFIG = """model: toy
task: binary
ingest:
  source: {kind: files, path: rows.csv}
  time: t
  key: [id]
  period: day
  label: {column: y, known_after: 1 day}
features: {numeric: [x]}
validate:
  min_rows: 1
  expectations:
    - {type: expect_column_to_exist, kwargs: {column: x}}
evaluate: {block: 1 hour}
"""


def line(seq, kind, day, **body):
    at = datetime(2026, 1, day)
    return Line(seq, "toy", f"toy:{seq}", kind, at.replace(tzinfo=UTC), at, SeenDecision(**body))


def promoted(seq, day, version=1):
    model = SeenModel(version, f"run{seq}", datetime(2026, 1, day))
    return line(seq, "promoted", day, model=model, promotion=SeenPromotion(version, seq))


def seen(day, finding, champion=1):
    window = Window(datetime(2026, 1, day), datetime(2026, 1, day + 1))
    return Result(window, 1, window.end, Seen(finding, (finding,), (), champion, None))


def test_a_finding_about_a_replaced_champion_does_not_count():
    facts = Facts("toy", [promoted(1, 2), promoted(2, 11, version=2)], [seen(10, "decayed")])
    assert row_of(facts, None, NOW).needs == ("new",)
    facts.recent = [seen(12, "decayed", champion=2)]
    assert row_of(facts, None, NOW).needs == ("decayed",)
    facts.recent = [seen(12, "data_broken", champion=1)]
    assert row_of(facts, None, NOW).needs == ("data_broken",)


def test_an_approval_is_open_until_it_is_closed_expired_or_overtaken():
    def with_pending(seconds, epoch=1, closed=False):
        waits = line(2, "pending", 19, approval=SeenTerms(epoch, seconds))
        more = [Line(3, "toy", "toy:2:closed", "rejected", NOW, waits.as_of, SeenDecision())] if closed else []
        return row_of(Facts("toy", [promoted(1, 2), waits, *more], []), None, NOW)

    assert len(with_pending(864000).approvals) == 1
    assert with_pending(864000).needs[0] == "approval"
    assert not with_pending(60).approvals
    assert not with_pending(864000, epoch=0).approvals
    assert not with_pending(864000, closed=True).approvals


def test_rejections_in_a_row_stop_retrains():
    rejected = [line(n, "rejected", n, model=SeenModel(n, f"r{n}", datetime(2026, 1, n))) for n in range(2, 5)]
    row = row_of(Facts("toy", [promoted(1, 1), *rejected], [seen(9, "healthy")]), None, NOW)
    assert row.control.stopped
    assert "trueup clear toy" in row.control.words
    assert row.needs[0] == "stopped"


def test_a_late_batch_is_missing_by_the_wall_clock_only():
    facts = Facts("toy", [promoted(1, 2)], [seen(10, "healthy")])
    late = row_of(facts, parse_model(CONFIG + "clock: wall\n"), NOW)
    assert late.missing
    assert late.needs == ("missing",)
    assert "late" in late.fresh
    assert not row_of(facts, parse_model(CONFIG + "clock: data\n"), NOW).missing
    soon = datetime(2026, 1, 12, 1, tzinfo=UTC)
    assert not row_of(facts, parse_model(CONFIG + "clock: wall\n"), soon).missing


def test_a_model_without_anything_and_one_with_a_wrong_config_have_rows():
    made = rows([Facts("b"), Facts("a")], {"b": "b.yaml: line 1: wrong", "a": None}, NOW)
    assert [(row.model, row.needs[0]) for row in made] == [("b", "config"), ("a", "unknown")]


@given(st.lists(st.sampled_from(ORDER)), st.integers(0, 2), *[st.booleans()] * 4)
def test_the_rank_is_that_of_the_most_urgent_need(findings, approvals, stopped, missing, off, config):
    signs = Signs(findings, approvals, stopped, missing, off, config)
    listed = needs(signs)
    assert rank(signs) == min(ORDER.index(need) for need in listed)
    assert listed == sorted(listed, key=ORDER.index)
    assert ("approval" in listed) == (approvals > 0 or "approval" in findings)
    fewer = Signs(findings, 0, stopped, missing, off, config)
    assert rank(signs) <= rank(fewer)


@given(st.lists(st.none() | st.floats(), max_size=30), st.none() | st.floats(-1e6, 1e6))
def test_a_sparkline_has_finite_points_inside_its_frame(values, gate):
    drawn = sparkline(values, gate)
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert bool(drawn) == any(v is not None and abs(v) != float("inf") and v == v for v in values)


def test_days_are_counted_from_the_newest_training_row():
    facts = Facts("toy", [promoted(1, 2)], [seen(10, "healthy")])
    assert row_of(facts, None, NOW).age_days == (datetime(2026, 1, 11) - datetime(2026, 1, 2)) / timedelta(days=1)
