"""The features that configs/example_features.py computes."""

import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "configs"))
from example_data import orders
from example_features import features

ROWS = orders(datetime(2025, 1, 6), datetime(2025, 1, 13)).drop(columns="late")


def test_each_row_has_finite_features():
    made = features(ROWS)
    assert made.index.equals(ROWS.index)
    assert np.isfinite(made.to_numpy()).all()


def test_a_rows_features_do_not_depend_on_other_rows():
    alone = pd.concat([features(ROWS.iloc[[i]]) for i in range(20)])
    pd.testing.assert_frame_equal(alone, features(ROWS).iloc[:20])
