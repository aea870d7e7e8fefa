"""S3, or what speaks its language, as a store. The only module that knows boto3.

Credentials, region and endpoint come from boto3's own chain (AWS_ENDPOINT_URL, AWS_PROFILE, instance roles):
there is no setting of ours, so no key can end up in a config of ours.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from data_shards.errors import DataError, DataUsageError
from data_shards.store.base import NotFoundError

CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 8},  # 503 SlowDown: jittered back-off inside botocore
    connect_timeout=10,
    read_timeout=60,
    max_pool_connections=32,
)
READ_ATTEMPTS = 8
"""Tries at one read. botocore repeats requests, but not a body that breaks in the middle."""

BROKEN_BODY = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
ABSENT = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}


class S3Store:
    """Keys live under s3://bucket/prefix/. An upload, of one part or many, appears whole or not at all."""

    def __init__(self, url: str) -> None:
        self._bucket, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
        if not self._bucket:
            raise DataUsageError(f"'{url}' names no bucket: write s3://bucket/prefix")
        self.url = url.rstrip("/")
        self._root = f"{prefix}/" if prefix else ""
        with _explained(self.url):
            self._client = boto3.session.Session().client("s3", config=CONFIG)

    def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted."""
        with _explained(f"{self.url}/{prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._root + prefix
            )
            found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return sorted(key.removeprefix(self._root) for key in found)

    def size(self, key: str) -> int:
        """The object's size in bytes. Raises NotFoundError."""
        with _explained(f"{self.url}/{key}"):
            head = self._client.head_object(Bucket=self._bucket, Key=self._root + key)
        return int(head["ContentLength"])

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start`, or all that follow. A broken body is continued where it broke."""
        end = None if length is None else start + length
        got = io.BytesIO()
        with _explained(f"{self.url}/{key}"):
            for attempt in range(READ_ATTEMPTS):
                try:
                    self._stream(key, start + got.tell(), end, got)
                    break
                except BROKEN_BODY:
                    if attempt == READ_ATTEMPTS - 1:
                        raise
        return got.getvalue()

    def write(self, key: str, content: bytes | Path) -> None:
        """Upload the bytes, or the file's bytes; the object is there, whole, when this returns."""
        target = {"Bucket": self._bucket, "Key": self._root + key}
        with _explained(f"{self.url}/{key}"):
            if isinstance(content, Path):
                self._client.upload_file(str(content), **target)
            else:
                self._client.upload_fileobj(io.BytesIO(content), **target)

    def delete(self, key: str) -> None:
        """Remove `key`; no error where it is gone already."""
        with _explained(f"{self.url}/{key}"):
            self._client.delete_object(Bucket=self._bucket, Key=self._root + key)

    def _stream(self, key: str, start: int, end: int | None, into: io.BytesIO) -> None:
        """Append the bytes [start, end) of the object to `into`, as far as they come."""
        if end is not None and start >= end:
            return
        span = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._root + key, Range=span)
        except ClientError as error:
            if error.response["Error"]["Code"] == "InvalidRange":  # starts behind the end: nothing follows
                return
            raise
        for chunk in answer["Body"].iter_chunks(1 << 20):
            into.write(chunk)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn boto's errors into ours; what is not there is a NotFoundError, as in every store."""
    try:
        yield
    except ClientError as error:
        said = error.response["Error"]
        if said["Code"] in ABSENT:
            raise NotFoundError(f"no object {what} ({said['Code']})") from None
        raise DataError(
            f"{what}: S3 refused: {said['Code']} {said.get('Message', '')}. "
            "Check the credentials, their rights on this prefix, and AWS_ENDPOINT_URL"
        ) from None
    except (BotoCoreError, S3UploadFailedError) as error:
        raise DataError(f"{what}: {error}. Check the network, the credentials and AWS_ENDPOINT_URL") from None
