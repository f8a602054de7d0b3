"""Tables that come with scikit-learn, given a time, go through `new`, `check` and the loop without an edit."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from sklearn import datasets

from tests.messy import START
from tests.onboarding.test_new_model import opened, quick
from trueup.config.load import load_model
from trueup.domain.profiling.questions import Ask
from trueup.home import Home
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import Model
from trueup.onboarding.check import check
from trueup.onboarding.new_model import Drafted, draft, save

TABLES = {
    "iris": (datasets.load_iris, "multiclass"),
    "breast_cancer": (datasets.load_breast_cancer, "binary"),
    "diabetes": (datasets.load_diabetes, "regression"),
    "wine": (datasets.load_wine, "multiclass"),
    "digits": (datasets.load_digits, "multiclass"),
    "linnerud": (datasets.load_linnerud, "regression"),
}


def table(name: str) -> tuple[pd.DataFrame, str]:
    """A table in mixed order with its rows spread over ten weeks, and what its outcome is called."""
    bunch = TABLES[name][0](as_frame=True)
    frame = bunch.frame.drop(columns=["Waist", "Pulse"]) if name == "linnerud" else bunch.frame
    frame = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    step = timedelta(days=70) / len(frame)
    return frame.assign(t=[START + i * step for i in range(len(frame))]), frame.columns[-1]


def saved(folder: Path, name: str) -> tuple[Drafted, Home]:
    """The config of a table, written; the ports are to be closed."""
    frame, label = table(name)
    frame.to_csv(folder / "table.csv", index=False)
    home = opened(folder)
    drafted = draft(Ask(name, str(folder / "table.csv"), "t", label), home)
    save(drafted)
    return drafted, home


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.thorough) if n == "digits" else n for n in TABLES])
def test_a_config_is_written_and_sound(tmp_path, name):
    drafted, home = saved(tmp_path, name)
    assert check(name, home).problems == []
    assert str(drafted.config.task) == TABLES[name][1]
    assert drafted.findings.suspects == ()
    assert drafted.config.features.numeric
    assert (drafted.findings.choice is None) == (name == "linnerud")  # 20 rows tell nothing
    home.close()


@pytest.mark.parametrize(
    "name",
    [
        "iris",
        "diabetes",
        *(pytest.param(n, marks=pytest.mark.thorough) for n in TABLES if n not in {"iris", "diabetes"}),
    ],
)
def test_the_loop_comes_to_a_decision_that_is_recorded(tmp_path, name):
    drafted, home = saved(tmp_path, name)
    drafted.path.write_text(quick(drafted.path.read_text()))
    done = cycle(steps, Model(load_model(home.configs, name), home), START + timedelta(weeks=9))
    assert done.decided.outcome in {"promoted", "rejected", "held"}
    assert done.decided.outcome == "promoted" or done.decided.reasons
    entries = list(home.ledger.entries(name))
    assert [e.kind for e in entries][-1:] == [done.decided.outcome]
    home.close()
