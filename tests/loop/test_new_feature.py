"""How long a new feature takes from the edit of a config until predictions are served with it (ML Test Score, data 6)."""

import time

import numpy as np
import pytest

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.loop import steps
from trueup.loop.turn import retrain
from trueup.onboarding.check import check

BEFORE = PLAIN.replace("key: [id]", "key: [id]\n  keep: [v]")
LINE = "  numeric: [x, z]\n"
CUSTOM = """
import pandas as pd


def more(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"v_squared": rows["v"] ** 2}, index=rows.index)
"""


@pytest.mark.slow
def test_a_feature_is_two_lines_and_less_than_a_minute_from_serving(tmp_path):
    frame = stream(7 * 7)
    rng = np.random.default_rng(5)
    v = rng.normal(size=len(frame))
    y = rng.random(len(frame)) < 1 / (1 + np.exp(-1.5 * frame["x"] - 4 * (v**2 - 1)))
    told = Story(tmp_path, frame.assign(v=v, y=y.astype(int)), BEFORE)
    first = told.turn(5).decided
    assert first.outcome == "promoted", first.reasons
    told.turn(6)

    begun = time.monotonic()
    (told.configs / "more_features.py").write_text(CUSTOM)
    file = told.configs / "toy.yaml"
    file.write_text(file.read_text().replace(LINE, f"{LINE}  custom: more_features:more\n"))
    assert check("toy", told.home).problems == []
    decided = retrain(steps, told.model, streams.week(6), "manual")
    assert decided.outcome == "promoted", decided.reasons
    (served,) = told.turn(7).scored
    spent = time.monotonic() - begun

    assert "v_squared" in told.home.ledger.entries("toy")[-1].body.evaluation.feature_schema.numeric
    assert (served.version, served.new) == (decided.version, 560)
    print(f"from the edit to served predictions: {spent:.1f} s")
    assert spent < 60
