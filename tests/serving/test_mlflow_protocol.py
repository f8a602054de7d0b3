"""Clients of `mlflow models serve` are answered as there."""

import json

import numpy as np
import pytest

from tests.serving.made import bundle
from tests.serving.test_app import ROW, Server

INVOKE = "/invocations"
VALUES = list(ROW.values())
SAME = {
    "dataframe_split": {"index": [0], "columns": list(ROW), "data": [VALUES]},
    "dataframe_records": [ROW],
    "instances": [ROW],
    "inputs": {name: [value] for name, value in ROW.items()},
}


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path, bundle(lambda features: np.full((len(features), 1), 0.25)))


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("path", [INVOKE, "/v1/models/flights/invocations"])
def test_each_format_gives_the_same(server, name, path):
    said = server.ask("POST", path, json={name: SAME[name]}).json()
    assert (said["predictions"], said["version"], said["epoch"]) == ([[0.75, 0.25]], 7, 3)
    (record,) = server.logged()
    assert (record.id, record.key["flight"]) == (said["ids"][0], 1545)
    assert np.frombuffer(record.features).tolist() == [1400, 3.5, 1, 1, 1, 315]


def test_csv_is_read_as_pandas_does(server):
    body = "distance,delay,carrier,gate,hour,flight,tail\r\n1400,,UA,2,2013-01-01T05:15:00,1545,N1\r\n"
    answer = server.ask("POST", INVOKE, content=body, headers={"Content-Type": "text/csv; charset=utf-8"})
    assert answer.json()["ignored"] == ["tail"]
    assert np.nan_to_num(np.frombuffer(server.logged()[0].features), nan=-9).tolist() == [1400, -9, 1, 1, 1, 315]


def test_inputs_that_are_computed_here_may_be_sent(server):
    row = {
        "distance": 1,
        "delay": 2,
        "carrier": "AA",
        "gate": "1",
        "hour_weekday": 3,
        "hour_minute_of_day": 4,
        "x": [1],
    }
    said = server.ask("POST", INVOKE, json={"dataframe_records": [row]}).json()
    assert said["ignored"] == ["x"]
    (record,) = server.logged()
    assert np.frombuffer(record.features).tolist() == [1, 2, 0, 0, 3, 4]
    assert record.key is None


def test_regression_and_classes_have_their_forms(tmp_path):
    loaded = bundle(lambda features: np.full((len(features), 1), 7.5), task="regression")
    assert Server(tmp_path, loaded).ask("POST", INVOKE, json={"instances": [ROW]}).json()["predictions"] == [7.5]
    loaded = bundle(lambda features: np.tile([0.25, 0.75], (len(features), 1)), task="multiclass")
    loaded.champion.classes = ("a", "b")
    assert Server(tmp_path, loaded).ask("POST", INVOKE, json={"instances": [ROW]}).json()["predictions"] == [
        [0.25, 0.75]
    ]


WRONG = [
    [],
    {},
    {"dataframe_record": [ROW]},
    {"instances": [ROW], "inputs": {}},
    {"instances": []},
    {"instances": [[1, 2]]},
    {"inputs": {"a": [1], "b": [1, 2]}},
    {"inputs": 1},
    {"dataframe_split": []},
    {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
    {"dataframe_split": {"columns": [1], "data": [[1]]}},
    {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
    {"dataframe_split": {"columns": ["a"], "data": []}},
    {"instances": [{**ROW, "delay": "late"}]},
    {"instances": [{**ROW, "delay": {"a": 1}}]},
    {"instances": [ROW], "params": {}},
]


@pytest.mark.parametrize("body", WRONG, ids=json.dumps)
def test_mistakes_are_problems(server, body):
    answer = server.ask("POST", INVOKE, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["next"]


@pytest.mark.parametrize("body", [b"", b"a,b\n", b"a,b\n1", b"a,a\n1,2", b'a\n"x', b"\xff\n1"])
def test_what_is_no_csv_is_refused(server, body):
    assert server.ask("POST", INVOKE, content=body, headers={"Content-Type": "text/csv"}).status_code == 422


def test_many_rows_and_repeated_keys_are_refused(server):
    assert server.ask("POST", INVOKE, json={"instances": [ROW] * 51}).status_code == 413
    double = b'{"instances": [{"delay": 1, "delay": 2}]}'
    answer = server.ask("POST", INVOKE, content=double, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_health_and_version_are_at_their_addresses(server):
    assert (server.ask("GET", "/ping").status_code, server.ask("GET", "/version").status_code) == (200, 200)


def test_a_category_that_is_no_plain_value_is_refused(server):
    answer = server.ask("POST", INVOKE, json={"dataframe_records": [{**ROW, "carrier": {}}]})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "rows[0].carrier")
