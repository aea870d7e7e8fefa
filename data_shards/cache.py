"""A shard's files as local files. A local store is read in place; an S3 object is fetched once per node.

The cache is flat: a file's name is the sha256 of its URL and digest, so two sets with equal file names, or
two versions of one set, never meet. A file gets its name by a rename, after its digest was checked.

What is guaranteed of a file that is there already: it has its size; what `read` returns has its digest; and a
reader of samples, who checks each against the index, may ask `mended` when one is not what it should be. A digest
of every file at every start would cost 0.25 CPU seconds per shard in each process, and find nothing that is used.
"""

import hashlib
import math
import mmap
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property
from io import BufferedReader
from pathlib import Path

from data_shards.cache_room import Room, hold, read_limit, sole_writer
from data_shards.errors import DataError
from data_shards.fetch import IN_FLIGHT, fetch
from data_shards.store import NotFoundError, Store, open_store


def default_cache() -> Path:
    """The cache folder of this user on this node. TMPDIR moves it to a larger disk."""
    return Path(tempfile.gettempdir()) / f"raytrain-shards-{os.getuid()}"


class DamagedError(DataError):
    """Bytes are not those that were packed."""


def check_digest(raw: bytes | mmap.mmap, sha256: str, name: str) -> None:
    """Raise DamagedError if `raw`, the bytes of the file called `name`, has not that digest."""
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise DamagedError(
            f"{name} is damaged: its sha256 is {found} and the manifest says {sha256}. "
            "`raytrain data verify` lists all such files"
        )


class Cache:
    """Local files for the keys of one shard set. Picklable until it has fetched something."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        """`folder` (default_cache() unless given) is only used for s3:// URLs; RAYTRAIN_CACHE_GIB limits it."""
        self.remote = url.startswith("s3://")
        self._url = url.rstrip("/")
        self._folder = folder or default_cache()
        self._room = Room(self._folder, read_limit(os.environ))

    def limit(self) -> int:
        """Bytes that the cache may hold."""
        return self._room.limit()

    def path(self, key: str, size: int, sha256: str) -> Path:
        """A local file with the bytes of `key`. DataError if it is missing or not of that size.

        From S3 it may be evicted as soon as others need the room: `open` and `map` hold on to it.
        """
        if self.remote:
            while not self.has(key, size, sha256):
                self.fetch(key, size, sha256)
            return self._place(key, sha256)
        path, found = Path(self._url.removeprefix("file://")) / key, self._local_size(key)
        if found != size:
            raise DataError(
                f"{path} has {found} bytes and the manifest says {size}: it is cut off, "
                "or of another version. `raytrain data verify` lists all such files"
            )
        return path

    def open(self, key: str, size: int, sha256: str) -> BufferedReader:
        """The file of `key`, open. It is not evicted until it, and every map of it, is closed. Raises as `path`."""
        while True:
            path = self.path(key, size, sha256)
            file = hold(path) if self.remote else path.open("rb")
            if file is not None:
                return file

    def read(self, key: str, size: int, sha256: str) -> bytes:
        """The bytes of `key`, which have that digest, or DataError. A damaged file of the cache is fetched again."""
        return self.map(key, size, sha256, check=True)[:] if size else b""

    def map(self, key: str, size: int, sha256: str, *, check: bool) -> mmap.mmap:
        """The file of `key` in memory, which keeps it from eviction. With `check` its digest is right, as `read`'s."""
        mapped = self._map(key, size, sha256)
        if not check:
            return mapped
        try:
            check_digest(mapped, sha256, f"{self._url}/{key}")
        except DamagedError:
            if not self.mended(key, size, sha256):
                raise
            mapped = self._map(key, size, sha256)
            check_digest(mapped, sha256, f"{self._url}/{key}")
        return mapped

    def mended(self, key: str, size: int, sha256: str) -> bool:
        """Whether the cached file was damaged, and has been fetched again. Never, where files lie in place."""
        if not self.remote:
            return False
        with self.open(key, size, sha256) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return False
            path = self._place(key, sha256)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                path.unlink()  # who still reads it goes on with the old bytes until a checksum stops him
        self.fetch(key, size, sha256)
        return True

    def has(self, key: str, size: int, sha256: str) -> bool:
        """Whether the file is in the cache; it counts as used just now. One of another size is removed."""
        path = self._place(key, sha256)
        try:
            os.utime(path)
            if path.stat().st_size == size:
                return True
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass
        return False

    def fetch(
        self,
        key: str,
        size: int,
        sha256: str,
        older_than: float = math.inf,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Bring `key` from S3, unless another process has meanwhile: each waits for the one who was first.

        Raises NoRoomError if the files last used before `older_than` do not make enough room, AbandonedError
        once `wanted()` is false, and DataError.
        """
        path = self._place(key, sha256)
        part = path.with_suffix(".part")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with sole_writer(part) as draft:
                if not path.exists():
                    self._room.reserve(draft, size, older_than)
                    fetch(self._store, self._pool, key, size, sha256, draft, wanted)
                    draft.flush()
                    part.rename(path)
        except OSError as error:
            raise DataError(
                f"cannot keep {self._url}/{key} ({size} bytes) in {self._folder}: {error.strerror}. "
                "Give the cache a disk with room, or move it with TMPDIR"
            ) from error

    def _map(self, key: str, size: int, sha256: str) -> mmap.mmap:
        try:
            with self.open(key, size, sha256) as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(
                f"cannot map {self._url}/{key}: {error.strerror}. Readers keep many shards open: "
                "raise the limit of open files (`ulimit -n`) if there are too many"
            ) from error

    def _place(self, key: str, sha256: str) -> Path:
        return self._folder / hashlib.sha256(f"{self._url}/{key} {sha256}".encode()).hexdigest()

    def _local_size(self, key: str) -> int:
        """Asked of the store, which refuses keys that lead out of it: names in a manifest are not trusted."""
        try:
            return open_store(self._url).size(key)
        except NotFoundError:
            raise DataError(
                f"{self._url}/{key} is missing, and the manifest lists it. Pack the set again"
            ) from None

    @cached_property
    def _pool(self) -> Executor:
        """The connections of all downloads of this cache; its threads end with it."""
        return ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="raytrain-fetch")

    @cached_property
    def _store(self) -> Store:
        return open_store(self._url)
