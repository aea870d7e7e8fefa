"""The cache's limit: who goes when it is full, who may not, and what happens to a file that has rotted there."""

import hashlib
import mmap
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fault_proxy import first

from data_shards.cache import Cache
from data_shards.cache_room import KNOB, NoRoomError, Room, read_limit, sole_writer
from data_shards.errors import DataError, DataUsageError
from data_shards.fetch import AbandonedError
from data_shards.store import open_store

SIZE = 64 * 1024
HOLD = """
import sys
from pathlib import Path
from data_shards.cache import Cache
with Cache(sys.argv[1], Path(sys.argv[2])).open(sys.argv[3], int(sys.argv[4]), sys.argv[5]):
    print("held", flush=True)
    sys.stdin.readline()
"""


class Objects:
    """Objects a, b, c, ... of SIZE bytes in S3, and a cache that may hold three and a half of them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.files = {}
        store = open_store(url)
        for name in "abcdef":
            content = os.urandom(SIZE)
            store.write(name, content)
            self.files[name] = (name, SIZE, hashlib.sha256(content).hexdigest())
        self.cache = Cache(url, folder)

    def bring(self, names: str) -> None:
        for name in names:
            self.cache.path(*self.files[name])
            time.sleep(0.02)  # times of use that differ

    def there(self) -> str:
        return "".join(name for name, file in self.files.items() if self._place(file).exists())

    def _place(self, file) -> Path:
        return self.cache._place(file[0], file[2])

    def flip(self, name: str, at: int) -> None:
        path = self._place(self.files[name])
        raw = bytearray(path.read_bytes())
        raw[at] ^= 1
        path.write_bytes(raw)

    def bytes_on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())


@pytest.fixture
def objects(s3_url, tmp_path, monkeypatch):
    monkeypatch.setenv(KNOB, f"{3.5 * SIZE / 2**30:.9f}")
    return Objects(s3_url, tmp_path / "cache")


def test_the_least_recently_used_goes_first(objects):
    objects.bring("abc")
    objects.bring("a")  # a hit counts as a use
    objects.bring("d")
    assert objects.there() == "acd"
    objects.bring("ef")
    assert objects.there() == "def"
    assert objects.bytes_on_disk() == 3 * SIZE


def test_what_another_process_has_open_stays(objects):
    objects.bring("ab")
    command = [sys.executable, "-c", HOLD, objects.url, str(objects.folder), *map(str, objects.files["a"])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        objects.bring("bcde")
        assert objects.there() == "ade"
        holder.kill()  # the kernel lets go of what a killed process held
    objects.bring("bc")
    assert objects.there() == "bce"


def test_a_map_holds_after_its_file_is_closed(objects):
    objects.bring("abc")
    with objects.cache.open(*objects.files["a"]) as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    objects.bring("bcd")
    assert objects.there() == "acd"
    mapped.close()
    objects.bring("e")
    assert objects.there() == "cde"


def test_a_cache_full_of_files_in_use_names_the_knob(objects):
    held = [objects.cache.open(*objects.files[name]) for name in "abc"]
    with pytest.raises(
        NoRoomError, match=r"65,536 bytes are needed, and of 229,37\d allowed 196,608 are taken, "
        rf"3 files of them in use. Raise {KNOB} \(now 0.0002.*TMPDIR",
    ):  # fmt: skip
        objects.cache.path(*objects.files["d"])
    assert objects.there() == "abc"
    held.pop().close()
    objects.bring("d")
    assert objects.there() == "abd"


def test_fetching_ahead_takes_only_the_place_of_what_is_older(objects):
    objects.bring("a")
    began = time.time()
    objects.bring("bc")
    objects.cache.fetch(*objects.files["d"], began)
    assert objects.there() == "bcd"
    with pytest.raises(NoRoomError):
        objects.cache.fetch(*objects.files["e"], began)
    assert objects.there() == "bcd"


def test_a_download_that_was_killed_leaves_room(objects):
    objects.bring("a")
    (objects.folder / "0123.part").write_bytes(
        bytes(2 * SIZE)
    )  # a fetch killed by SIGKILL has no lock any more
    objects.bring("bc")
    assert objects.there() == "abc"
    assert objects.bytes_on_disk() <= 3.5 * SIZE


def test_an_abandoned_download_leaves_nothing(objects):
    with pytest.raises(AbandonedError):
        objects.cache.fetch(*objects.files["a"], wanted=lambda: False)
    assert objects.bytes_on_disk() == 0


def test_a_full_disk_evicts_and_then_says_so(s3_url, small_disk, monkeypatch):
    monkeypatch.setenv(KNOB, "1")  # more than the disk has
    objects = Objects(s3_url, small_disk / "cache")
    objects.bring("abcdef")
    assert objects.there() == "abcdef"
    (small_disk / "others").write_bytes(bytes(96 * 1024))
    open_store(s3_url).write("g", bytes(2 * SIZE))
    objects.files["g"] = ("g", 2 * SIZE, hashlib.sha256(bytes(2 * SIZE)).hexdigest())
    objects.bring("g")
    assert objects.there() in ("bcdefg", "cdefg")
    held = [objects.cache.open(*objects.files[name]) for name in objects.there()]
    with pytest.raises(
        NoRoomError, match=rf"shard cache {objects.folder} is full: 65,536 bytes .*{KNOB}.*disk"
    ):
        objects.bring("a")
    assert len(held) >= 5
    assert not list(objects.folder.glob("*.part"))


def test_without_a_limit_a_tenth_of_the_disk_stays_free(s3_url, small_disk, monkeypatch):
    monkeypatch.delenv(KNOB, raising=False)
    objects = Objects(s3_url, small_disk / "cache")
    assert Room(small_disk / "cache", None).limit() == pytest.approx(0.9 * 512 * 1024, rel=0.02)
    (small_disk / "others").write_bytes(bytes(200 * 1024))
    objects.bring("abcdef")
    assert objects.there() == "cdef"


def test_a_rotten_file_is_fetched_again(objects, faulty):
    objects.bring("ab")
    for name, at in (("a", 0), ("b", SIZE - 1)):
        objects.flip(name, at)
    proxy = faulty(lambda *_: None)
    cache = Cache(objects.url, objects.folder)
    assert hashlib.sha256(cache.read(*objects.files["a"])).hexdigest() == objects.files["a"][2]
    assert cache.mended(*objects.files["b"])
    assert not cache.mended(*objects.files["b"])
    assert len(proxy.gets) == 2


def test_a_file_cut_off_in_the_cache_is_fetched_again(objects):
    objects.bring("a")
    os.truncate(objects._place(objects.files["a"]), 100)
    assert objects.cache.path(*objects.files["a"]).stat().st_size == SIZE


def test_bits_flipped_on_the_way_are_asked_for_once_more(objects, faulty):
    proxy = faulty(lambda *_: None)
    # the checksum that S3 keeps of whole objects would find it earlier: ask for a part, as for a large object
    file = ("a", SIZE - 1, hashlib.sha256(open_store(objects.url).read("a", 0, SIZE - 1)).hexdigest())
    proxy.plan = first(["flip"])
    proxy.seen.clear()
    assert Cache(objects.url, objects.folder).path(*file).stat().st_size == SIZE - 1
    assert len(proxy.gets) == 2
    proxy.plan = lambda method, _: "flip" if method == "GET" else None
    with pytest.raises(DataError, match=r"/a is damaged: its sha256 is"):
        Cache(objects.url, objects.folder / "other").path(*file)
    assert len(proxy.gets) == 4


def test_many_processes_share_a_tight_cache(objects):
    """Each reads all objects in its own order, over and over, from a cache that holds half of them."""
    script = """
import hashlib, random, sys
from pathlib import Path
from data_shards.cache import Cache
url, folder, seed, *files = sys.argv[1:]
files = [(files[at], int(files[at + 1]), files[at + 2]) for at in range(0, len(files), 3)]
cache, rng = Cache(url, Path(folder)), random.Random(int(seed))
for _ in range(60):
    file = rng.choice(files)
    with cache.open(*file) as held:
        assert hashlib.sha256(held.read()).hexdigest() == file[2]
"""
    told = [str(part) for file in objects.files.values() for part in file]
    command = [sys.executable, "-c", script, objects.url, str(objects.folder)]
    readers = [subprocess.Popen([*command, str(seed), *told]) for seed in range(3)]
    assert [reader.wait() for reader in readers] == [0, 0, 0]
    assert objects.bytes_on_disk() <= 3.5 * SIZE


@pytest.mark.parametrize("said", ["", "much", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(said):
    with pytest.raises(DataUsageError, match=f"{KNOB}={said}: .* number of GiB above 0"):
        read_limit({KNOB: said})
    assert read_limit({KNOB: "1.5"}) == 3 * 2**29
    assert read_limit({}) is None


def test_waiting_for_the_first_who_fetches(objects, faulty):
    """Threads of one process that want one file: one GET."""
    proxy = faulty(lambda *_: None)
    caches = [Cache(objects.url, objects.folder) for _ in range(8)]
    threads = [threading.Thread(target=cache.path, args=objects.files["a"]) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(proxy.gets) == 1
    assert objects.there() == "a"


def test_who_waits_for_a_download_does_not_wait_for_its_readers(objects):
    part = objects._place(objects.files["a"]).with_suffix(".part")
    objects.bring("b")
    with sole_writer(part) as draft:
        draft.write(open_store(objects.url).read("a"))
        draft.flush()
        late = threading.Thread(target=objects.cache.fetch, args=objects.files["a"])
        late.start()
        time.sleep(0.2)  # it waits now
        part.rename(objects._place(objects.files["a"]))

    with objects.cache.open(*objects.files["a"]):
        late.join(60)
        assert not late.is_alive()
