"""What a policy has to beat: as last time, by nothing that was not known."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.replay.yardsticks import as_last_time
from trueup.stages.features import Examples

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


def known(start, hours, value, kinds=("a",)):
    """An hour's row of each kind."""
    moments = [start + k * HOUR for k in range(hours) for _ in kinds]
    X = pd.DataFrame({"kind": [kind for _ in range(hours) for kind in kinds]})
    y = pd.Series([value(m, kind) for m, kind in zip(moments, X["kind"], strict=True)])
    at = pd.Series(pd.to_datetime(moments))
    return Examples(X, y, at, at, pd.Series(range(len(y))), FeatureSchema((), ("kind",)), ())


def test_a_regression_has_the_value_of_the_same_hour_one_period_before_of_the_same_kind():
    def value(moment, kind):
        return moment.hour + (100.0 if kind == "b" else 0.0) + (1000.0 if moment >= datetime(2024, 1, 8) else 0.0)

    before = known(datetime(2024, 1, 1), 24 * 14, value, ("a", "b"))
    rows = known(datetime(2024, 1, 15), 24 * 7, value, ("a", "b"))
    assert as_last_time(Task.REGRESSION, before, rows, WEEK, None).tolist() == rows.y.tolist()


def test_what_is_not_known_yet_is_replaced_by_the_newest_before_it():
    before = known(datetime(2024, 1, 1), 24 * 5, lambda m, _: float(m.day))  # the last two days are not known
    rows = known(datetime(2024, 1, 8), 24 * 7, lambda *_: 0.0)
    said = as_last_time(Task.REGRESSION, before, rows, WEEK, None)
    assert said[:24].tolist() == [1.0] * 24
    assert said[-24:].tolist() == [5.0] * 24
    other = known(datetime(2024, 1, 8), 24, lambda *_: 0.0, ("never seen",))
    assert as_last_time(Task.REGRESSION, before, other, WEEK, None)[:2].tolist() == [1.0, 1.0]


def test_classes_have_the_shares_of_the_newest_period_and_none_is_impossible():
    before = known(datetime(2024, 1, 1), 24 * 14, lambda m, _: float(m < datetime(2024, 1, 8)))  # as labels are kept
    rows = known(datetime(2024, 1, 15), 24, lambda *_: 0)
    (share,) = set(as_last_time(Task.BINARY, before, rows, WEEK, None))
    assert share == 1 / (24 * 7 + 2)
    named = known(datetime(2024, 1, 1), 24 * 7, lambda *_: "x")
    found = as_last_time(Task.MULTICLASS, named, rows, WEEK, ["w", "x"])
    assert found.shape == (24, 2)
    assert np.allclose(found[0], [1 / 170, 169 / 170])
