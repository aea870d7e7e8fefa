"""One conformance suite for every store, and what only one of them can get wrong."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.errors import DataError, DataUsageError
from data_shards.store import NotFoundError, Store, open_store
from data_shards.store.patience import Patience


class Conformance:
    """What every store promises. A subclass gives the fixture `store`: an empty one."""

    def test_what_is_written_is_read(self, store: Store) -> None:
        store.write("shards/a.tar", b"0123456789")
        assert store.read("shards/a.tar") == b"0123456789"
        assert store.size("shards/a.tar") == 10

    def test_ranges(self, store: Store) -> None:
        store.write("a", b"0123456789")
        assert store.read("a", 3) == b"3456789"
        assert store.read("a", 3, 4) == b"3456"
        assert store.read("a", 8, 100) == b"89"
        assert store.read("a", 10) == b""
        assert store.read("a", 99, 5) == b""
        assert store.read("a", 2, 0) == b""

    def test_empty_object(self, store: Store) -> None:
        store.write("empty", b"")
        assert store.read("empty") == b""
        assert store.size("empty") == 0

    def test_write_replaces(self, store: Store) -> None:
        store.write("a", b"long old content")
        store.write("a", b"new")
        assert store.read("a") == b"new"

    def test_write_of_a_file_in_several_parts(self, store: Store, tmp_path: Path) -> None:
        content = os.urandom(1 << 20) * 17  # boto3 cuts at 8 MiB: three parts
        (tmp_path / "big").write_bytes(content)
        store.write("shards/big.tar", tmp_path / "big")
        assert store.size("shards/big.tar") == len(content)
        assert store.read("shards/big.tar") == content
        assert store.list("shards/") == ["shards/big.tar"]

    def test_list_is_sorted_and_by_string_prefix(self, store: Store) -> None:
        for key in ("b/2", "b/10", "a", "bc/deep/x", "b/1"):
            store.write(key, b"x")
        assert store.list("") == ["a", "b/1", "b/10", "b/2", "bc/deep/x"]
        assert store.list("b/") == ["b/1", "b/10", "b/2"]
        assert store.list("b") == ["b/1", "b/10", "b/2", "bc/deep/x"]
        assert store.list("b/1") == ["b/1", "b/10"]
        assert store.list("none/") == []

    def test_more_keys_than_one_page(self, store: Store) -> None:
        # the test server lists 5 keys a page (S3: 1,000; a set of ImageNet-22k has 14,200 shards)
        for number in range(13):
            store.write(f"p/{number:04d}", b"")
        assert len(store.list("p/")) == 13

    def test_absent(self, store: Store) -> None:
        for act in (
            lambda: store.read("no/such"),
            lambda: store.size("no/such"),
            lambda: store.read("a", 1, 2),
        ):
            with pytest.raises(NotFoundError, match="no"):
                act()

    def test_delete(self, store: Store) -> None:
        store.write("x/a", b"1")
        store.delete("x/a")
        store.delete("x/a")
        store.delete("never/was")
        assert store.list("") == []

    def test_nothing_is_unfinished_once_it_is_written(self, store: Store) -> None:
        store.write("shards/a.tar", b"0123456789")
        assert store.unfinished("") == ()


class TestLocal(Conformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(str(tmp_path / "not" / "there" / "yet"))


class TestS3(Conformance):
    @pytest.fixture
    def store(self, s3_url: str) -> Store:
        return open_store(s3_url)


def test_file_url_is_a_local_path(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}").write("a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("url", ["http://host/x", "pipe:cat://x", "gs://b/x", "s3://"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(DataUsageError, match="s3://bucket/prefix"):
        open_store(url)


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "", "a\0b", ".."])
def test_keys_cannot_leave_the_root(tmp_path: Path, key: str) -> None:
    store = open_store(str(tmp_path / "root"))
    for act in (lambda: store.read(key), lambda: store.write(key, b"x"), lambda: store.delete(key)):
        with pytest.raises(DataUsageError, match="relative paths"):
            act()
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=200, deadline=None)
@given(key=st.text(alphabet="ab./\\ é-", min_size=1, max_size=12))
def test_no_key_writes_outside_the_root(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    outer = tmp_path_factory.mktemp("outer")
    try:
        open_store(str(outer / "root")).write(key, b"x")
    except DataError:
        return
    assert {path.name for path in outer.iterdir()} == {"root"}


def test_a_killed_write_is_not_seen_and_delete_sweeps_it(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / ".a.tar.k1ll3d.tmp").write_bytes(b"half")
    assert store.list("") == []
    store.delete("a.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_delete_never_takes_the_folder_of_a_write_beside_it(tmp_path: Path) -> None:
    def write_and_delete(name: str) -> None:
        store = open_store(str(tmp_path))
        for _ in range(200):
            store.write(f"shards/{name}", b"1")
            store.delete(f"shards/{name}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_delete, "abcd"))  # raises what a thread raised
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write .*Not a directory"):
        open_store(str(tmp_path / "file" / "set")).write("a", b"1")


def test_full_disk_leaves_no_stump(small_disk: Path) -> None:
    store = open_store(str(small_disk))
    store.write("old", b"kept")
    with pytest.raises(DataError, match=r"2,000,000 bytes and [\d,]+ are free.*continues"):
        store.write("shards/a.tar", b"x" * 2_000_000)
    assert store.list("") == ["old"]
    assert list((small_disk / "shards").iterdir()) == []
    store.write("old", b"y" * 1000)


def test_s3_without_a_server_says_what_to_check(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr("data_shards.store.s3.PATIENCE", Patience(tries=2))
    with pytest.raises(DataError, match=r"gave up after 2 tries .*AWS_ENDPOINT_URL"):
        open_store(s3_url).read("a")


def test_s3_bucket_that_is_not_there(s3_url: str) -> None:
    with pytest.raises(DataError, match="NoSuchBucket"):
        open_store("s3://no-such-bucket/set").write("a", b"1")
