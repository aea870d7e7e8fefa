"""A shard's files as local files. A local store is read in place; an S3 object is fetched once per node.

The cache is flat: a file's name is the sha256 of its URL and digest, so two sets with equal file names, or
two versions of one set, never meet. A file gets its name by a rename, after its digest was checked.
Nothing is evicted: a node needs room for the shards that it reads (ImageNet-1K: 144 GB, 22K: 1.6 TB).
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from data_shards.errors import DataError
from data_shards.store import NotFoundError, Store, open_store

RANGE = 8 * 2**20
"""Bytes per GET: AWS's advice is 8 to 16 MB (S3 user guide, byte-range fetches)."""

IN_FLIGHT = 8
"""GETs of one download at a time, so at most 64 MB of it are in memory."""


def default_cache() -> Path:
    """The cache folder of this user on this node. TMPDIR moves it to a larger disk."""
    return Path(tempfile.gettempdir()) / f"raytrain-shards-{os.getuid()}"


class Cache:
    """Local paths for the keys of one shard set."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        """`folder` (default_cache() unless given) is only used for s3:// URLs."""
        self._url = url.rstrip("/")
        self._folder = folder or default_cache()

    def path(self, key: str, size: int, sha256: str) -> Path:
        """A local file with the bytes of `key`. DataError if it is missing or not of that size and digest.

        The digest is checked on download. A file in place is only checked for its size here: its samples'
        checksums are checked as they are read.
        """
        if self._url.startswith("s3://"):
            path = self._cached(key, size, sha256)
            found = path.stat().st_size
        else:
            path = Path(self._url.removeprefix("file://")) / key
            found = self._local_size(key)
        if found != size:
            raise DataError(
                f"{path} has {found} bytes and the manifest says {size}: it is cut off, "
                "or of another version. `raytrain data verify` lists all such files"
            )
        return path

    def _local_size(self, key: str) -> int:
        """Asked of the store, which refuses keys that lead out of it: names in a manifest are not trusted."""
        try:
            return open_store(self._url).size(key)
        except NotFoundError:
            raise DataError(
                f"{self._url}/{key} is missing, and the manifest lists it. Pack the set again"
            ) from None

    def _cached(self, key: str, size: int, sha256: str) -> Path:
        path = self._folder / hashlib.sha256(f"{self._url}/{key} {sha256}".encode()).hexdigest()
        if path.exists():
            return path
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(path.with_suffix(".lock")):
                if not path.exists():  # another process may have fetched it while we waited
                    _download(open_store(self._url), key, size, sha256, path)
        except OSError as error:
            raise DataError(
                f"cannot keep {self._url}/{key} ({size} bytes) in {self._folder}: {error.strerror}. "
                "Give the cache a disk with room, or move it with TMPDIR"
            ) from error
        return path


def _download(store: Store, key: str, size: int, sha256: str, path: Path) -> None:
    """Fetch, check and rename; a failure leaves nothing under `path`."""
    part = path.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            for piece in _ranges(store, key, size):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != sha256:
            raise DataError(
                f"{store.url}/{key} is damaged: its sha256 is {digest.hexdigest()} and the manifest "
                f"says {sha256}. `raytrain data verify` lists all such files"
            )
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _ranges(store: Store, key: str, size: int) -> Iterator[bytes]:
    """The object's bytes in order, IN_FLIGHT ranges at a time."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for group in range(0, size, RANGE * IN_FLIGHT):
            starts = range(group, min(size, group + RANGE * IN_FLIGHT), RANGE)
            lengths = [min(RANGE, size - start) for start in starts]
            yield from pool.map(store.read, [key] * len(starts), starts, lengths)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; the kernel lets go of it when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
