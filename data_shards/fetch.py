"""One object of a store into a local file: in ranges, several at a time, and checked as it comes."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from itertools import islice
from typing import BinaryIO

from data_shards.errors import DataError
from data_shards.store import Store

RANGE = 8 * 2**20
"""Bytes per GET: AWS's advice is 8 to 16 MB (S3 user guide, byte-range fetches)."""

IN_FLIGHT = 8
"""GETs of one download at a time, so at most 64 MB of it are in memory."""


class AbandonedError(Exception):
    """The download is not wanted any more."""


def fetch(
    store: Store, pool: Executor, key: str, size: int, sha256: str, file: BinaryIO, wanted: Callable[[], bool]
) -> None:
    """Write the object's bytes into `file`, from its start. DataError if they have not that size and digest.

    The GETs are made by `pool`. Downloads may share one: where one waits for its last range, others go on.

    A wrong digest is asked for once more: the bits may have flipped on the way. AbandonedError once `wanted()`
    is false; it is asked between ranges.
    """
    found = _digest_of(store, pool, key, size, file, wanted)
    if found != sha256:
        found = _digest_of(store, pool, key, size, file, wanted)
    if found != sha256 or file.tell() != size:
        raise DataError(
            f"{store.url}/{key} is damaged: its sha256 is {found} and the manifest says {sha256} "
            f"({file.tell():,} and {size:,} bytes). `raytrain data verify` lists all such files"
        )


def _digest_of(
    store: Store, pool: Executor, key: str, size: int, file: BinaryIO, wanted: Callable[[], bool]
) -> str:
    """The sha256 of what came, which is in `file` now."""
    digest = hashlib.sha256()
    file.seek(0)
    for piece in ranges(store, pool, key, size):
        if not wanted():
            raise AbandonedError
        digest.update(piece)
        file.write(piece)
    file.truncate()
    return digest.hexdigest()


def ranges(store: Store, pool: Executor, key: str, size: int) -> Iterator[bytes]:
    """The object's bytes in order; the ranges that follow are under way in `pool` meanwhile, IN_FLIGHT at most."""
    starts = iter(range(0, size, RANGE))
    asked = (pool.submit(store.read, key, start, min(RANGE, size - start)) for start in starts)
    waiting = deque(islice(asked, IN_FLIGHT))
    try:
        while waiting:
            piece = waiting.popleft().result()
            waiting.extend(islice(asked, 1))
            yield piece
    finally:
        for left in waiting:
            left.cancel()
