"""The benchmark of strangers' tables, on a tiny one: to its end, with an entry that has all that it promises."""

import json

import pytest

from benchmarks import strangers
from tests import streams


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Seven weeks of hourly rows whose relation turns round."""
    monkeypatch.setitem(strangers.TABLES, "tiny", strangers.Table("tiny.csv", "t", "y"))
    streams.Stream(days=49, per_day=24, change_on=28).frame().to_csv(tmp_path / "tiny.csv", index=False)
    return tmp_path


@pytest.mark.thorough  # three policies, with a search at each retrain
def test_a_table_is_measured_to_its_end_and_written_down(tiny):
    found = strangers.measured("tiny", tiny, tiny / "place")
    assert "error" not in found
    assert {*strangers.KEYS} <= {*found}
    assert (found["batches"], found["broken"]) == (7, 0)
    assert found["champion"].startswith("2024-01")
    assert found["yaml_lines"] > 20
    assert all(0 < found[key] < 1 for key in ("gated", "ungated", "frozen"))
    assert found["recommended"] in {strangers.FROZEN, strangers.UNGATED, strangers.GATED}
    assert json.loads((tiny / "place" / "found.json").read_text()) == found


def test_a_table_that_cannot_be_read_says_so_in_its_entry(tiny):
    (tiny / "tiny.csv").write_text("t,y\n")
    found = strangers.measured("tiny", tiny, tiny / "place")
    assert "tiny.csv" in found["error"]
    assert found["champion"] is None
