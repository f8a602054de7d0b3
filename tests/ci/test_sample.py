"""`trueup ci sample`: the newest rows of a source, as a file to commit."""

import json
from datetime import datetime

import pandas as pd
import pytest

from tests.ci.shop import CONFIG, DATA
from trueup.ci.job import LABELS, LATER, LATER_BLIND, OUTCOME, OUTCOME_AT, RAW, SAMPLE, Frame, Job
from trueup.ci.sample import make_sample
from trueup.ci.sides_config import side_config
from trueup.config.load import read
from trueup.config.settings import Settings
from trueup.domain.types import LABEL
from trueup.home import Home


@pytest.fixture
def project(tmp_path, command_line, monkeypatch):
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "orders.yaml").write_text(CONFIG)
    (configs / "orders_data.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    said = command_line(tmp_path)
    said.configs = configs
    return said


def test_a_sample_is_compared_on(project, tmp_path):
    """The newest whole weeks, with the columns of the config; the split hides the outcomes of the judged rows."""
    answer = project("ci", "sample", "orders", "--rows", "1500", "--json")
    written = json.loads(answer.out.splitlines()[-1])
    assert (written["rows"], written["sample"]) == (5 * 7 * 40, "samples/orders.parquet")
    rows = pd.read_parquet(project.configs / "samples" / "orders.parquet")
    assert list(rows) == ["order_id", "ordered_at", "weight_kg", "warehouse", "late"]
    assert rows["ordered_at"].is_monotonic_increasing

    (job := tmp_path / "job").mkdir()
    home = Home(Settings().apart(tmp_path / "apart", configs=project.configs))
    wanted = Job("orders", "base", project.configs, job, sample=str(project.configs / "samples" / "orders.parquet"))
    frame = make_sample(read(project.configs, "orders"), home, wanted)
    home.close()
    before, later, blind, raw, labels = (
        pd.read_parquet(job / name) for name in (SAMPLE, LATER, LATER_BLIND, RAW, LABELS)
    )
    assert before["ordered_at"].max() < frame.cut
    young = before["ordered_at"] > frame.cut - pd.Timedelta(days=1)
    assert before.loc[young, OUTCOME].isna().all(), "not known at the cut yet"
    assert before.loc[~young, OUTCOME].notna().all()
    judged = later["ordered_at"] >= frame.cut
    assert later[OUTCOME].notna().all()
    assert blind.loc[judged, OUTCOME].isna().all()
    assert blind.loc[~judged, OUTCOME].equals(later.loc[~judged, OUTCOME])
    assert "late" not in later
    assert len(raw) == len(later) == len(labels) == written["rows"]
    assert later[OUTCOME].astype(int).tolist() == raw["late"].tolist()
    assert labels[LABEL].mean() == pytest.approx(raw["late"].mean())


def test_rules_about_the_wait_for_labels_hold_as_the_config_is_written(project):
    """A side gets labels with the moment at which each was known. A rule about `known_after` must not see that."""
    text = CONFIG.replace("12 hours", "1 day").replace("period: week", "period: month")
    text = text.replace("promote:\n", "promote:\n  min_new_days: 14\n")
    (project.configs / "orders.yaml").write_text(text)
    moment = datetime(2025, 1, 6)
    frame = Frame("binary", "ordered_at", "UTC", ["order_id"], "month", *[moment] * 5, 9, None, [])
    config = side_config(read(project.configs, "orders"), frame, project.configs / "rows.parquet")
    assert (config.ingest.label.column, config.ingest.label.known_at) == (OUTCOME, OUTCOME_AT)
    assert config.ingest.key == ["order_id"]


def test_personal_data_is_refused_unless_allowed(project):
    named = CONFIG.replace("numeric: [weight_kg]", "numeric: [weight_kg, customer_age]")
    (project.configs / "orders.yaml").write_text(named)
    (project.configs / "orders_data.py").write_text(
        DATA.replace('"weight_kg": weight,', '"weight_kg": weight, "customer_age": 40,')
    )
    answer = project("ci", "sample", "orders", "--out", "configs/people.csv")
    assert answer.code == 2
    assert "customer_age" in answer.err
    assert not (project.configs / "people.csv").exists()
    assert project("ci", "sample", "orders", "--out", "configs/people.csv", "--with-personal").code == 0
    assert "customer_age" in (project.configs / "people.csv").read_text().splitlines()[0]


def test_a_file_out_of_the_project_is_refused(project, tmp_path):
    answer = project("ci", "sample", "orders", "--out", str(tmp_path.parent / "rows.csv"))
    assert (answer.code, "is not in the project" in " ".join(answer.err.split())) == (2, True)


def test_outcomes_of_a_label_source_get_a_file_of_their_own(project):
    separate = CONFIG.replace(
        "column: late,", 'column: late, source: {kind: callable, function: "orders_data:outcomes"},'
    )
    (project.configs / "orders.yaml").write_text(separate)
    more = "\n\ndef outcomes(start, end):\n    return orders(start, end)[['order_id', 'late']]\n"
    (project.configs / "orders_data.py").write_text(DATA + more)
    answer = project("ci", "sample", "orders", "--rows", "600", "--json")
    written = json.loads(answer.out.splitlines()[-1])
    assert written["label_sample"] == "samples/orders-labels.parquet"
    outcomes = pd.read_parquet(project.configs / "samples" / "orders-labels.parquet")
    rows = pd.read_parquet(project.configs / "samples" / "orders.parquet")
    assert "late" not in rows
    assert sorted(outcomes["order_id"]) == sorted(rows["order_id"])
