"""Bundles behind `s3://` addresses, with the extra `s3` (boto3). Credentials and endpoint come from the environment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trueup_edge.errors import NotTrusted, Unavailable, UsageError
from trueup_edge.manifest import Manifest


class S3Source:
    """The objects below `s3://BUCKET/PREFIX`; the object itself by the empty name. `deadline` is of `time.monotonic`."""

    def __init__(self, address: str, deadline: float) -> None:
        self._bucket, _, self._prefix = address.split("://", 1)[1].partition("/")
        if not self._bucket:
            raise UsageError(f"{address} names no bucket; write s3://BUCKET/PREFIX")
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise UsageError("s3:// needs boto3; install trueup-edge[s3]") from None
        self._deadline = deadline
        limits = Config(connect_timeout=30, read_timeout=30, retries={"max_attempts": 3, "mode": "standard"})
        try:
            self._client = boto3.client("s3", config=limits)
        except Exception as error:  # boto3's exceptions have no common class but this
            raise UsageError(f"{address}: {error}; set AWS_REGION and the credentials in the environment") from None

    @contextmanager
    def open(self, name: str) -> Iterator[S3Stream]:
        """Request one object. Raises Unavailable."""
        key = f"{self._prefix.rstrip('/')}/{name}".lstrip("/") if name else self._prefix
        where = f"s3://{self._bucket}/{key}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except Exception as error:
            raise Unavailable(f"{where} cannot be fetched: {error}; check address, credentials and network") from None
        with answer["Body"] as body:
            yield S3Stream(body, answer["ContentLength"], where, self._deadline)

    def check(self, manifest: Manifest) -> None:
        """Nothing is known before the objects are fetched."""


class S3Stream:
    """The content of one object."""

    def __init__(self, body: Any, size: int, where: str, deadline: float) -> None:
        self._body, self._missing, self._where, self._deadline = body, size, where, deadline

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes. Raises NotTrusted if the content was cut off, Unavailable if it takes too long."""
        if time.monotonic() > self._deadline:
            raise Unavailable(f"{self._where} takes too long; run again, or with a longer --timeout")
        try:
            chunk: bytes = self._body.read(size)
        except Exception as error:
            raise NotTrusted(f"{self._where} was cut off ({error}); run again") from None
        self._missing -= len(chunk)
        if not chunk and self._missing > 0:
            raise NotTrusted(f"{self._where} was cut off ({self._missing} bytes are missing); run again")
        return chunk
