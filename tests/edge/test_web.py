"""Updates from `https://` and `s3://` addresses: cut off, refused, redirected."""

from __future__ import annotations

import socket
import time
import zipfile
from contextlib import contextmanager, suppress
from threading import Thread

import pytest

from tests.edge import bundles
from tests.edge.serving import certificate, serving
from trueup_edge import load
from trueup_edge.errors import NotTrusted, Unavailable, UsageError
from trueup_edge.update import pull, replace_anchor
from trueup_edge.web import is_allowed

FILES = ("manifest.json", "manifest.sig", "model.onnx", "parity.jsonl")


@pytest.fixture
def web(tmp_path):
    """A server on 127.0.0.1 with a bundle of epoch 5; yields its address and its behaviour."""
    bundles.write(tmp_path / "www" / "toy")
    with serving(tmp_path / "www") as (address, behaviour):
        yield f"{address}/toy", behaviour


def test_the_signed_manifest_comes_first(web, tmp_path, anchor):
    address, behaviour = web
    assert pull(address, tmp_path / "device", anchor) == "toy version 3, epoch 5: installed"
    assert behaviour.requested == [f"toy/{name}" for name in FILES]
    behaviour.requested.clear()
    assert pull(f"{address}/?token=1", tmp_path / "device", anchor).endswith("up to date")
    assert behaviour.requested == ["toy/manifest.json", "toy/manifest.sig"]


def test_a_download_that_is_cut_off_is_refused_and_the_old_one_stays(web, tmp_path, anchor):
    address, behaviour = web
    device = tmp_path / "device"
    pull(str(bundles.write(tmp_path / "old", epoch=4)), device, anchor)
    for behaviour.without_length in (False, True):
        for name in FILES:
            behaviour.cut = {name: 40}
            with pytest.raises(NotTrusted):
                pull(address, device, anchor)
            assert load(device, trust=anchor).epoch == 4
            assert not (device / "incoming").exists()
    behaviour.cut = {}
    pull(address, device, anchor)
    assert load(device, trust=anchor).epoch == 5


def test_a_server_that_refuses_or_is_gone_could_not_be_fetched_from(web, tmp_path, anchor):
    address, behaviour = web
    for name, status in (("manifest.json", 404), ("model.onnx", 503), ("parity.jsonl", 403)):
        behaviour.status = {name: status}
        with pytest.raises(Unavailable, match=f"answers {status}"):
            pull(f"{address}?token=secret", tmp_path / "device", anchor)
    with pytest.raises(Unavailable, match="does not answer") as refused:
        pull("http://127.0.0.1:1/toy?token=secret", tmp_path / "device", anchor)
    assert "secret" not in str(refused.value)


def test_a_download_has_an_end(web, tmp_path, anchor):
    address, _ = web
    with pytest.raises(Unavailable, match="too long"):
        pull(address, tmp_path / "device", anchor, seconds=0)


@contextmanager
def sending(*pieces: bytes, pause: float = 0.0):
    """A server that answers one request with these pieces; yields its address."""

    def answer() -> None:
        with suppress(OSError):
            connected, _ = listening.accept()
            with connected:
                connected.recv(10_000)
                for piece in pieces:
                    connected.sendall(piece)
                    time.sleep(pause)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/toy"
        thread.join()


@pytest.mark.parametrize(
    ("headers", "body"), [(b"x" * 40, b""), (b"", b"x" * 40), (b"Transfer-Encoding: chunked\r\n", b"0" * 40)]
)
def test_a_download_byte_by_byte_has_an_end(tmp_path, anchor, headers, body):
    pieces = [b"HTTP/1.1 200 OK\r\n", *[bytes([byte]) for byte in headers[:40]], b"\r\n", *[bytes([b]) for b in body]]
    if b"chunked" in headers:
        pieces = [b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n", *[bytes([b]) for b in body]]
    with sending(*pieces, pause=0.05) as address:
        begun = time.monotonic()
        with pytest.raises(Unavailable, match=r"too long|timed out"):
            pull(address, tmp_path / "device", anchor, seconds=0.3)
        assert time.monotonic() - begun < 1


def test_an_answer_of_an_absurd_length_is_refused_in_one_line(anchor):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}"
    with sending(answer) as address, pytest.raises(NotTrusted, match="is not signed"):
        replace_anchor(address, anchor)


def test_a_proxy_gets_nothing_that_is_not_encrypted(web, tmp_path, anchor, monkeypatch):
    address, _ = web
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert pull(address, tmp_path / "device", anchor).endswith("installed")


def test_an_encrypted_address_does_not_lead_to_one_that_is_not(web, tmp_path, anchor, monkeypatch):
    address, _ = web
    pem = certificate(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with serving(tmp_path / "www", pem) as (encrypted, behaviour):
        behaviour.status = dict.fromkeys(FILES, 302)
        behaviour.location = f"{address.removesuffix('/toy')}/"
        with pytest.raises(Unavailable, match="redirects to http://127"):
            pull(f"{encrypted}/toy", tmp_path / "device", anchor)


def test_redirects_lead_only_to_safe_addresses(web, tmp_path, anchor):
    address, behaviour = web
    behaviour.status = dict.fromkeys(FILES, 302)
    behaviour.location = "http://example.com/"
    with pytest.raises(Unavailable, match=r"redirects to http://example\.com"):
        pull(address, tmp_path / "device", anchor)
    with serving(tmp_path / "www") as (other, _):
        behaviour.location = f"{other}/"
        assert pull(address, tmp_path / "device", anchor).endswith("installed")


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/b",
        "http://localhost/b",
        "https://user:password@example.com/b",
        "https:///b",
        "http://127.0.0.1.example.com/b",
    ],
)
def test_unsafe_addresses_are_wrong_calls(tmp_path, anchor, address):
    with pytest.raises(UsageError, match="only https://") as refused:
        pull(address, tmp_path / "device", anchor)
    assert "password@" not in str(refused.value)


def test_safe_addresses_are_allowed():
    assert is_allowed("https://example.com/b")
    assert is_allowed("http://127.0.0.1:8000/b")


def test_https_needs_a_certificate_that_the_device_trusts(tmp_path, anchor, monkeypatch):
    bundles.write(tmp_path / "www" / "toy")
    pem = certificate(tmp_path / "server.pem")
    with serving(tmp_path / "www", pem) as (address, _):
        with pytest.raises(Unavailable, match="certificate"):
            pull(f"{address}/toy", tmp_path / "device", anchor)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert pull(f"{address}/toy", tmp_path / "device", anchor).endswith("installed")


def test_an_archive_is_fetched_within_its_limit(tmp_path, anchor):
    bundle = bundles.write(tmp_path / "bundle")
    (tmp_path / "www").mkdir()
    with zipfile.ZipFile(tmp_path / "www" / "toy.zip", "w") as made:
        for name in FILES:
            made.write(bundle / name, name)
    size = (tmp_path / "www" / "toy.zip").stat().st_size
    with serving(tmp_path / "www") as (address, behaviour):
        with pytest.raises(NotTrusted, match="--max-bytes"):
            pull(f"{address}/toy.zip", tmp_path / "device", anchor, max_bytes=size - 1)
        behaviour.cut["toy.zip"] = size // 2
        with pytest.raises(NotTrusted, match="cut off"):
            pull(f"{address}/toy.zip", tmp_path / "device", anchor)
        behaviour.cut.clear()
        assert pull(f"{address}/toy.zip", tmp_path / "device", anchor).endswith("installed")


def test_a_trust_anchor_can_be_fetched(tmp_path, anchor):
    (tmp_path / "www").mkdir()
    bundles.trust(tmp_path / "www" / "trust.json", bundles.key(2), number=2, signed_by=bundles.key(1))
    with serving(tmp_path / "www") as (address, _):
        assert "replaced by number 2" in replace_anchor(f"{address}/trust.json", anchor)


def test_bundles_behind_s3_addresses(tmp_path, anchor, monkeypatch):
    pytest.importorskip("boto3")
    bundles.write(tmp_path / "www" / "bucket" / "models" / "toy")
    with serving(tmp_path / "www") as (address, behaviour):
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            monkeypatch.setenv(name, value)
        behaviour.cut["model.onnx"] = 40
        with pytest.raises(NotTrusted, match="cut off"):
            pull("s3://bucket/models/toy", tmp_path / "device", anchor)
        behaviour.cut.clear()
        assert pull("s3://bucket/models/toy/", tmp_path / "device", anchor).endswith("installed")
        with pytest.raises(Unavailable, match=r"s3://bucket/nowhere/manifest\.json cannot be fetched"):
            pull("s3://bucket/nowhere", tmp_path / "device", anchor)
    with pytest.raises(UsageError, match="names no bucket"):
        pull("s3://", tmp_path / "device", anchor)
