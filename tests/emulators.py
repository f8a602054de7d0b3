"""Emulators of Google Cloud Storage and of Azure's blobs, if they are installed: `gcp-storage-emulator` (PyPI), `azurite` (npm)."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pyarrow.fs as pafs
import pytest

from tests.free import free_port

_ACCOUNT = "devstoreaccount1"  # Azurite's, with its published key
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def gcs(folder: Path) -> Iterator[str]:
    """Run the emulator of Google Cloud Storage; gives the address of a bucket."""
    port = free_port()
    command = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]
    with _running("gcp-storage-emulator", command, folder, port), pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        asked = Request(
            f"http://127.0.0.1:{port}/storage/v1/b?project=test",
            data=b'{"name": "bucket"}',
            headers={"Content-Type": "application/json"},
        )
        urlopen(asked, timeout=60).close()
        yield "gs://bucket"


@contextmanager
def azure(folder: Path) -> Iterator[str]:
    """Run the emulator of Azure's blobs; gives the address of a container."""
    port = free_port()
    command = [
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        str(port),
        "--location",
        str(folder),
        "--silent",
        "--skipApiVersionCheck",
    ]
    with _running("azurite-blob", command, folder, port), pytest.MonkeyPatch.context() as patch:
        at = f"http://127.0.0.1:{port}"
        patch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={at}/{_ACCOUNT};",
        )
        assert len(base64.b64decode(_KEY)) == 64
        there = {"blob_storage_authority": at[7:], "blob_storage_scheme": "http"}
        pafs.AzureFileSystem(_ACCOUNT, account_key=_KEY, **there).create_dir("container")
        yield f"abfs://container@{_ACCOUNT}.dfs.core.windows.net"


@contextmanager
def _running(name: str, words: list[str], folder: Path, port: int) -> Iterator[None]:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed, so this store is not tested; see docs/how-to/object-store.md")
    with (folder / "emulator.log").open("w") as log:
        server = subprocess.Popen([program, *words], stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + 300
        while not _answers(port):
            assert server.poll() is None, (folder / "emulator.log").read_text()
            assert time.monotonic() < deadline, f"{name} does not answer"
            time.sleep(0.1)
        yield
    finally:
        server.kill()  # Azurite waits for open connections, and nothing of it is kept
        server.wait(60)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
