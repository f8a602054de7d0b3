"""The benchmark of strangers' tables, on a tiny one: to its end, with an entry that has all that it promises."""

import json

import numpy as np
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
    assert found["kept_low"] <= found["kept"] <= found["kept_high"]
    assert found["recommended"] in {strangers.FROZEN, strangers.UNGATED, strangers.GATED}
    assert json.loads((tiny / "place" / "found.json").read_text()) == found


def test_a_table_that_cannot_be_read_says_so_in_its_entry(tiny):
    (tiny / "tiny.csv").write_text("t,y\n")
    found = strangers.measured("tiny", tiny, tiny / "place")
    assert "tiny.csv" in found["error"]
    assert found["champion"] is None


def test_the_share_kept_is_bounded_where_the_gain_is_shown():
    rng = np.random.default_rng(0)
    rows, noise = np.full(100, 20.0), rng.normal(0, 2, 100)
    frozen, ungated, gated = (100 + noise, 80 + noise, 81 + noise + rng.normal(0, 1, 100))
    found = strangers.kept(frozen, ungated, gated, rows)
    assert found["counts"]
    assert found["kept"] == pytest.approx(0.95, abs=0.02)
    assert found["kept_low"] < found["kept"] < found["kept_high"]
    assert found["kept_high"] - found["kept_low"] == pytest.approx(4 * 0.1 / 20, rel=0.3)  # four standard errors


def test_where_no_gain_is_shown_the_share_has_no_bounds():
    rng = np.random.default_rng(1)
    frozen, ungated, gated = (100 + rng.normal(0, 5, 50) for _ in range(3))
    found = strangers.kept(frozen, ungated, gated, np.full(50, 10.0))
    assert not found["counts"]
    assert found["kept_low"] is found["kept_high"] is None
    low, high = found["above_ungated"][1:]
    assert low < 0 < high
