"""The cache: local files in place, S3 objects fetched once per node, and nothing under a name but what it says."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_shards import fetch
from data_shards.cache import Cache, default_cache
from data_shards.errors import DataError, DataUsageError
from data_shards.store import open_store

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
KEY = "shards/a.tar"

FETCH = """
import sys
from pathlib import Path
from data_shards.cache import Cache
import data_shards.store.s3
print("ready", flush=True)
sys.stdin.readline()
print(Cache(sys.argv[1], Path(sys.argv[2])).path(sys.argv[3], int(sys.argv[4]), sys.argv[5]))
"""


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "room")


@pytest.fixture
def counted(faulty, s3_url):
    """The GETs that reach S3, which has CONTENT under KEY."""
    open_store(s3_url).write(KEY, CONTENT)
    return faulty(lambda *_: None)


def test_a_local_file_is_read_in_place(tmp_path):
    open_store(str(tmp_path)).write(KEY, CONTENT)
    for url in (str(tmp_path), f"file://{tmp_path}", f"{tmp_path}/"):
        assert Cache(url, tmp_path / "cache").path(KEY, len(CONTENT), DIGEST) == tmp_path / KEY
    assert not (tmp_path / "cache").exists()


def test_a_local_file_cut_off_or_gone_is_named(tmp_path):
    open_store(str(tmp_path)).write(KEY, CONTENT[:-1])
    with pytest.raises(DataError, match=r"a\.tar has 10239 bytes and the manifest says 10240: it is cut off"):
        Cache(str(tmp_path)).path(KEY, len(CONTENT), DIGEST)
    with pytest.raises(DataError, match=r"b\.tar is missing, and the manifest lists it"):
        Cache(str(tmp_path)).path("shards/b.tar", 1, DIGEST)


def test_a_name_in_the_manifest_cannot_lead_out_of_the_set(tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(DataUsageError):
        Cache(str(tmp_path / "set")).path("shards/../../secret", len(CONTENT), DIGEST)


def test_two_processes_make_one_get(counted, s3_url, tmp_path):
    command = [sys.executable, "-c", FETCH, s3_url, str(tmp_path / "cache"), KEY, str(len(CONTENT)), DIGEST]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:
        assert [one.stdout.readline(), two.stdout.readline()] == ["ready\n", "ready\n"]
        for process in (one, two):
            process.stdin.write("go\n")
            process.stdin.flush()
        paths = {process.communicate()[0].strip() for process in (one, two)}
    assert len(counted.gets) == 1
    assert Path(paths.pop()).read_bytes() == CONTENT
    assert not paths


def test_a_second_reader_makes_no_get(counted, s3_url, tmp_path):
    first = Cache(s3_url, tmp_path).path(KEY, len(CONTENT), DIGEST)
    assert Cache(s3_url, tmp_path).path(KEY, len(CONTENT), DIGEST) == first
    assert len(counted.gets) == 1


def test_two_versions_of_a_key_and_two_sets_do_not_meet(s3_url, tmp_path):
    newer, paths = bytes(reversed(CONTENT)), set()
    for url, content in [(s3_url, CONTENT), (s3_url, newer), (f"{s3_url}/other", CONTENT)]:
        open_store(url).write(KEY, content)
        path = Cache(url, tmp_path).path(KEY, len(content), hashlib.sha256(content).hexdigest())
        assert path.read_bytes() == content
        paths.add(path)
    assert len(paths) == 3


def test_a_flipped_bit_is_refused_and_leaves_nothing(s3_url, tmp_path):
    damaged = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    open_store(s3_url).write(KEY, damaged)
    with pytest.raises(
        DataError, match=f"a.tar is damaged: its sha256 is .* and the manifest says {DIGEST}"
    ) as caught:
        Cache(s3_url, tmp_path).path(KEY, len(CONTENT), DIGEST)
    assert hashlib.sha256(damaged).hexdigest() in str(caught.value)
    assert files(tmp_path) == []
    open_store(s3_url).write(KEY, CONTENT)  # repaired: the same cache fetches it again
    assert Cache(s3_url, tmp_path).path(KEY, len(CONTENT), DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 799, 800, 801, 10_240])
def test_ranges_put_together_are_the_object(tmp_path, monkeypatch, size):
    monkeypatch.setattr(fetch, "RANGE", 100)
    store = open_store(str(tmp_path))
    store.write(KEY, CONTENT[:size])
    with ThreadPoolExecutor(3) as pool:
        assert b"".join(fetch.ranges(store, pool, KEY, size)) == CONTENT[:size]


def test_what_an_earlier_process_left_half_done_is_replaced(s3_url, tmp_path):
    open_store(s3_url).write(KEY, CONTENT)
    path = Cache(s3_url, tmp_path).path(KEY, len(CONTENT), DIGEST)
    path.rename(path.with_suffix(".part"))  # as if killed before the rename
    path.with_suffix(".part").write_bytes(b"half")
    assert Cache(s3_url, tmp_path).path(KEY, len(CONTENT), DIGEST).read_bytes() == CONTENT
    assert files(tmp_path) == [path.name]


def test_a_cache_that_cannot_be_written_says_which_knob(s3_url, tmp_path):
    open_store(s3_url).write(KEY, CONTENT)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot keep .*a\.tar \(10240 bytes\) in .*file/cache.*TMPDIR"):
        Cache(s3_url, tmp_path / "file" / "cache").path(KEY, len(CONTENT), DIGEST)


def test_the_default_folder_is_private(s3_url, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    open_store(s3_url).write(KEY, CONTENT)
    Cache(s3_url).path(KEY, len(CONTENT), DIGEST)
    assert default_cache().parent == tmp_path
    assert default_cache().stat().st_mode & 0o777 == 0o700
