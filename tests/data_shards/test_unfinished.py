"""What killed writers leave: listed by verify without failing, aborted by sweep and pack once it is old."""

import json
import os
import time
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from data_shards.cli import app
from data_shards.errors import DataUsageError
from data_shards.store import DeniedError, Store, open_store
from data_shards.store.local import _open_draft
from data_shards.sweep import HOUR, OURS, PLACES, SAFE, sweep
from data_shards.verify import Verification, verify


def begin(url: str, endpoint: str, key: str, part: bytes = b"") -> None:
    """An upload of which one part came, or none."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client, place = boto3.client("s3", endpoint_url=endpoint), {"Bucket": bucket, "Key": f"{prefix}/{key}"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    if part:
        client.upload_part(**place, UploadId=upload, PartNumber=1, Body=part)


@pytest.fixture
def remote(packed: str, s3_url: str) -> str:
    """The packed set, in S3."""
    store = open_store(s3_url)
    for file in Path(packed).rglob("*"):
        if file.is_file():
            store.write(file.relative_to(packed).as_posix(), file)
    return s3_url


def keys(store: Store) -> list[str]:
    return sorted(write.key for write in store.unfinished(""))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_verify_lists_uploads_and_does_not_fail(remote: str, s3_endpoint: str) -> None:
    begin(remote, s3_endpoint, "shards/train-00000.tar", bytes(1234))
    begin(remote, s3_endpoint, "elsewhere/x")
    said = run("verify", remote, "--depth", "index")
    hours = (time.time() - open_store(remote).unfinished("shards/")[0].begun) / 3600
    assert (
        f"unfinished: {remote}/shards/train-00000.tar, begun {hours:,.1f} h ago, 1,234 bytes so far" in said
    )
    assert "elsewhere" not in said
    assert f"no part of the set: `raytrain data sweep {remote}` aborts" in said
    assert "all as packed" in said
    told = json.loads(run("verify", remote, "--json"))
    assert sorted((write["key"], write["bytes"]) for write in told["unfinished"]) == [
        ("shards/train-00000.tar", 1234),
    ]
    assert Verification.model_validate(told).faults == ()


def test_only_what_is_old_is_aborted(s3_url: str, s3_endpoint: str) -> None:
    store = open_store(s3_url)
    begin(s3_url, s3_endpoint, "shards/a.tar")
    (write,) = store.unfinished("")
    assert sweep(store, SAFE, write.begun + 23.9 * HOUR) == ((), (write,))
    assert keys(store) == ["shards/a.tar"]
    assert sweep(store, SAFE, write.begun + 24.1 * HOUR) == ((write,), ())
    assert keys(store) == []


def test_the_command_aborts_all_of_a_set_and_leaves_its_neighbour(s3_url: str, s3_endpoint: str) -> None:
    for number in range(12):  # more than a page of the test server's
        begin(s3_url, s3_endpoint, f"a/shards/{number:02d}.tar")
    begin(s3_url, s3_endpoint, "ab/shards/0.tar")
    open_store(s3_url).write("a/shards/whole.tar", b"whole")
    assert (
        run("sweep", f"{s3_url}/a")
        == f"{s3_url}/a: 12 unfinished uploads aborted, 0 younger than 24 h left\n"
    )
    assert keys(open_store(s3_url)) == ["ab/shards/0.tar"]
    assert open_store(s3_url).list("a/") == ["a/shards/whole.tar"]
    told = json.loads(run("sweep", f"{s3_url}/ab", "--older-than", "1e9", "--json"))
    assert told == {"url": f"{s3_url}/ab", "aborted": [], "left": ["shards/0.tar"]}


STRANGE = ("films/a.mp4", "my/shards/a.tar", "keys-of-the-house.bin", "shardset.json.bak", "old/verify.json")


def test_what_others_write_at_the_same_place_stays(s3_url: str, s3_endpoint: str) -> None:
    for key in (*STRANGE, "keys-0123456789abcdef.u64", "verify.json", "index/train-00000.rst"):
        begin(s3_url, s3_endpoint, key)
    assert run("sweep", s3_url) == f"{s3_url}: 3 unfinished uploads aborted, 0 younger than 24 h left\n"
    assert keys(open_store(s3_url)) == sorted(STRANGE)


def test_drafts_of_others_on_a_disk_stay(tmp_path: Path) -> None:
    for key in (*STRANGE, "shardset.json", "shards/train-00000.tar"):
        draft, name = _open_draft(tmp_path / key)
        os.close(draft)
        os.utime(name, (0, 0))
    assert (
        run("sweep", str(tmp_path)) == f"{tmp_path}: 2 unfinished uploads aborted, 0 younger than 24 h left\n"
    )
    assert keys(open_store(str(tmp_path))) == sorted(STRANGE)


def test_every_file_of_a_set_is_its_own(packed_copy: Path) -> None:
    verify(str(packed_copy), 1, lambda *_: None)
    files = open_store(str(packed_copy)).list("")
    assert "verify.json" in files
    assert [key for key in files if not (OURS.fullmatch(key) and key.startswith(PLACES))] == []


@pytest.mark.parametrize("hours", ["0", "-1", "nan"])
def test_uploads_that_begin_now_are_not_to_be_aborted(hours: str, tmp_path: Path) -> None:
    with pytest.raises(DataUsageError, match=f"--older-than {hours}: it is hours, more than 0"):
        run("sweep", str(tmp_path), "--older-than", hours)


def test_pack_sweeps_its_own_places(folders: Path, s3_url: str, s3_endpoint: str) -> None:
    arguments = ("pack", str(folders), "--out", s3_url, "--samples-per-shard", "500", "--no-restart-markers")
    begin(s3_url, s3_endpoint, "shards/of-another-plan.tar")
    begin(s3_url, s3_endpoint, "index/of-another-plan.rst")
    begin(s3_url, s3_endpoint, "films/of-somebody.mp4")
    assert "swept: 2 uploads that were begun more than a day ago" in run(*arguments)
    assert keys(open_store(s3_url)) == ["films/of-somebody.mp4"]
    assert json.loads(run(*arguments, "--json"))["unfinished_aborted"] == 0


def test_a_reader_who_may_not_list_uploads_can_verify(faulty, remote: str) -> None:
    faulty(lambda _, path: "denied" if "uploads" in path else None)
    with pytest.raises(DeniedError, match="s3:ListBucketMultipartUploads"):
        open_store(remote).unfinished("")
    assert "not listed, these credentials lack s3:ListBucketMultipartUploads" in run("verify", remote)
    assert verify(remote, 1, lambda *_: None, "index").unfinished is None


def test_a_size_that_may_not_be_asked_is_not_known(faulty, s3_url: str, s3_endpoint: str) -> None:
    begin(s3_url, s3_endpoint, "shards/a.tar", b"part")
    faulty(lambda _, path: "denied" if "uploadId=" in path else None)
    assert [write.bytes for write in open_store(s3_url).unfinished("")] == [None]
    assert "ago, bytes not known\n" in run("sweep", s3_url, "--older-than", "1e9")


def test_drafts_on_a_disk(packed_copy: Path) -> None:
    draft, name = _open_draft(packed_copy / "shards" / "train-00000.tar")
    os.write(draft, b"half")
    os.close(draft)
    (packed_copy / "shards" / ".hidden.tmp").write_bytes(b"of somebody else")
    begun = Path(name).stat().st_mtime
    store = open_store(str(packed_copy))
    (write,) = store.unfinished("shards/train")
    assert (write.key, write.begun, write.bytes) == ("shards/train-00000.tar", begun, 4)
    assert store.unfinished("shards/val") == store.unfinished("index/") == ()
    assert "begun 0.0 h ago, 4 bytes so far" in run("verify", str(packed_copy))
    assert run("sweep", str(packed_copy)).endswith("0 unfinished uploads aborted, 1 younger than 24 h left\n")
    assert sweep(store, SAFE, begun + SAFE + 1) == ((write,), ())
    assert sorted(path.name for path in (packed_copy / "shards").glob(".*")) == [".hidden.tmp"]
    store.abort(write)
