"""A model's past: what counts of several results, and the figures of its charts."""

import json

import pandas as pd
import pytest

from tests.ui.fleets import Fleet, day, estimated
from trueup.domain.types import EVENT_TIME, ROW_ID, Status
from trueup.handoffs import Validated
from trueup.ui.charts import figures, summary
from trueup.ui.history import history
from trueup.ui.records import Line


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path, "toy").open()
    yield made
    made.close()


def past(fleet):
    return history(fleet.home, "toy", [Line.of(entry) for entry in fleet.home.ledger.entries("toy")])


def test_maturity_quarantine_and_seconds_are_those_of_each_batch(fleet):
    for number in range(2):
        rows = pd.DataFrame({ROW_ID: range(1000), EVENT_TIME: [day(number).start] * 1000, "x": float(number)})
        fleet.home.store.land("toy/rows", day(number), rows)
        fleet.batch("toy", number)
        checked = Validated(Status.PASS, (), 10 * number, "", ())
        fleet.home.store.record("toy", "validate", day(number), 1, day(number).end, checked, "rules")
        seconds = {"seconds": {"ingest": 1.5, "monitor": 0.5 + number}, "batches": []}
        fleet.home.store.record("toy", "run", day(number), number, day(number).end, seconds, "")
    told = past(fleet)
    assert [b.maturity for b in told.batches] == [0.9, 0.9]
    assert [b.quarantine_share for b in told.batches] == [0.0, 0.01]
    assert told.stages == ["ingest", "monitor"]
    made = figures(told)
    assert set(made) == {"performance", "data", "drift", "cost"}
    assert [trace["y"] for trace in made["cost"]["data"]] == [[1.5, 1.5], [0.5, 1.5]]
    assert "900 labels of 1,000 rows" in summary(told)["data"]
    json.dumps(made, allow_nan=False)


def test_of_several_looks_at_a_batch_the_newest_counts(fleet):
    fleet.batch("toy", 0, "unknown", skill=0.1)
    result = fleet.home.store.results("toy", "monitor", dict)[0]
    later = result.body | {"diagnosis": "decayed", "findings": ["decayed"]}
    fleet.home.store.record("toy", "monitor", day(0), 9, day(3).end, later, "pass")
    assert [b.diagnosis for b in past(fleet).batches] == ["decayed"]


def test_champions_are_bands_and_decisions_marks_with_their_addresses(fleet):
    fleet.decide("toy", "promoted", 0)
    fleet.decide("toy", "refused", 1)
    fleet.decide("toy", "cleared", 1)
    fleet.decide("toy", "promoted", 2, version=2, epoch=1)
    for number in range(4):
        fleet.batch("toy", number, estimate=estimated(0.4, off=number == 3))
    told = past(fleet)
    assert [(r.version, r.until) for r in told.reigns] == [(1, day(2).end), (2, None)]
    performance = figures(told)["performance"]
    assert [a["text"] for a in performance["layout"]["annotations"]] == ["v1", "v2"]
    assert [s["x0"] for s in performance["layout"]["shapes"]] == [day(0).end.isoformat(), day(2).end.isoformat()]
    marks = next(trace for trace in performance["data"] if trace.get("name") == "decisions")
    assert marks["customdata"] == ["/decisions/1", "/decisions/2", "/decisions/4"]  # a cleared count is no mark
    off = next(trace for trace in performance["data"] if trace.get("name") == "estimate was off")
    assert off["y"] == [None, None, None, 0.4]


def test_a_model_without_batches_has_no_charts(fleet):
    assert figures(past(fleet)) == {}
    assert summary(past(fleet)) == {}
