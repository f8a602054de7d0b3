"""compose.yaml: what can be checked of it without building images."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_docker_compose_takes_it():
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker with its compose plugin is not installed")
    command = [docker, "compose", "--env-file", ".env.example", "-f", "compose.yaml", "config", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_port_leaves_the_machine():
    home = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(home) >= 5
    assert all(port.startswith("127.0.0.1:") for port in home)


def test_no_page_of_another_site_reaches_prefect():
    prefect = COMPOSE["services"]["prefect"]
    origins = prefect["environment"]["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert [origin.split(":$")[0] for origin in origins] == ["http://127.0.0.1", "http://localhost"]
    assert prefect["command"][:3] == [
        "python",
        "-m",
        "trueup.orchestration.stack.prefect_server",
    ]  # which looks at names and sockets


def test_services_wait_for_services_that_exist_and_can_be_asked():
    services = COMPOSE["services"]
    assert set(services) >= {"postgres", "minio", "prefect", "worker", "mlflow", "evidently"}
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[needed]
        used = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert used <= set(COMPOSE["volumes"])


def test_every_secret_has_its_line_in_the_example():
    text = (ROOT / "compose.yaml").read_text()
    given = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line}
    assert given == {name for name in ("POSTGRES_PASSWORD", "S3_USER", "S3_PASSWORD") if f"${{{name}:?" in text}


def test_what_ends_by_itself_has_no_health_check_and_the_worker_has_its_own():
    """The image's health check asks `trueup serve`, and `docker compose up --wait` waits for it."""
    services = COMPOSE["services"]
    assert services["bucket"]["healthcheck"] == {"disable": True}
    assert "--with-healthcheck" in services["worker"]["command"][-1]
    ours = {name for name, service in services.items() if service["image"] == "trueup:local"}
    assert ours == {name for name in ours if "healthcheck" in services[name]}
