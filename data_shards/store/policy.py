"""The least that S3 has to allow for what a store does: an IAM policy for one prefix, to read it or to write it too.

Which call needs which action is `ACTIONS` of s3_errors.py. Actions on objects name the prefix; those on the bucket can
only be narrowed by the prefix that a request asks for. Asked for an object that is not there, S3 says so to whoever may
list the bucket, and a request for an object names no prefix to list: so that condition holds IfExists.
"""

from typing import Any

from data_shards.errors import DataUsageError

READ_OBJECTS, READ_BUCKET = ("s3:GetObject",), ("s3:ListBucket",)
WRITE_OBJECTS = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
WRITE_BUCKET = ("s3:ListBucketMultipartUploads",)


def policy(url: str, *, writes: bool) -> dict[str, Any]:
    """An IAM policy document for s3://bucket/prefix. Raises DataUsageError for another URL."""
    bucket, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
    if not url.startswith("s3://") or not bucket:
        raise DataUsageError(f"'{url}' is not in S3: write s3://bucket/prefix")
    on_bucket: dict[str, Any] = {
        "Sid": "Bucket",
        "Effect": "Allow",
        "Action": [*READ_BUCKET, *(WRITE_BUCKET if writes else ())],
        "Resource": f"arn:aws:s3:::{bucket}",
    }
    if prefix:
        on_bucket["Condition"] = {"StringLikeIfExists": {"s3:prefix": f"{prefix}/*"}}
    on_objects = {
        "Sid": "Objects",
        "Effect": "Allow",
        "Action": [*READ_OBJECTS, *(WRITE_OBJECTS if writes else ())],
        "Resource": f"arn:aws:s3:::{bucket}/{f'{prefix}/' if prefix else ''}*",
    }
    return {"Version": "2012-10-17", "Statement": [on_bucket, on_objects]}
