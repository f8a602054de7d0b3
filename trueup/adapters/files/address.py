"""Opens the files of a home by its address."""

from __future__ import annotations

import copyreg
import os
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from trueup.adapters.files.bucket import BucketFiles
from trueup.adapters.files.cache import Cache
from trueup.config.places import caches
from trueup.errors import UsageError

_GOOGLES_TRIES = timedelta(seconds=20)  # of one request; `BucketFiles` repeats it
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")


def open_bucket(address: str, copies: Path, limit: int) -> BucketFiles:
    """The files below an address of an object store, with at most `limit` bytes of copies in a folder.

    Credentials come from the environment of the store's own client. Raises UsageError for an address that cannot be used.
    """
    parts = urlsplit(address)
    try:
        if parts.scheme == "s3":
            system, root = _s3(), f"{parts.netloc}{parts.path}"
        elif parts.scheme in ("gs", "gcs"):
            system, root = _gcs(), f"{parts.netloc}{parts.path}"
        elif (given := os.environ.get("AZURE_STORAGE_CONNECTION_STRING")) and parts.username:
            system, root = _azure(given), f"{parts.username}{parts.path}"
        else:
            system, root = pafs.FileSystem.from_uri(address)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(
            f"the home {address} cannot be opened: {error}; check TRUEUP_HOME and the credentials"
        ) from None
    return BucketFiles(address, Cache(copies, limit), system, root)


@cache
def _opened_elsewhere(address: str, name: str, limit: int) -> BucketFiles:
    """Files that another process sent: with this machine's credentials, and copies where TRUEUP_CACHE is here."""
    return open_bucket(address, caches(os.environ.get("TRUEUP_CACHE")) / name / "copies", limit)


def _address(files: BucketFiles) -> tuple[Any, tuple[str, str, int]]:
    return _opened_elsewhere, (files.address, files.cache.folder.parent.name, files.cache.limit)


copyreg.pickle(BucketFiles, _address)  # a file of a bucket is sent as its address


def _s3() -> pafs.S3FileSystem:
    """S3, or a server with its protocol, as AWS's own programs find it in the environment."""
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else None)
    there = {}
    if endpoint:
        at = urlsplit(endpoint)
        there = {"endpoint_override": at.netloc or endpoint, "scheme": at.scheme or "https"}
    return pafs.S3FileSystem(
        region=region,
        allow_delayed_open=True,  # else each small file takes three requests instead of one
        request_timeout=60,
        connect_timeout=10,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),  # `BucketFiles` repeats them
        **there,
    )


def _gcs() -> pafs.GcsFileSystem:
    """Google Cloud Storage, or the emulator that its own programs find in the environment."""
    there = {}
    if endpoint := os.environ.get("STORAGE_EMULATOR_HOST"):
        at = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        there = {"endpoint_override": at.netloc, "scheme": at.scheme, "anonymous": True}
    return pafs.GcsFileSystem(retry_time_limit=_GOOGLES_TRIES, **there)


def _azure(connection: str) -> pafs.AzureFileSystem:
    """An account of Azure, by the connection string that Azure's own programs and MLflow read."""
    given = dict(part.split("=", 1) for part in connection.split(";") if "=" in part)
    there = {}
    if endpoint := given.get("BlobEndpoint"):
        at = urlsplit(endpoint)
        there = {
            f"{service}_storage_{name}": value
            for service in ("blob", "dfs")
            for name, value in (("authority", at.netloc), ("scheme", at.scheme))
        }
    return pafs.AzureFileSystem(given.get("AccountName", ""), account_key=given.get("AccountKey"), **there)
