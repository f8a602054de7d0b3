"""`trueup new` on the command line: what it writes, and what it says of a table or a question that will not do."""

import json

import pytest
import yaml

from tests import messy
from tests.fixtures import CommandLine

PREFECT = """
definitions:
  work: &run {entrypoint: flows/run.py:run}
  others: [&retrain {entrypoint: a}, &score {entrypoint: b}, &monitor {entrypoint: c}, &watch {entrypoint: d}, &rollback {entrypoint: e}, &replay {entrypoint: f}]
  on: [&on_arrived {expect: [a]}, &on_missing {expect: [b]}, &on_decayed {expect: [c]}, &on_stale {expect: [d]}, &on_due {expect: [e]}]
deployments:
  - {<<: *run, name: other}
"""


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """The command line on a folder in which nothing but a table lies."""
    messy.Messy("orders", messy.orders(days=28)).write(tmp_path / "data")
    return CommandLine(tmp_path, monkeypatch, capsys)


def words(said, table="orders", time="ordered", label="late"):
    """A whole command."""
    return ["new", "parcels", "--data", str(said.folder / "data" / f"{table}.csv"), "--time", time, "--label", label]


def test_a_config_and_deployments_are_written_once(said):
    prefect = said.folder / "prefect.yaml"
    prefect.write_text(PREFECT)
    first = said(*words(said))
    assert first.code == 0, first.err
    assert "trueup check parcels --rehearse" in first.out
    path = said.folder / "configs" / "parcels.yaml"
    assert yaml.safe_load(path.read_text())["model"] == "parcels"
    names = [d["name"] for d in yaml.safe_load(prefect.read_text())["deployments"]]
    assert names == ["other", *["parcels"] * 7]
    again = said(*words(said))
    assert again.code != 0
    assert "--force" in again.err
    before = prefect.read_text()
    assert said(*words(said), "--force").code == 0
    assert prefect.read_text() == before
    assert said.landed() == []


def test_json_is_one_object(said):
    answer = said(*words(said), "--json")
    found = json.loads(answer.out.strip().splitlines()[-1])
    assert (found["model"], found["rows"], found["key"], found["deployments"]) == ("parcels", 1120, ["order"], None)
    assert (said.folder / "configs" / "parcels.yaml").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"time": "orderd"}, "did you mean ordered?"),
        ({"label": "latte"}, "did you mean late?"),
        ({"table": "nowhere"}, "there is no such file"),
        ({"table": "empty"}, "empty"),
        ({"table": "head"}, "has no rows"),
        ({"table": "constant"}, "nothing to predict"),
        ({"time": "city"}, "which is not a time"),
    ],
)
def test_a_mistake_is_said_and_nothing_is_written(said, given, told):
    frame, data = messy.orders(days=7), said.folder / "data"
    (data / "empty.csv").write_text("")
    frame.head(0).to_csv(data / "head.csv", index=False)
    frame.assign(late="no").to_csv(data / "constant.csv", index=False)
    answer = said(*words(said, **given))
    assert answer.code in {1, 2}
    assert told in " ".join(answer.err.split()), answer.err
    assert "Traceback" not in answer.err + answer.out
    assert not (said.folder / "configs").exists()
