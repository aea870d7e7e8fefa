"""What S3 refused, told apart: what is not there, a wrong region, old or wrong credentials, no right to it."""

from collections.abc import Mapping

from data_shards.errors import DataError
from data_shards.store.base import DeniedError, NotFoundError

ABSENT = {"404", "NoSuchKey", "NotFound"}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
UNKNOWN = {"InvalidAccessKeyId", "InvalidToken", "InvalidClientTokenId"}
ELSEWHERE = {
    "301", "302", "307", "308", "PermanentRedirect", "TemporaryRedirect", "Redirect",
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
}  # fmt: skip
DENIED = {"403", "AccessDenied", "Forbidden", "AllAccessDisabled"}

PUT = "s3:PutObject"
GET = "s3:GetObject (without s3:ListBucket, S3 answers the same where there is no such object)"
ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "GetObject": GET,
    "HeadObject": GET,
    "PutObject": PUT,
    "CreateMultipartUpload": PUT,
    "UploadPart": PUT,
    "CompleteMultipartUpload": PUT,
    "DeleteObject": "s3:DeleteObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
}
"""What each call of a store's needs the right to (AWS' Service Authorization Reference, "Actions for Amazon S3")."""


def refusal(what: str, call: str, error: Mapping[str, str], headers: Mapping[str, str]) -> DataError:
    """The DataError for S3's answer to a call ("PutObject") about `what` (an s3:// URL).

    `error` has the answer's Code, Message, Region ...

    A NotFoundError for what is not there, as in every store.
    """
    code, said = error["Code"], error.get("Message", "")
    if code in ABSENT:
        return NotFoundError(f"no object {what} ({code})")
    if code in EXPIRED:
        return DataError(
            f"{what}: the credentials have expired ({code}). Renew them (`aws sso login`, a new "
            "AWS_SESSION_TOKEN) and run the same command again: it continues"
        )
    if code in UNKNOWN:
        return DataError(
            f"{what}: S3 does not know these credentials ({code} {said}). "
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and AWS_ENDPOINT_URL"
        )
    if code == "SignatureDoesNotMatch":
        return DataError(
            f"{what}: the access key is known, and the secret key is not its own ({code}). "
            "Check AWS_SECRET_ACCESS_KEY or AWS_PROFILE: a blank copied with it is enough"
        )
    if code == "RequestTimeTooSkewed":
        return DataError(f"{what}: the clock of this machine is too far off ({code}). Set it, by NTP")
    if code == "NoSuchBucket":
        return DataError(
            f"{what}: there is no such bucket ({code}). Check its name, AWS_ENDPOINT_URL and AWS_PROFILE"
        )
    if code in ELSEWHERE:
        region = headers.get("x-amz-bucket-region") or error.get("Region")
        place = f"region {region}" if region else f"another place ({error.get('Endpoint', said)})"
        knob = f"AWS_DEFAULT_REGION={region}" if region else "AWS_DEFAULT_REGION or AWS_ENDPOINT_URL"
        return DataError(
            f"{what}: the bucket is in {place} ({code}), and redirects are not followed. Set {knob}"
        )
    if code in DENIED:
        return DeniedError(
            f"{what}: these credentials lack {ACTIONS[call]}: {call} was refused ({code} {said}). Add it to the "
            "policy of the user, the role or the bucket, or use another AWS_PROFILE. Reading needs s3:GetObject and "
            "s3:ListBucket; `raytrain cluster policy` prints all that a role needs"
        )
    if code in ("412", "PreconditionFailed"):
        return DataError(f"{what} was replaced while it was read. Run the same command again")
    return DataError(f"{what}: S3 refused: {code} {said}. Check AWS_ENDPOINT_URL and the bucket's state")
