"""The server describes itself: its addresses, what a row may be, and a page for people."""

import base64
import hashlib
import re

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.serving.made import FIELDS, bundle
from tests.serving.test_app import PREDICT, ROW, Server


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def validator(document, name):
    resource = Resource.from_contents({"$schema": document["jsonSchemaDialect"], **document})
    registry = Registry().with_resource("urn:document", resource)
    place = f"urn:document#/components/schemas/{name}"
    return Draft202012Validator({"$ref": place}, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_the_example_is_what_the_schema_describes_and_works(server):
    document = server.ask("GET", "/openapi.json").json()
    body = document["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        validator(document, "flights.Request").validate(example["value"])
        answer = server.predict(example["value"])
        assert (answer.status_code, answer.json()["joinable"]) == (200, True)
        validator(document, "Answer").validate(answer.json())


WRONG = [
    {"row": {**ROW, "distance": "far"}},
    {"row": {**ROW, "delay": 1e39}},
    {"row": {**ROW, "else": 1}},
    {"row": {"distance": 1}},
    {"row": {**ROW, "carrier": []}},
    {"rows": []},
    {"rows": [ROW] * 51},
    {"row": ROW, "rows": [ROW]},
    {"row": ROW, "id": ""},
    {},
]


@pytest.mark.parametrize("body", WRONG)
def test_what_the_schema_forbids_is_refused_with_a_problem(server, body):
    document = server.ask("GET", "/openapi.json").json()
    assert not validator(document, "flights.Request").is_valid(body)
    answer = server.predict(body)
    assert 400 <= answer.status_code < 500
    validator(document, "ProblemBody").validate(answer.json())


@pytest.mark.parametrize(
    "time",
    [
        "2024-02-29",
        "2013-01-01T05:15",
        "2013-12-31 23:59:59.25Z",
        "2013-07-01T05:00:00-04:00",
        "2023-02-29",
        "2013-04-31",
        "2013-01-01T24:00",
        "noon",
    ],
)
def test_times_are_described_as_they_are_taken(server, time):
    document = server.ask("GET", "/openapi.json").json()
    body = {"row": {**ROW, "hour": time}}
    assert validator(document, "flights.Request").is_valid(body) == (server.predict(body).status_code == 200)


def test_all_addresses_that_it_names_answer(server):
    document = server.ask("GET", "/openapi.json").json()
    Draft202012Validator.check_schema(document["components"]["schemas"]["flights.Row"])
    bodies = {"predict": {"row": ROW}, "invocations": {"dataframe_records": [ROW]}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = bodies.get(path.split("/")[-1])
            answer = server.ask(method.upper(), path, **({} if body is None else {"json": body}))
            assert str(answer.status_code) in operation["responses"], path
            assert answer.status_code == (403 if path.endswith("/rollout") else 200)


def test_the_schema_has_bounds_categories_and_a_real_row(server):
    schema = server.ask("GET", "/v1/models/flights/schema").json()
    assert schema["required"] == ["hour"]
    distance = schema["properties"]["distance"]
    assert distance["description"] == "A feature; in training 100 to 5000 miles."
    assert distance["x-trueup"] == {
        "kind": "number",
        "uses": ["feature"],
        "minimum": 100,
        "maximum": 5000,
        "unit": "miles",
    }
    assert schema["properties"]["carrier"]["x-trueup"]["categories"] == ["AA", "UA"]
    assert schema["examples"] == [{field.name: field.example for field in FIELDS}]


def test_models_that_are_not_ready_have_no_schema(tmp_path):
    server = Server(tmp_path)
    server.served.current = None
    assert server.ask("GET", "/v1/models/flights/schema").status_code == 503
    assert PREDICT not in server.ask("GET", "/openapi.json").json()["paths"]


@pytest.mark.parametrize("path", ["/", "/models/flights"])
def test_the_page_runs_its_own_script_only(server, path):
    page = server.ask("GET", path)
    policy = page.headers["content-security-policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}';" in policy
    assert "default-src 'none'" in policy
    assert not re.findall(r"https?://|innerHTML|\bon\w+=", page.text)


def test_a_page_is_shown_to_anybody_and_knows_nothing(tmp_path):
    server = Server(tmp_path, bundle()).as_("predict")
    server.headers = {}
    assert server.ask("GET", "/").status_code == 200
    assert server.ask("GET", "/v1/models/flights/schema").status_code == 401
