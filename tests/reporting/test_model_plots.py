"""Each picture is a PNG that holds what it says; the odd cases draw too, and what cannot be drawn says why."""

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import paired_interval
from trueup.reporting import model_plots

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def size(png):
    """Width and height from the header."""
    assert png.startswith(PNG)
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def binary(rng, n=400):
    p = rng.random(n)
    return (rng.random(n) < p).astype(float), p


def test_binary_predictions_give_two_pictures(rng):
    drawn = model_plots.performance_plots(Task.BINARY, *binary(rng))
    assert set(drawn) == {"reliability.png", "roc_pr.png"}
    assert all(min(size(png)) > 400 for png in drawn.values())


def test_multiclass_draws_the_most_frequent_classes(rng):
    names = [f"c{k}" for k in range(9)]
    weights = np.arange(1, 10) / 45
    y, p = rng.choice(names, 600, p=weights), rng.dirichlet(np.ones(9), 600)
    assert set(model_plots.one_against_rest(y, p, names)) == set(names[3:])
    drawn = model_plots.performance_plots(Task.MULTICLASS, y, p, names)
    assert all(min(size(png)) > 400 for png in drawn.values())


def test_regression_gives_residuals(rng):
    y = rng.normal(size=500)
    drawn = model_plots.performance_plots(Task.REGRESSION, y, y + rng.normal(size=500), unit="minutes")
    assert set(drawn) == {"residuals.png"}
    assert min(size(drawn["residuals.png"])) > 400


def test_constant_predictions_can_be_drawn(rng):
    y, _ = binary(rng)
    drawn = model_plots.performance_plots(Task.BINARY, y, np.full(400, 0.5))
    drawn |= model_plots.performance_plots(Task.REGRESSION, np.ones(50), np.ones(50))
    assert all(png.startswith(PNG) for png in drawn.values())


@pytest.mark.parametrize(("y", "said"), [(np.zeros(40), "40 labels of one class only"), (np.zeros(0), "0 labels")])
def test_one_class_has_no_curve(y, said):
    with pytest.raises(ValueError, match=said):
        model_plots.performance_plots(Task.BINARY, y, np.full(len(y), 0.3))


def test_no_rows_have_no_residuals():
    with pytest.raises(ValueError, match="no rows to draw"):
        model_plots.residuals([], [])


def test_importance_grows_with_its_features():
    def table(n):
        mean = np.linspace(0.01, -0.001, n)
        return pd.DataFrame(
            {"feature": [f"f{i}" for i in range(n)], "mean": mean, "low": mean - 0.002, "high": mean + 0.002}
        )

    few, many, most = (size(model_plots.importance(table(n), "log-loss"))[1] for n in (3, 25, 60))
    assert few < many == most


def test_importance_of_features_with_any_names_leaves_room_for_the_bars():
    names = ["x" * 260, "y" * 200, "$cost$", "$start", "%s", r"\frac$", "a\nb", "ü 😀"]
    table = pd.DataFrame({"feature": names, "mean": 0.01, "low": 0.0, "high": 0.02})
    assert size(model_plots.importance(table, "log-loss"))  # matplotlib warns where no room is left


@pytest.mark.parametrize("days", [1, 30])
def test_loss_difference_by_day(rng, days):
    moments = pd.Timestamp("2013-03-01") + pd.to_timedelta(np.sort(rng.random(900)) * days, "D")
    difference = rng.normal(-0.01, 0.2, 900)
    interval = paired_interval(difference, moments, timedelta(days=1), 0.95)
    assert min(size(model_plots.loss_difference(moments, difference, interval, "log-loss"))) > 400


def test_a_day_with_one_row_can_be_drawn():
    moments = pd.to_datetime(["2013-03-01", "2013-03-02"])
    interval = paired_interval([0.1, 0.2], moments, timedelta(days=1), 0.95)
    assert model_plots.loss_difference(moments, [0.1, 0.2], interval, "mse").startswith(PNG)


def test_the_same_figures_give_the_same_picture(rng):
    curves = model_plots.one_against_rest(*binary(rng))
    assert model_plots.reliability(curves) == model_plots.reliability(curves)


def test_write_makes_the_folder_and_gives_the_paths(tmp_path):
    paths = model_plots.write({"a.png": b"1", "b.png": b"2"}, tmp_path / "new" / "plots")
    assert [p.read_bytes() for p in paths] == [b"1", b"2"]


def test_importing_plots_and_search_loads_neither_matplotlib_nor_optuna():
    code = "import sys, trueup.reporting.model_plots, trueup.adapters.optuna; print({'matplotlib', 'optuna'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
