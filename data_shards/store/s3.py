"""S3, or what speaks its language, as a store. The only module that knows boto3.

Credentials, region and endpoint come from boto3's own chain (AWS_ENDPOINT_URL, AWS_PROFILE, instance roles):
there is no setting of ours, so no key can end up in a config of ours.

Two clients, so that no fault is retried twice over. `calls` leaves retries to botocore: right for a listing or
a part of an upload. A read needs more than botocore has (it repeats requests, but not a body that breaks in the
middle, and waits 0.5 s on average after the first 503), so `reads` has none and `_Read` continues on its own.
"""

import contextlib
import io
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.loaders import Loader, create_loader

from data_shards.errors import DataError, DataUsageError
from data_shards.store.base import TakenError, Unfinished
from data_shards.store.patience import GaveUpError, Patience, TransientError
from data_shards.store.s3_errors import ABSENT, DENIED, refusal

CALLS = Config(retries={"mode": "standard", "max_attempts": 8}, connect_timeout=10, read_timeout=60)
READS = Config(
    retries={"total_max_attempts": 1},
    connect_timeout=10,
    read_timeout=15,  # seconds without a byte: a stall
    max_pool_connections=32,
)
PATIENCE = Patience()
SECONDS, TRY_SECONDS, SLOWEST = 120.0, 12.0, 2**20
"""A read may take SECONDS, each of its tries TRY_SECONDS, and both one more per SLOWEST bytes. So a connection
that drips is left for another one."""

CHUNK = 1 << 18
"""Bytes taken from the socket at a time: the clock is looked at in between."""

THROTTLED = {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestTimeout"}
TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", *ABSENT}
"""What a conditional write meets; an object that is gone among them."""

BROKEN = (NoConnectionError, HTTPClientError, IncompleteReadError)


Uploads = dict[str, list[str]]
"""Ids of multipart uploads, by key."""


class S3Store:
    """Keys live under s3://bucket/prefix/. An upload, of one part or many, appears whole or not at all."""

    def __init__(self, url: str) -> None:
        self._bucket, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
        if not self._bucket:
            raise DataUsageError(f"'{url}' names no bucket: write s3://bucket/prefix")
        self.url = url.rstrip("/")
        self._root = f"{prefix}/" if prefix else ""

    def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted."""
        with _explained(f"{self.url}/{prefix}"):
            pages = self._calls.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._root + prefix
            )
            found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return sorted(key.removeprefix(self._root) for key in found)

    def size(self, key: str) -> int:
        """The object's size in bytes. Raises NotFoundError."""
        return int(self._head(key)["ContentLength"])

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start`, or all that follow. A broken body is continued where it broke."""
        end = None if length is None else start + length
        read = _Read(self._reads, self._place(key), start, end)
        with _explained(f"{self.url}/{key}"):
            PATIENCE.persist(read.attempt, SECONDS + (length or 0) / SLOWEST)
        return read.got.getvalue()

    def write(self, key: str, content: bytes | Path) -> None:
        """Upload the bytes, or the file's bytes; the object is there, whole, when this returns."""
        with _explained(f"{self.url}/{key}"):
            if isinstance(content, Path):
                self._calls.upload_file(str(content), **self._place(key))
            else:
                self._calls.upload_fileobj(io.BytesIO(content), **self._place(key))

    def version(self, key: str) -> str:
        """What tells this content of the object from another. Raises NotFoundError."""
        return str(self._head(key)["ETag"])

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        """Put `content` where the object is of `version`, or where there is none; its new version.

        Raises TakenError where it is another. No content may be put twice: by it a request that was repeated, for its
        answer was lost, knows its own.
        """
        only: dict[str, str] = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        with _explained(f"{self.url}/{key}"):
            try:
                return str(self._calls.put_object(**self._place(key), Body=content, **only)["ETag"])
            except ClientError as error:
                if error.response["Error"]["Code"] not in TAKEN:
                    raise
        if self.list(key) == [key] and self.read(key) == content:
            return self.version(key)
        raise TakenError(f"{self.url}/{key} was written by another meanwhile")

    def delete(self, key: str) -> None:
        """Remove `key`, and abort uploads of it that were under way when this store first deleted anything."""
        with _explained(f"{self.url}/{key}"):
            for upload in self._orphans.pop(key, []):
                self._abort(key, upload)
            self._calls.delete_object(**self._place(key))

    def unfinished(self, prefix: str) -> tuple[Unfinished, ...]:
        """The multipart uploads of keys that start with `prefix`, oldest first. Raises DeniedError."""
        with _explained(f"{self.url}/{prefix}"):
            found = [
                Unfinished(key=key, begun=begun, bytes=self._sent(key, upload), token=upload)
                for key, upload, begun in self._uploads(prefix)
            ]
        return tuple(sorted(found, key=lambda write: write.begun))

    def abort(self, write: Unfinished) -> None:
        """Abort the upload; no error where it has ended."""
        with _explained(f"{self.url}/{write.key}"):
            self._abort(write.key, write.token)

    def _head(self, key: str) -> dict[str, Any]:
        with _explained(f"{self.url}/{key}"):
            try:
                return dict(self._calls.head_object(**self._place(key)))
            except ClientError as error:
                if error.response["Error"]["Code"] not in ABSENT:
                    self._calls.get_object(**self._place(key), Range="bytes=0-0")  # its body says why
                raise

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + key}

    def _abort(self, key: str, upload: str) -> None:
        with contextlib.suppress(self._calls.exceptions.NoSuchUpload):
            self._calls.abort_multipart_upload(**self._place(key), UploadId=upload)

    def _uploads(self, prefix: str) -> Iterator[tuple[str, str, float]]:
        """(key, id, when it was begun) of each multipart upload that has not ended."""
        pages = self._calls.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._root + prefix
        )
        for page in pages:
            for upload in page.get("Uploads", []):
                begun = upload["Initiated"].timestamp()
                yield upload["Key"].removeprefix(self._root), upload["UploadId"], begun

    def _sent(self, key: str, upload: str) -> int | None:
        """Bytes of an upload's parts. None where that may not be asked, or it has just ended."""
        try:
            pages = self._calls.get_paginator("list_parts").paginate(**self._place(key), UploadId=upload)
            return sum(int(part["Size"]) for page in pages for part in page.get("Parts", []))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchUpload", *DENIED}:
                return None
            raise

    @cached_property
    def _orphans(self) -> Uploads:
        """What killed writers left unfinished, by key: invisible, and paid for."""
        found = defaultdict(list)
        for key, upload, _ in self._uploads(""):
            found[key].append(upload)
        return found

    @cached_property
    def _calls(self) -> Any:
        return _client(self.url, CALLS)

    @cached_property
    def _reads(self) -> Any:
        return _client(self.url, READS)


class _Read:
    """One read of an object: `got` holds what has come so far, over all attempts."""

    def __init__(self, client: Any, place: dict[str, str], start: int, end: int | None) -> None:
        self.got = io.BytesIO()
        self._client = client
        self._place = place
        self._start, self._end = start, end
        self._version: dict[str, str] = {}  # the ETag, once it is known: a resume must not mix two versions

    def attempt(self) -> None:
        """Get what is missing. TransientError if another attempt may get more."""
        try:
            self._attempt()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code == "InvalidRange":  # starts behind the end: nothing follows
                return
            if status >= 500 or status == 429 or code in THROTTLED:
                raise TransientError(f"{status} {code}") from None
            raise
        except FlexibleChecksumError as error:  # a checksum that S3 keeps of the whole object
            self.got = io.BytesIO()
            raise TransientError(str(error)) from None
        except BROKEN as error:
            raise TransientError(str(error)) from None

    def _attempt(self) -> None:
        at = self._start + self.got.tell()
        if self._end is not None and at >= self._end:
            return
        span = f"bytes={at}-{'' if self._end is None else self._end - 1}"
        answer = self._client.get_object(**self._place, Range=span, **self._version)
        with contextlib.closing(answer["Body"]) as body:
            if "ContentRange" not in answer:
                raise DataError(
                    f"{self._place['Key']}: asked for {span}, and the answer does not say which bytes it holds: "
                    "no S3 server answers so. Check AWS_ENDPOINT_URL"
                )
            self._version = {"IfMatch": answer["ETag"]} if "ETag" in answer else {}
            last, _, _ = answer["ContentRange"].partition("-")[2].partition("/")
            missing = int(last) + 1 - at
            late = time.monotonic() + TRY_SECONDS + missing / SLOWEST
            for chunk in body.iter_chunks(CHUNK):
                self.got.write(chunk)
                if time.monotonic() > late:
                    raise TransientError(f"slower than {SLOWEST:,} bytes per second")
        if self.got.tell() + self._start <= int(last):
            raise TransientError(
                f"the answer ended {int(last) + 1 - self._start - self.got.tell()} bytes early"
            )


def _client(url: str, config: Config) -> Any:
    with _explained(url):
        session = botocore.session.Session()
        session.register_component("data_loader", _descriptions())
        client = boto3.session.Session(botocore_session=session).client("s3", config=config)
        client.meta.events.register("before-call.s3", _stay)
    return client


@cache
def _descriptions() -> Loader:
    """What botocore knows of S3, read once: a session that reads it for itself takes 0.15 s longer."""
    return create_loader()


def _stay(context: dict[str, Any], **_: object) -> None:
    """Keep botocore from following a redirect: it takes a request that was redirected once for its last."""
    context.setdefault("s3_redirect", {})["redirected"] = True


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn boto's errors into ours; what is not there is a NotFoundError, as in every store."""
    try:
        yield
    except ClientError as error:
        raise _refusal(what, error) from None
    except NoCredentialsError:
        raise DataError(
            f"{what}: no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile "
            "with AWS_PROFILE (`aws configure`), or give the machine a role"
        ) from None
    except (BotoCoreError, S3UploadFailedError, GaveUpError) as error:
        if isinstance(
            error.__context__, ClientError
        ):  # boto3 makes a sentence of it, where a file is uploaded
            raise _refusal(what, error.__context__) from None
        raise DataError(f"{what}: {error}. Check the network, the credentials and AWS_ENDPOINT_URL") from None


def _refusal(what: str, error: ClientError) -> DataError:
    headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
    return refusal(what, error.operation_name, error.response["Error"], headers)
