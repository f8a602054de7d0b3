"""The server as a process: light, quick to start, graceful at its end, and several of them on one socket."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.free import free_port
from trueup.serving.loading.manifest import read_bundle
from trueup.serving.published import folder_of, read
from trueup.serving.state import BUNDLES

HEAVY = {"sklearn", "pandas", "skops", "mlflow", "pydantic", "sqlalchemy", "scipy", "onnx", "prefect", "pyarrow"}


def ask(port, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def until(look, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
        except (URLError, OSError):
            pass
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def environment(story):
    root = story.home.root
    given = {"TRUEUP_HOME": str(root), "TRUEUP_CONFIGS": str(story.configs), "TRUEUP_REPORTS": "false"}
    return {**os.environ, **given, "PYTHONWARNINGS": "error"}


@contextmanager
def serving(story, *words):
    """A server with its port, ended by SIGTERM."""
    port = free_port()
    command = [sys.executable, "-c", "from trueup.cli.main import main; main()", "serve", "--port", str(port), *words]
    process = subprocess.Popen(command, env=environment(story), stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: process.poll() is not None or ask(port, "/health/ready"))
        assert process.poll() is None, process.stderr.read()
        yield port, process
    finally:
        process.terminate()
        _, process.said = process.communicate(timeout=60)


def example(story):
    state = read(folder_of(story.home.root, "toy"), story.home.signer)
    return {field.name: field.example for field in state.fields}


@pytest.fixture
def story(shop, tmp_path):
    return shop.branch(tmp_path)


def test_a_row_is_answered_and_the_process_ends_gracefully(story):
    with serving(story, "toy") as (port, process):
        answer = ask(port, "/v1/models/toy/predict", {"row": example(story)})
        assert (answer["model"], answer["version"], answer["epoch"]) == ("toy", 2, 1)
        assert 0 < answer["predictions"][0]["prediction"] < 1
        with socket.create_connection(("127.0.0.1", port)) as slow:  # a request of which the body is still to come
            body = json.dumps({"row": example(story)}).encode()
            head = f"POST /v1/models/toy/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            slow.sendall(head.encode() + body[:10])
            until(lambda: ask(port, "/v1/models/toy")["held_requests"] >= 1)
            process.send_signal(signal.SIGTERM)
            until(lambda: refused(port))
            slow.sendall(body[10:])
            assert slow.recv(4096).startswith(b"HTTP/1.1 200")
    assert process.returncode == 0, process.said


def refused(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return False
    except OSError:
        return True


WATCHED = """
import os, signal, sys, threading
from trueup.serving.__main__ import main

def end_when_told():
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_when_told, daemon=True).start()
assert main(sys.argv[1:]) == 0
print(*sorted(sys.modules))
"""
OURS = (
    "serving",
    "errors",
    "files",
    "crash",
    "hints",
    "ledger",
    "domain.types",
    "config.places",
    "secrecy",
    "adapters.telemetry",
)


def test_the_server_loads_nothing_of_what_trains(story):
    port = free_port()
    command = [sys.executable, "-c", WATCHED, "toy", "--port", str(port)]
    with subprocess.Popen(
        command, env=environment(story), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            until(lambda: ask(port, "/v1/models/toy/predict", {"row": example(story)}))
            ask(port, "/v1/models/toy")
            metrics(port)
            said, _ = process.communicate("end\n", timeout=60)
        finally:
            process.kill()
    loaded = set(said.splitlines()[-1].split())
    assert not {name.split(".")[0] for name in loaded} & HEAVY
    assert {"onnxruntime", "msgspec", "uvicorn", "uvloop", "httptools"} <= loaded
    ours = {name.removeprefix("trueup.") for name in loaded if name.startswith("trueup.")} - {
        "domain",
        "config",
        "adapters",
    }
    assert not [name for name in ours if not name.startswith(OURS)]
    assert not ours & {"ledger.ledger", "ledger.tables", "ledger.entries"}


def test_with_a_certificate_it_answers_over_https(story, tmp_path):
    certificate, key = self_signed(tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "trueup.serving", "toy", "--port", str(port)]
    command += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    trusting = ssl.create_default_context(cafile=str(certificate))
    with subprocess.Popen(command, env=environment(story)) as process:
        try:
            ready = f"https://localhost:{port}/health/ready"
            with until(lambda: urlopen(ready, timeout=30, context=trusting)) as answer:
                assert answer.status == 200
        finally:
            process.terminate()


def self_signed(folder):
    """A certificate for localhost and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / "server.crt", folder / "server.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_two_workers_share_a_port_and_a_dead_one_is_started_again(story):
    import psutil

    with serving(story, "toy", "--workers", "2") as (port, process):
        parent = psutil.Process(process.pid)
        workers = until(lambda: (found := parent.children()) and len(found) == 2 and found)
        answers = {ask(port, "/v1/models/toy/predict", {"row": example(story)})["predictions"][0]["prediction"] for _ in range(20)}  # fmt: skip
        assert len(answers) == 1
        workers[0].kill()
        until(lambda: len({w.pid for w in parent.children()} - {w.pid for w in workers}) == 1)
        until(lambda: b"trueup_worker_restarts_total 1.0" in metrics(port))
        ask(port, "/v1/models/toy/predict", {"row": example(story)})
    assert process.returncode == 0, process.said
    assert "is started again" in process.said
    assert not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)


def test_workers_end_with_a_parent_that_was_killed(story):
    import psutil

    with serving(story, "toy", "--workers", "2") as (port, process):
        workers = until(lambda: (found := psutil.Process(process.pid).children()) and len(found) == 2 and found)
        process.kill()
        until(lambda: refused(port))
        assert not psutil.wait_procs(workers, timeout=30)[1]


def metrics(port):
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return answer.read()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("toy", "--host", "0.0.0.0"), "make a token first"),
        (("toyy",), "did you mean toy"),
        (("--tls-cert", "x.pem"), "TLS needs both files"),
        (("--tls-cert", "x.pem", "--tls-key", "x.pem"), "x.pem: no such file"),
        (("--tls-cert", __file__, "--tls-key", __file__), "cannot be used for TLS"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(story, command_line, words, message):
    said = command_line(story.folder)("serve", *words)
    assert said.code == 2
    assert message in said.err


def test_before_anything_is_published_it_lives_is_not_ready_and_publishes(story):
    folder = folder_of(story.home.root, "toy")
    for file in [folder / "state", *(p for p in folder.rglob("*") if p.is_file())]:
        file.unlink(missing_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "trueup.serving", "toy", "--port", str(port)]
    process = subprocess.Popen(command, env=environment(story) | {"PYTHONWARNINGS": "default"})
    try:
        assert until(lambda: ask(port, "/health/live"))
        until(lambda: ask(port, "/health/ready"))
        state = read(folder, story.home.signer)
        assert read_bundle(folder / BUNDLES / state.champion.bundle, story.home.signer)
    finally:
        process.terminate()
        process.wait(60)


def test_a_worker_that_starts_when_its_parent_is_gone_ends():
    code = "import time; from trueup.serving.workers import end_with_parent; end_with_parent(-1); time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == -signal.SIGTERM
