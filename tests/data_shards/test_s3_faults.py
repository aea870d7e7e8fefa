"""S3 through a proxy that breaks things: reads come whole or say why, refusals are told apart, uploads appear whole."""

import os
import signal
import subprocess
import sys
import time

import boto3
import pytest
from botocore.config import Config
from fault_proxy import TRANSIENT, first

from data_shards.errors import DataError
from data_shards.shardset import load_shardset
from data_shards.store import DeniedError, NotFoundError, Unfinished, open_store, s3
from data_shards.store.patience import GaveUpError, Patience, TransientError

CONTENT = os.urandom(1 << 17)
UPLOAD = "import sys; from data_shards.store import open_store; from pathlib import Path\n" + (
    "open_store(sys.argv[1]).write('shards/a.tar', Path(sys.argv[2]))"
)


@pytest.fixture
def stored(s3_url):
    """An object `a` of CONTENT, in a store whose client has not been made yet."""
    open_store(s3_url).write("a", CONTENT)
    return open_store(s3_url)


@pytest.fixture
def impatient(monkeypatch):
    """The waits between tries are short."""
    monkeypatch.setattr(s3, "PATIENCE", Patience(first_wait=0.001))
    monkeypatch.setattr(s3, "CHUNK", 16)


@pytest.fixture
def watchful(impatient, monkeypatch):
    """Stalls and drips are noticed soon too. So is a busy machine's late answer: more requests than faults may come."""
    quick = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=0.3)
    monkeypatch.setattr(s3, "READS", quick)


@pytest.mark.parametrize("kind", TRANSIENT)
def test_eight_faults_of_a_kind_and_the_bytes_are_the_same(faulty, stored, watchful, monkeypatch, kind):
    if kind == "drip":
        monkeypatch.setattr(s3, "TRY_SECONDS", 0.2)
        monkeypatch.setattr(s3, "CHUNK", 2)
    proxy = faulty(first([kind] * 8))
    assert stored.read("a", 100, 1 << 16) == CONTENT[100 : 100 + (1 << 16)]
    assert [seen.fault for seen in proxy.gets[:9]] == [kind] * 8 + [None]
    if kind not in ("slow_down", "internal", "reset"):  # what came before the fault was kept
        assert proxy.gets[1].range != proxy.gets[0].range
        assert proxy.gets[-1].range.endswith(f"-{100 + (1 << 16) - 1}")


def test_a_mixture_of_faults_on_a_read_of_unknown_length(faulty, stored, watchful):
    kinds = [kind for kind in TRANSIENT if kind != "drip"]
    proxy = faulty(first(kinds))
    assert stored.read("a") == CONTENT
    assert [seen.fault for seen in proxy.gets[: len(TRANSIENT)]] == [*kinds, None]


def test_a_body_is_continued_where_it_broke(faulty, stored, impatient):
    proxy = faulty(first(["truncated"] * 3))
    assert stored.read("a", 0, 4096) == CONTENT[:4096]
    assert [seen.range for seen in proxy.gets] == [f"bytes={at}-4095" for at in (0, 2048, 3072, 3584)]


def test_nine_faults_are_an_error_that_names_the_last(faulty, stored, impatient):
    proxy = faulty(first(["slow_down"] * 99))
    with pytest.raises(DataError, match=r"s3://.*/a: gave up after 9 tries in \d+ s: 503 SlowDown"):
        stored.read("a")
    assert len(proxy.gets) == 9


def test_patience_draws_its_waits_and_ends_at_the_deadline():
    waits = []

    def refused():
        raise TransientError("503")

    with pytest.raises(GaveUpError, match="after 9 tries"):
        Patience().persist(refused, 1e9, clock=lambda: 0.0, sleep=waits.append, draw=lambda: 0.5)
    assert waits == pytest.approx([0.05 * 2**n for n in range(8)])
    now = [0.0]
    with pytest.raises(GaveUpError, match="after 5 tries in 9 s"):
        Patience(first_wait=1.0).persist(
            refused, 10.0, clock=lambda: now[0], draw=lambda: 0.6,
            sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        )  # fmt: skip
    assert now[0] == pytest.approx(0.6 + 1.2 + 2.4 + 4.8)


def test_a_flip_in_a_whole_object_is_found_by_the_checksum_that_s3_keeps(faulty, stored, impatient):
    proxy = faulty(first(["flip"]))
    assert stored.read("a") == CONTENT
    assert [seen.range for seen in proxy.gets] == ["bytes=0-", "bytes=0-"]


def test_two_versions_are_never_mixed(faulty, stored, impatient, s3_url, s3_endpoint):
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    direct = boto3.client("s3", endpoint_url=s3_endpoint)

    def replace_before_the_second_get(*_):
        if proxy.seen:
            direct.put_object(Bucket=bucket, Key=f"{prefix}/a", Body=bytes(len(CONTENT)))
            return None
        return "truncated"

    proxy = faulty(replace_before_the_second_get)
    with pytest.raises(DataError, match="/a was replaced while it was read"):
        stored.read("a")
    assert len(proxy.gets) == 2


REFUSED = {
    "expired": r"the credentials have expired \(ExpiredToken\)\. Renew them .*AWS_SESSION_TOKEN.* same command",
    "unknown_key": r"does not know these credentials \(InvalidAccessKeyId.*AWS_ACCESS_KEY_ID.* AWS_ENDPOINT_URL",
    "wrong_secret": r"secret key is not its own \(SignatureDoesNotMatch\)\. Check AWS_SECRET_ACCESS_KEY",
    "skewed": r"the clock of this machine is too far off \(RequestTimeTooSkewed\)\. Set it, by NTP",
    "denied": r"lack s3:.* was refused \(AccessDenied.*policy.*AWS_PROFILE.*needs s3:GetObject and s3:ListBucket;",
    "other_region": r"is in region eu-west-1 \(PermanentRedirect\).*not followed. Set AWS_DEFAULT_REGION=eu-west-1",
    "malformed": r"is in region eu-west-1 \(AuthorizationHeaderMalformed\).* Set AWS_DEFAULT_REGION=eu-west-1",
    "moved": r"is in region eu-west-1 \(TemporaryRedirect\).*not followed",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_are_told_apart_and_asked_once(faulty, stored, kind):
    proxy = faulty(lambda *_: kind)
    with pytest.raises(DataError, match=REFUSED[kind]) as caught:
        stored.read("a")
    assert not isinstance(caught.value, NotFoundError)
    assert len(proxy.seen) == 1
    for act in (lambda: stored.size("a"), lambda: stored.write("b", b"1"), lambda: stored.list("")):
        with pytest.raises(DataError, match=REFUSED[kind]):
            act()
    assert len(proxy.seen) == 5  # an answer to HEAD has no body: a GET asks why
    assert not any("elsewhere" in seen.path for seen in proxy.seen)
    with pytest.raises(DataError, match=REFUSED[kind]):
        load_shardset(stored.url)


def test_a_right_that_is_missing_is_named(faulty, stored, tmp_path):
    (tmp_path / "small").write_bytes(b"1")
    (tmp_path / "big").write_bytes(bytes(9 << 20))  # two parts
    upload = Unfinished(key="b", begun=0.0, bytes=None, token="t")
    proxy = faulty(lambda *_: None)
    for method, part, act, right in (
        ("GET", "list-type=2", lambda: stored.list(""), "s3:ListBucket"),
        ("GET", "/a", lambda: stored.read("a"), "s3:GetObject"),
        ("HEAD", "/a", lambda: stored.size("a"), "s3:GetObject"),
        ("HEAD", "/a", lambda: stored.version("a"), "s3:GetObject"),
        ("PUT", "/b", lambda: stored.write("b", b"1"), "s3:PutObject"),
        ("PUT", "/b", lambda: stored.write("b", tmp_path / "small"), "s3:PutObject"),
        ("PUT", "/b", lambda: stored.swap("b", b"1", None), "s3:PutObject"),
        ("POST", "uploads", lambda: stored.write("b", tmp_path / "big"), "s3:PutObject"),
        ("PUT", "partNumber", lambda: stored.write("b", tmp_path / "big"), "s3:PutObject"),
        ("POST", "uploadId", lambda: stored.write("b", tmp_path / "big"), "s3:PutObject"),
        ("GET", "uploads", lambda: stored.unfinished(""), "s3:ListBucketMultipartUploads"),
        ("DELETE", "uploadId", lambda: stored.abort(upload), "s3:AbortMultipartUpload"),
        ("DELETE", "/b", lambda: stored.delete("b"), "s3:DeleteObject"),
    ):
        proxy.plan = lambda asked, path, to=(method, part): (
            "denied" if asked == to[0] and to[1] in path else None
        )
        with pytest.raises(DeniedError, match=rf"these credentials lack {right}[ :].* was refused"):
            act()
    proxy.plan = lambda *_: None
    assert (stored.list(""), stored.unfinished("")) == (["a"], ())


@pytest.mark.parametrize("act", ["read", "size", "write", "list", "delete"])
def test_no_credentials_at_all(monkeypatch, tmp_path, s3_url, act):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = open_store(s3_url)
    arguments = {"write": (b"1",)}.get(act, ())
    with pytest.raises(
        DataError, match=r"/a: no credentials were found\. Set AWS_ACCESS_KEY_ID .*AWS_PROFILE"
    ):
        getattr(store, act)("a", *arguments)


def test_a_bucket_that_is_not_there_is_not_taken_for_an_empty_place(faulty, stored):
    faulty(lambda *_: "no_bucket")
    for act in (lambda: stored.read("a"), lambda: stored.list(""), lambda: load_shardset(stored.url)):
        with pytest.raises(
            DataError, match=r"no such bucket \(NoSuchBucket\)\. Check its name, AWS_ENDPOINT"
        ):
            act()


def test_absence_is_asked_once(faulty, stored):
    proxy = faulty(lambda *_: "absent")
    for act in (lambda: stored.read("a"), lambda: stored.size("a")):
        with pytest.raises(NotFoundError):
            act()
    assert len(proxy.seen) == 2


def test_a_killed_upload_is_never_seen_and_the_next_delete_aborts_it(faulty, s3_url, s3_endpoint, tmp_path):
    (tmp_path / "big").write_bytes(bytes(17 << 20))  # three parts
    proxy = faulty(lambda _, path: "stall" if "partNumber=2" in path else None)
    child = subprocess.Popen([sys.executable, "-c", UPLOAD, s3_url, str(tmp_path / "big")])
    while not any(seen.fault == "stall" for seen in proxy.seen):
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")

    def uploads():
        client = boto3.client("s3", endpoint_url=s3_endpoint)
        return client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])

    store = open_store(s3_url)
    assert store.list("") == []
    with pytest.raises(NotFoundError):
        store.size("shards/a.tar")
    assert len(uploads()) == 1
    (left,) = store.unfinished("sha")
    assert (left.key, left.token) == ("shards/a.tar", uploads()[0]["UploadId"])
    assert left.bytes in (0, 8 << 20, 1 << 20, 9 << 20)  # part 2 of 8, 8 and 1 MiB never came
    store.delete("shards/b.tar")
    assert len(uploads()) == 1
    open_store(s3_url).delete("shards/a.tar")  # what packing does before it writes the shard again
    assert uploads() == []
    store.abort(left)  # it has ended meanwhile: no error
