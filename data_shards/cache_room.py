"""Room for the files of the cache: how much there may be, and which file goes first. Shared by the whole node.

    <folder>/NAME       a whole file whose digest was right; every process that has it open holds a shared lock
    <folder>/NAME.part  one on its way; the one process that fetches it holds an exclusive lock
    <folder>/room       locked while room is made

The locks are flock(2)'s. They belong to the open file, and a memory map keeps it open, so the kernel drops them
when the last user is gone, however it went. The time of last use is the file's mtime.
"""

import errno
import fcntl
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from data_shards.errors import DataError, DataUsageError

KNOB = "RAYTRAIN_CACHE_GIB"
"""Environment variable: GiB that the cache of a node may hold. Without it, SHARE of what its disk could give."""

SHARE = 0.9
POLL = 0.05
"""Seconds between two looks at whether another process has done with a file."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class NoRoomError(DataError):
    """The limit is reached, and every file that could go is in use."""


def read_limit(environment: Mapping[str, str]) -> int | None:
    """The limit in bytes that KNOB sets, or None. DataUsageError if it is no positive number."""
    said = environment.get(KNOB)
    if said is None:
        return None
    try:
        gib = float(said)
    except ValueError:
        gib = math.nan
    if not 0 < gib < math.inf:
        raise DataUsageError(f"{KNOB}={said}: the limit of the shard cache is a number of GiB above 0")
    return int(gib * 2**30)


class Room:
    """The files of one cache folder, and the limit that they keep to together."""

    def __init__(self, folder: Path, limit: int | None) -> None:
        self._folder = folder
        self._limit = limit

    def limit(self) -> int:
        """Bytes that the folder may hold: as given, or SHARE of what it holds and what its disk has free."""
        if self._limit is not None:
            return self._limit
        place = next(place for place in (self._folder, *self._folder.parents) if place.is_dir())
        return int(SHARE * (sum(size for _, size, _ in self._files()) + shutil.disk_usage(place).free))

    def reserve(self, draft: BinaryIO, size: int, older_than: float = math.inf) -> None:
        """Give `draft` its `size` bytes of disk, for which the least recently used files go that nobody has open.

        Only files last used before `older_than` (seconds since the epoch) may go. NoRoomError if that is too little.
        """
        with (self._folder / "room").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files, limit = sorted(self._files()), self.limit()
            used, kept = sum(size for _, size, _ in files), 0
            for last_use, its_size, path in [*files, (math.inf, 0, None)]:
                if used + size <= limit and _allocated(draft, size):
                    return
                if path is None or last_use >= older_than:
                    break
                if _evicted(path):
                    used -= its_size
                else:
                    kept += 1
        raise NoRoomError(
            f"the shard cache {self._folder} is full: {size:,} bytes are needed, and of {limit:,} allowed "
            f"{used:,} are taken, {kept} files of them in use. Raise {KNOB} (now "
            f"{'not set' if self._limit is None else f'{limit / 2**30:g}'}), "
            "make room on its disk, or move it to a larger one with TMPDIR"
        )

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of every file, drafts of others included."""
        for path in self._folder.glob("*"):  # of no folder, nothing
            try:
                status = path.stat()
            except FileNotFoundError:  # renamed or evicted meanwhile
                continue
            if status.st_size:  # a draft that nobody writes any more is of no use to anyone: it goes first
                yield 0.0 if path.suffix == ".part" else status.st_mtime, status.st_size, path


@contextmanager
def sole_writer(path: Path) -> Iterator[BinaryIO]:
    """`path`, empty or not, open for writing under an exclusive lock; gone afterwards if it still has that name.

    Waiting is by looking again: once the writer has renamed his file, readers hold it, and would be waited for.
    """
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            if not _locked(file) or not _is_at(file, path):
                time.sleep(POLL)
                continue
            try:
                yield file
            finally:
                if _is_at(file, path):
                    path.unlink()
            return


def hold(path: Path) -> BufferedReader | None:
    """`path`, open, and safe from eviction until the file and all maps of it are closed. None if it is gone."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    if os.fstat(file.fileno()).st_nlink:
        return file
    file.close()
    return None


def _locked(file: BinaryIO | BufferedReader) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _evicted(path: Path) -> bool:
    """Remove a file, unless somebody has a lock on it."""
    try:
        with path.open("rb") as file:
            if not _locked(file):
                return False
            path.unlink()
    except FileNotFoundError:
        pass
    return True


def _allocated(draft: BinaryIO, size: int) -> bool:
    """Take the bytes from the disk now, so that no write can fail later. False if it has not so many."""
    try:
        if size:
            os.posix_fallocate(draft.fileno(), 0, size)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        draft.truncate(0)
        return False
    return True
