"""The image of a project, and of this repository: what can be said of the files, and one real build where buildah is."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from tests.free import free_port
from trueup.project.choices import Choices
from trueup.project.init import write_project

ROOT = Path(__file__).parents[2]
UID = "10001"


@pytest.fixture(scope="module", params=["docker", "kubernetes", "this repository"])
def place(request, tmp_path_factory):
    """A folder with a Dockerfile."""
    if request.param == "this repository":
        return ROOT
    folder = tmp_path_factory.mktemp(request.param) / "shop"
    return write_project(folder, Choices("shop", deploy=request.param)).folder


def instructions(place):
    """The instructions of the Dockerfile, each with its words, in order."""
    text = re.sub(r"\\\n\s*", "", (place / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_gets_what_it_copies_and_nothing_else(place):
    copied = {
        word.removeprefix("./").rstrip("*")
        for kind, rest in instructions(place)
        if kind == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    let_in = {line[1:] for line in (place / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
    assert "*" in (place / ".dockerignore").read_text().splitlines()
    made_later = {"requirements.lock", "wheels"} if place != ROOT else set()
    assert all((place / name).exists() for name in copied - made_later)


def test_nobody_is_root_and_everything_is_compiled_from_the_lock(place):
    said = instructions(place)
    (install,) = [rest for kind, rest in said if kind == "RUN" and "requirements.lock" in rest]
    assert {"--no-deps", "--require-hashes"} <= set(shlex.split(install))
    kinds = [kind for kind, _ in said]
    assert dict(said)["USER"] == f"{UID}:{UID}"
    assert kinds.index("USER") > max(i for i, kind in enumerate(kinds) if kind in {"RUN", "COPY"})
    folders = {rest.split()[0] for kind, rest in said if kind == "COPY" and rest.split()[-1].startswith("./")}
    (compiled,) = [rest for kind, rest in said if kind == "RUN" and "compileall" in rest]
    assert set(shlex.split(compiled)[4:]) == {f for f in folders if [*(place / f).glob("*.py")]}
    assert not re.search(r"PASSWORD|TOKEN=|_KEY=|SECRET", (place / "Dockerfile").read_text())


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if self.path == "/sick" else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def healthy():
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_health_check_fails_without_a_healthy_program(place, healthy):
    (check,) = [rest for kind, rest in instructions(place) if kind == "HEALTHCHECK"]
    python, *words = json.loads(check.split("CMD ")[1])
    assert python == "python"

    def code(url):
        done = subprocess.run(
            [sys.executable, *words], env={**os.environ, "HEALTH_URL": url}, capture_output=True, check=False
        )
        return done.returncode

    assert code(f"{healthy}/health/live") == 0
    assert code(f"{healthy}/sick") != 0
    assert code(f"http://127.0.0.1:{free_port()}/health/live") != 0
    assert "HEALTH_URL=http://127.0.0.1:8200/health/live" in (place / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("compose") / "shop", Choices("shop", deploy="docker")).folder


def test_the_services_of_a_project_stay_on_the_machine_and_say_how_they_are(composed):
    services = yaml.safe_load((composed / "compose.yaml").read_text())["services"]
    assert set(services) == {"prefect", "worker", "ui", "serve"}
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for service in services.values():
        assert service["image"] == "shop:local"
        assert service["cap_drop"] == ["ALL"]
        assert not [v for v in service["volumes"] if "docker.sock" in v]
    assert services["prefect"]["environment"]["HEALTH_URL"].endswith(":4200/api/health")
    assert services["worker"]["environment"]["HEALTH_URL"].endswith(":8080/health")
    assert services["ui"]["environment"]["HEALTH_URL"].endswith(":8300/health")
    assert "--with-healthcheck" in services["worker"]["command"][-1]
    for name in ("staging", "prod"):
        other = yaml.safe_load((composed / f"compose.{name}.yaml").read_text())["services"]
        assert set(other) == set(services)
        assert {s["environment"]["TRUEUP_ENV"] for s in other.values()} == {name}
        assert all(re.fullmatch(r"\S+/shop@sha256:[0-9a-f]{64}", s["image"]) for s in other.values())


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.prod.yaml"]], ids="+".join)
def test_docker_compose_takes_the_files_of_a_project(composed, files):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker with its compose plugin is not installed")
    command = [docker, "compose", *(word for file in files for word in ("-f", file)), "config", "-q"]
    done = subprocess.run(command, cwd=composed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Builder:
    """buildah without a daemon, with a base image made of this machine's distribution."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        places = ("--root", folder / "store", "--runroot", folder / "run", "--storage-driver", "vfs")
        self._buildah = ["buildah", *map(str, places)]

    def __call__(self, *words: str, fine: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self._folder)}
        done = subprocess.run(
            [*self._buildah, *map(str, words)], env=environment, capture_output=True, text=True, check=False
        )
        assert not fine or done.returncode == 0, done.stderr[-3000:]
        return done

    def base(self) -> str:
        """An image with Debian's Python 3.11, and this machine's certificates."""
        root = self._folder / "debian"
        packages = "python3,python3-venv,python-is-python3,ca-certificates"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"debootstrap made no base image: {made.stdout[-300:]}")
        bundle = Path("/etc/ssl/certs/ca-certificates.crt")
        if bundle.is_file():
            shutil.copy(bundle, root / "etc" / "ssl" / "certs")
        container = self("from", "scratch").stdout.strip()
        self("copy", "-q", container, root, "/")
        self("commit", "-q", container, "base:test")
        shutil.rmtree(root)
        return "localhost/base:test"


def tiny_wheel(folder):
    """A wheel with one module, written by hand."""
    folder.mkdir()
    file, info = folder / "tiny-1.0-py3-none-any.whl", "tiny-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("tiny.py", "NAME = 'tiny'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{info}/RECORD", "".join(f"{name},,\n" for name in ("tiny.py", *wheel.namelist()[1:], f"{info}/RECORD"))
        )
    return file


@pytest.fixture
def build(tmp_path):
    """What builds images, whose layers take gigabytes until it ends."""
    if missing := [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed")
    if os.getuid() != 0:
        pytest.skip("without Docker, only root can build an image here")
    yield Builder(tmp_path)
    for name in ("store", "run", "debian"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)


@pytest.mark.thorough
def test_an_image_is_built_and_runs_as_nobody(build, tmp_path):
    """The real Dockerfile, with a lock of one tiny package: the vendors' 2 GB are not what is tested."""
    project = write_project(tmp_path / "shop", Choices("shop", deploy="kubernetes")).folder
    wheel = tiny_wheel(project / "wheels")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (project / "requirements.lock").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    (project / ".env").write_text("SECRET=1\n")
    build(
        "bud",
        "--isolation",
        "chroot",
        "--format",
        "docker",
        "--build-arg",
        f"BASE={build.base()}",
        "-t",
        "shop:test",
        project,
    )
    container = build("from", "shop:test").stdout.strip()

    def inside(*words, **more):
        return build("run", "--isolation", "chroot", container, "--", *words, **more)

    assert inside("id", "-u").stdout.strip() == UID
    assert inside("python", "-c", "import tiny; print(tiny.__cached__)").stdout.strip().endswith(".pyc")
    there = inside("sh", "-c", "ls -A /app; ls /app/flows/__pycache__ /app/deploy").stdout.split()
    assert {"configs", "environments", "flows", "tasks", "run.cpython-311.pyc", "work-pool.json"} <= set(there)
    assert not {".env", "wheels", "tests"} & set(there)
    assert inside("touch", "/app/mine", fine=False).returncode != 0
    assert inside("touch", "/home/trueup/mine").returncode == 0
    config = json.loads(build("inspect", "--type", "image", "shop:test").stdout)["Docker"]["config"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["Labels"]["org.opencontainers.image.title"] == "shop"
    health = config["Healthcheck"]["Test"]
    assert health[0] == "CMD"
    assert inside(*health[1:], fine=False).returncode != 0, "nothing answers"
    build("rm", "--all")
