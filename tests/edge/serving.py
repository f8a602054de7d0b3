"""Servers on 127.0.0.1 that hand out a folder, as a test wants them to misbehave."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Behaviour:
    """What a server does: `cut` ends an answer after so many bytes of the file, `status` and `location` replace it."""

    cut: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    stall: dict[str, int] = field(default_factory=dict)  # waits after so many bytes until `go_on`
    stalled: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)
    location: str = ""
    without_length: bool = False
    requested: list[str] = field(default_factory=list)


@contextmanager
def serving(folder: Path, certificate: Path | None = None) -> Iterator[tuple[str, Behaviour]]:
    """Serve a folder; yields its address and its behaviour."""
    behaviour = Behaviour()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0].lstrip("/")
            name = path.rsplit("/", 1)[-1]
            behaviour.requested.append(path)
            file = folder / path
            status = behaviour.status.get(name, 200 if file.is_file() else 404)
            self.send_response(status)
            if behaviour.location:
                self.send_header("Location", behaviour.location + path)
            data = file.read_bytes() if status == 200 else b""
            if not behaviour.without_length:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if name in behaviour.stall:
                self.wfile.write(data[: behaviour.stall[name]])
                behaviour.stalled.set()
                behaviour.go_on.wait(60)
                return
            self.wfile.write(data[: behaviour.cut.get(name, len(data))])

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:  # a client that goes away is part of the tests
            pass

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}", behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(file: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file
