"""prefect.yaml: every model has its deployments, every trigger fits the flow it starts, and the server knows the forms."""

import importlib
import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import jinja2
import jsonschema
import pytest
import yaml
from pydantic.fields import FieldInfo

from trueup.config.load import load_model, model_names
from trueup.config.settings import Settings
from trueup.domain.events import ApprovalRequested, DataArrived, ModelDecayed, ModelDue, ModelStale
from trueup.orchestration.stack.health import post

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
TRIGGERS = [(d, t) for d in DEPLOYMENTS for t in d.get("triggers", [])]
FACTS = {"model": "flight_delays", "as_of": datetime(2013, 5, 1), "batch": "2013-04-01T00:00:00/2013-05-01T00:00:00"}
FACTS |= {"revision": 1, "reasons": [], "decision": "an id"}
WANTED = {ModelDue: {"reason": "schedule"}}
EVENTS = {  # a payload of each, as the outbox holds it
    payload.topic: payload.model_validate(
        {k: v for k, v in FACTS.items() if k in payload.model_fields} | WANTED.get(payload, {})
    ).model_dump(mode="json")
    for payload in (DataArrived, ModelDecayed, ModelStale, ModelDue, ApprovalRequested)
}
OF_MODELS = [d for d in DEPLOYMENTS if "parameters" in d]


def flow_of(deployment):
    module, name = deployment["entrypoint"].split(":")
    return getattr(importlib.import_module(module), name)


def rendered(value, payload):
    """A parameter as Prefect makes it from an event: text through Jinja, or typed through JSON."""
    if isinstance(value, dict) and value.get("__prefect_kind") == "jinja":
        return rendered(value["template"], payload)
    if isinstance(value, dict) and value.get("__prefect_kind") == "json":
        return yaml.safe_load(rendered(value["value"], payload))
    if isinstance(value, str):
        template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(value)
        return template.render(event={"payload": payload})
    return value


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_one_line_chooses_the_kind_of_work_pool_for_every_deployment(kind):
    """No Docker and no cluster is here: this reads the file, and starts nothing."""
    text = (ROOT / "prefect.yaml").read_text()
    assert text.count("pool: &pool {<<: *process}") == 1
    chosen = yaml.safe_load(text.replace("&pool {<<: *process}", f"&pool {{<<: *{kind}}}"))
    pool = chosen["definitions"][kind]
    assert {d["work_pool"]["name"] for d in chosen["deployments"]} == {pool["name"]}
    assert all(d["work_pool"] == pool for d in chosen["deployments"])
    assert pool["job_variables"]["command"] == "python -m prefect.engine"
    for name, value in pool["job_variables"].get("env", {}).items():
        assert not name.startswith("TRUEUP_") or name.removeprefix("TRUEUP_").lower() in Settings.model_fields
        if Settings.model_fields.get(name.removeprefix("TRUEUP_").lower(), FieldInfo()).repr is False:
            assert re.fullmatch(r"\{\{ prefect\.blocks\.secret\.[a-z-]+ \}\}", value), f"{name} is a secret"


@pytest.mark.parametrize("model", model_names(ROOT / "configs"))
def test_every_config_has_its_deployments(model):
    mine = [d for d in OF_MODELS if d["parameters"]["model"] == model]
    flows = {"run", "retrain", "score", "monitor", "watch", "rollback", "replay", "feed"}
    assert {d["entrypoint"].split(":")[1] for d in mine} == flows, (
        f"configs/{model}.yaml has no block of its own in prefect.yaml: copy the one of flight_delays"
    )
    assert all({"trueup", model} <= set(d["tags"]) and d["name"] == model for d in mine)
    zone = load_model(ROOT / "configs", model).ingest.timezone
    schedules = [s for d in mine for s in d.get("schedules", [])]
    assert schedules
    assert {s["timezone"] for s in schedules} == {zone}
    assert ZoneInfo(zone)
    started = {t["name"] for d in mine for t in d.get("triggers", [])}
    assert started >= {
        "retrain on decay",
        "retrain on age",
        "retrain when due",
        "run when data arrives",
        "run when no data arrives",
    }


def test_deployments_name_configs_and_have_names_of_their_own():
    assert {d["parameters"]["model"] for d in OF_MODELS} <= set(model_names(ROOT / "configs"))
    names = [(d["entrypoint"], d["name"]) for d in DEPLOYMENTS]
    assert len(set(names)) == len(names)


def test_one_retrain_a_model_and_every_batch_handled():
    limits = {d["entrypoint"]: d["concurrency_limit"] for d in DEPLOYMENTS if "concurrency_limit" in d}
    assert limits["flows.retrain:retrain"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert limits["flows.run:run"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@pytest.mark.parametrize(("deployment", "trigger"), TRIGGERS, ids=[f"{d['name']}: {t['name']}" for d, t in TRIGGERS])
def test_triggers_fit_the_flows_they_start(deployment, trigger):
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
    from prefect.utilities.callables import parameter_schema

    DeploymentEventTrigger.model_validate(trigger)
    model = deployment.get("parameters", {}).get("model", "*")
    assert trigger["match"] == {"prefect.resource.id": f"trueup.model.{model}"}
    flow = flow_of(deployment)
    for topic in trigger["expect"]:
        # What no event starts has no payload to speak of: its template may use none.
        payload = EVENTS[topic] if trigger["posture"] == "Reactive" else {}
        filled = {k: rendered(v, payload) for k, v in trigger["parameters"].items()}
        assert not [v for v in filled.values() if re.search(r"\{\{|^$", str(v))]
        parameters = {**deployment.get("parameters", {}), **filled}
        flow.validate_parameters(parameters)
        jsonschema.validate(parameters, parameter_schema(flow).model_dump())


def test_forms_describe_every_parameter():
    from prefect.utilities.callables import parameter_schema

    for entrypoint in {d["entrypoint"] for d in DEPLOYMENTS}:
        schema = parameter_schema(flow_of({"entrypoint": entrypoint})).model_dump()
        if "model" in schema["properties"]:
            assert schema["properties"]["model"]["enum"] == model_names(ROOT / "configs")
        assert all(p.get("description") for p in schema["properties"].values()), entrypoint


@pytest.mark.parametrize(
    ("flow", "wrong"),
    [
        ("retrain", {"model": "flight_delay"}),
        ("retrain", {"model": ""}),
        ("retrain", {"reason": "because"}),
        ("retrain", {"as_of": "tomorrow"}),
        ("run", {"retrain": "perhaps"}),
        ("run", {"model": None}),
        ("rollback", {"by": " ", "why": "a test"}),
        ("rollback", {"by": "me", "why": "a test", "to": 0}),
    ],
)
def test_the_server_refuses_what_the_form_does_not_offer(prefect_server, deployed, flow, wrong):
    import httpx

    answer = httpx.post(
        f"{prefect_server}/deployments/{deployed[flow]}/create_flow_run",
        json={"parameters": {"model": "flight_delays", **wrong}},
        timeout=30,
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.status_code in {409, 422}


@pytest.mark.parametrize(
    "as_of", [None, "2013-05-01", "2013-05-01T06:00", "2013-05-01T00:00:00", "2013-05-01T06:00:00.000Z"]
)
def test_the_server_takes_what_the_form_offers(prefect_server, deployed, as_of):
    body = {"parameters": {"model": "flight_delays", "as_of": as_of, "reason": "decayed"}}
    made = post(f"{prefect_server}/deployments/{deployed['retrain']}/create_flow_run", body, tries=20)
    assert made["parameters"]["as_of"] == as_of


@pytest.fixture(scope="module")
def deployed(prefect_server):  # noqa: ARG001
    """The deployments of one model on the tests' server; gives their ids."""
    from prefect.client.orchestration import get_client
    from prefect.utilities.callables import parameter_schema

    ids = {}
    with get_client(sync_client=True) as client:
        for deployment in DEPLOYMENTS:
            if deployment.get("parameters", {}).get("model") != "flight_delays":
                continue
            flow = flow_of(deployment)
            ids[flow.name] = client.create_deployment(
                flow_id=client.create_flow(flow),
                name=deployment["name"],
                parameters=deployment["parameters"],
                parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
                enforce_parameter_schema=True,
            )
    return ids
