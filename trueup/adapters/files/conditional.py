"""Writing an object only if there is none: S3 decides it, and pyarrow cannot ask for it."""

from __future__ import annotations

import pyarrow.fs as pafs

from trueup.errors import UsageError


def put_if_absent(system: pafs.FileSystem, path: str, content: bytes) -> bool:
    """Write an object unless there is one; return whether it was written.

    Of several writers at once exactly one succeeds on S3. Elsewhere the check comes before the writing, so that of two
    writers within a moment both may succeed. Raises OSError, UsageError.
    """
    if isinstance(system, pafs.S3FileSystem):
        return _put_to_s3(path, content)
    if system.get_file_info(path).type == pafs.FileType.File:
        return False
    with system.open_output_stream(path) as stream:
        stream.write(content)
    return True


def _put_to_s3(path: str, content: bytes) -> bool:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise UsageError("a home in S3 needs boto3; install it with pip install 'trueup[s3]'") from None
    bucket, _, key = path.partition("/")
    try:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in (409, 412):  # another is writing it, or it is there
            return False
        if status == 404:
            raise FileNotFoundError(str(error)) from error
        raise OSError(f"{error} (HTTP status {status})") from error
    except BotoCoreError as error:
        raise TimeoutError(str(error)) from error
    return True
