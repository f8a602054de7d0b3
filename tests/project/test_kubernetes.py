"""`trueup init --deploy kubernetes`: what a cluster would get. No cluster is here: kustomize renders it, and schemas check it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prefect.utilities.templating import apply_values
from starlette.testclient import TestClient

from docs import capacity
from tests.kubernetes import VERSIONS, mebibytes, pods, rendered, require_valid
from trueup.config.settings import Settings
from trueup.orchestration.stack.deploy import TEMPLATE
from trueup.project.choices import Choices
from trueup.project.init import write_project
from trueup.serving.http.openapi import document
from trueup.serving.workers import GRACE
from trueup.ui.app import application

IMAGE = "registry.example.com/shop@sha256:" + 64 * "0"
OVERLAYS = (
    ("staging", ()),
    ("staging", ("prefect-server",)),
    ("prod", ("serving-log",)),
    ("prod", ("prefect-server", "live-page", "autoscaling")),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project") / "shop", Choices("shop", deploy="kubernetes")).folder


def overlay(project, environment, components, folder):
    """The objects of an environment in which some components are switched on, as the comment in the file says."""
    shutil.copytree(project / "deploy", folder / "deploy")
    file = folder / "deploy" / "overlays" / environment / "kustomization.yaml"
    text = file.read_text()
    for name in components:
        assert f"  # - ../../components/{name} " in text
        text = text.replace(f"  # - ../../components/{name} ", f"  - ../../components/{name} ")
    file.write_text(text)
    return rendered(file.parent)


@pytest.fixture(scope="module")
def everything(project, tmp_path_factory):
    """The objects of production with a Prefect server, the live page and a log of predictions."""
    return overlay(
        project, "prod", ("prefect-server", "live-page", "serving-log"), tmp_path_factory.mktemp("everything")
    )


def job(project, **values):
    """The Job that Prefect's worker makes of the pool's template."""
    template = json.loads((project / TEMPLATE).read_text())
    properties = template["variables"]["properties"]
    given = {name: p["default"] for name, p in properties.items() if "default" in p}
    given |= {"name": "happy-fox", "image": IMAGE, "namespace": "shop-prod", **values}
    assert set(template["variables"]["required"]) <= set(given) <= set(properties)
    made = apply_values(template["job_configuration"]["job_manifest"], given)
    container = made["spec"]["template"]["spec"]["containers"][0]  # the worker does the rest
    container["args"], container["env"] = container["args"].split(), [{"name": "TRUEUP_ENV", "value": "prod"}]
    return made


@pytest.mark.parametrize(("environment", "components"), OVERLAYS, ids=str)
def test_an_overlay_is_valid_in_each_version_of_kubernetes(project, tmp_path, environment, components):
    objects = overlay(project, environment, components, tmp_path)
    kinds = {o["kind"] for o in objects}
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "Role", "ConfigMap"} <= kinds
    assert ("HorizontalPodAutoscaler" in kinds) == ("autoscaling" in components)
    assert ("StatefulSet" in kinds) == ("serving-log" in components)
    for version in VERSIONS:
        for content in objects:
            require_valid(content, version)
    assert {o["metadata"].get("namespace", f"shop-{environment}") for o in objects} == {f"shop-{environment}"}


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinesProbe"), {}),
        ("Deployment", ("spec", "template", "spec", "terminationGracePeriodSeconds"), "45 s"),
        ("NetworkPolicy", ("spec", "podSelector"), []),
    ],
)
def test_the_schemas_find_a_mistake(everything, kind, path, value):
    content = json.loads(json.dumps(next(o for o in everything if o["kind"] == kind)))
    at = content
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(Exception, match=re.escape(str(path[-1]) if "readines" in str(path[-1]) else str(value))):
        require_valid(content, VERSIONS[-1])


def test_the_autoscaler_alone_sets_the_number_of_pods(project, tmp_path):
    objects = overlay(project, "prod", ("autoscaling",), tmp_path)
    (serve,) = [o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "trueup-serve"]
    assert "replicas" not in serve["spec"]


def test_every_pod_is_restricted_and_keeps_nothing(everything, project):
    """What the cluster's profile `restricted` asks for; with it the namespace refuses any other pod."""
    (namespace,) = [o for o in everything if o["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    of_pods = pods([*everything, job(project)])
    assert len(of_pods) == 5
    for name, spec in of_pods.items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] == (name == "Deployment trueup-worker"), name
        for volume in spec["volumes"]:
            assert set(volume) - {"name"} <= {"emptyDir", "secret"}, f"{name}: {volume}"
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"/tmp", "/home/trueup"} <= {m["mountPath"] for m in container["volumeMounts"]}, name
            assert set(container["resources"]) == {"requests", "limits"}, name


def test_only_the_log_of_served_predictions_has_a_volume(everything, project, tmp_path):
    (serve,) = [o for o in everything if o["kind"] == "StatefulSet"]
    assert [claim["metadata"]["name"] for claim in serve["spec"]["volumeClaimTemplates"]] == ["log"]
    (plain,) = [
        o
        for o in overlay(project, "prod", (), tmp_path)
        if o["metadata"]["name"] == "trueup-serve" and "strategy" in o.get("spec", {})
    ]
    assert "volumeClaimTemplates" not in plain["spec"]
    assert yaml.safe_load((project / "configs" / "example.yaml").read_text())["serve"]["durability"] == "home"


def test_every_container_and_every_flow_run_has_the_image_by_its_digest(everything, project):
    containers = [
        c for spec in pods(everything).values() for c in [*spec["containers"], *spec.get("initContainers", [])]
    ]
    assert {c["image"] for c in containers} == {IMAGE}
    (deploy,) = [c for c in containers if c["name"] == "deploy"]
    given = {e["name"]: e for e in deploy["env"]}
    assert given["TRUEUP_IMAGE"]["value"] == IMAGE
    pool = yaml.safe_load((project / "prefect.yaml").read_text())["definitions"]["pool"]
    named = set(re.findall(r"\{\{ \$(\w+) \}\}", json.dumps(pool)))
    assert named == {"TRUEUP_IMAGE", "TRUEUP_NAMESPACE"} <= set(given)
    (worker,) = [c for c in containers if c["name"] == "worker"]
    assert worker["command"][worker["command"].index("--pool") + 1] == pool["name"]


def test_a_flow_run_becomes_a_valid_job_that_names_what_is_there(everything, project):
    for version in VERSIONS:
        require_valid(job(project), version)
    spec = job(project, memory_request="3Gi")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "3Gi"}
    there = {(o["kind"], o["metadata"]["name"]) for o in everything}
    assert ("ServiceAccount", spec["serviceAccountName"]) in there
    (settings, secret) = container["envFrom"]
    assert ("ConfigMap", settings["configMapRef"]["name"]) in there
    assert secret == {"secretRef": {"name": "trueup-environment"}}
    label = job(project)["spec"]["template"]["metadata"]["labels"]["trueup-component"]
    (stores,) = [o for o in everything if o["metadata"]["name"] == "trueup-stores"]
    assert label in stores["spec"]["podSelector"]["matchExpressions"][0]["values"]


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_secrets_are_only_referred_to_by_names_that_the_environment_has(project, tmp_path, environment):
    objects = overlay(project, environment, ("prefect-server",), tmp_path)
    assert not [o for o in objects if o["kind"] == "Secret"]
    (settings,) = [o for o in objects if o["kind"] == "ConfigMap"]
    assert settings["data"]["TRUEUP_ENV"] == environment
    named = set(re.findall(r"\$\{(\w+)\}", (project / "environments" / f"{environment}.yaml").read_text()))
    for spec in pods(objects).values():
        for container in spec["containers"]:
            keys = {
                e["valueFrom"].get("secretKeyRef", {}).get("key") for e in container.get("env", []) if "valueFrom" in e
            }
            assert keys - {None, "PREFECT_API_AUTH_STRING"} <= named


def test_nothing_is_reachable_but_what_a_policy_names(everything):
    policies = {o["metadata"]["name"]: o["spec"] for o in everything if o["kind"] == "NetworkPolicy"}
    assert policies["trueup-nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    rules = {name: spec for name, spec in policies.items() if name != "trueup-nothing"}
    assert all(rule for spec in rules.values() for kind in ("ingress", "egress") for rule in spec.get(kind, []))
    assert {name for name, spec in rules.items() if "ingress" in spec} == {
        "trueup-serve",
        "trueup-prefect",
        "trueup-ui",
    }
    out = {p["port"] for spec in rules.values() for rule in spec.get("egress", []) for p in rule["ports"]}
    assert out == {53, 443, 4200, 5432, 6443}


def test_probes_ask_what_the_programs_answer(everything, tmp_path):
    of_pods = pods(everything)
    (serve,) = [c for c in of_pods["StatefulSet trueup-serve"]["containers"] if c["name"] == "serve"]
    paths = set(document({}, tokens=True)["paths"])
    assert {serve[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")} <= paths
    assert serve["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert [p["containerPort"] for p in serve["ports"]] == [int(serve["command"][-1])]
    before = int(serve["lifecycle"]["preStop"]["exec"]["command"][1])
    assert of_pods["StatefulSet trueup-serve"]["terminationGracePeriodSeconds"] > before + GRACE
    (prefect,) = of_pods["Deployment trueup-prefect"]["containers"]
    (worker,) = of_pods["Deployment trueup-worker"]["containers"]
    assert "--with-healthcheck" in worker["command"]
    (page,) = of_pods["Deployment trueup-ui"]["containers"]
    probes = {page[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    settings = Settings(home=tmp_path, configs=tmp_path, reports_token="t" * 20)
    with TestClient(application(settings, page["command"][4])) as answered:  # at a pod's address, without a token
        assert [answered.get(path, headers={"Host": "10.1.2.3:8300"}).status_code for path in probes] == [200]
        assert answered.get("/", headers={"Host": "10.1.2.3:8300"}).status_code == 401
    # Prefect's server refuses a Host that is not its own, such as a pod's address.
    assert prefect["livenessProbe"]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "trueup-prefect"}]


def test_requests_are_at_least_what_was_measured(everything, project):
    of_pods = pods([*everything, job(project)])
    requests = {c["name"]: c["resources"] for spec in of_pods.values() for c in spec["containers"]}
    asked = {name: mebibytes(r["requests"]["memory"]) for name, r in requests.items()}
    most = {name: mebibytes(r["limits"]["memory"]) for name, r in requests.items()}
    least = {
        "serve": capacity.SERVER.value + capacity.PUBLISHING.value,  # a child of the server publishes
        "prefect": capacity.PREFECT.value,
        "worker": capacity.WORKER.value,
        "ui": capacity.LIVE.value,
        "prefect-job": capacity.FIT_BASE.value,
        "drain": capacity.THOUSAND_PEAK.value,
    }
    assert set(least) == set(asked)
    assert all(figure <= asked[name] <= 2 * figure for name, figure in least.items())
    assert asked["prefect-job"] >= capacity.FIT_BASE.value
    assert most["prefect-job"] >= capacity.MILLION_PEAK.value
    assert most["serve"] >= capacity.SERVER.value + capacity.MILLION_PEAK.value
    described = json.loads((project / TEMPLATE).read_text())["variables"]["properties"]
    rows = (asked["prefect-job"] - capacity.FIT_BASE.value) * capacity.MIB / capacity.BOOSTING.value
    assert f"{round(rows, -3):,.0f} rows fit in" in described["memory_request"]["description"]
    assert all(asked[name] < most[name] for name in asked)


def test_the_goal_of_make_builds_the_image(project):
    said = subprocess.run(["make", "-n", "image"], cwd=project, capture_output=True, text=True, check=True).stdout
    assert "docker build" in said
    assert "--tag shop:local ." in said
    assert Path(project / "Dockerfile").is_file()
