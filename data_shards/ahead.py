"""Shards from S3, fetched before they are read: those of this block of the order, then those of the next.

One thread per rank, none for local sets. A file that several ranks of a node want is fetched by the first and
found by the others (`cache.py`). What is fetched ahead takes the place of what was last used before this block.
"""

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from data_shards.cache_room import KNOB, NoRoomError
from data_shards.errors import DataError, DataUsageError
from data_shards.fetch import AbandonedError
from data_shards.order import Ints, Order
from data_shards.reader import OPEN_SHARDS, Reader, files_of

POLL = 0.5
"""Seconds between two looks at how far the reader is, and whether there is room again."""

AT_ONCE = 3
"""Shards fetched at a time, over the same connections: while one waits for a range that met a fault, they go on with
the others'."""

SLOTS = 2**14
"""Slots of the rank located at a time, about."""


class _Brings(Protocol):
    def bring(self, shard: int, older_than: float, wanted: Callable[[], bool]) -> None: ...


class _Ordered(Protocol):
    @property
    def span(self) -> int: ...

    def locate(self, slots: Ints) -> tuple[Ints, Ints]: ...

    def share(self, first: int, count: int, rank: int, world: int) -> Ints: ...


def streams_read(order: Order, global_batch: int, rank: int, world: int, first: int) -> int:
    """How many streams a rank reads; at an epoch's edge they may be others. Batches go around them in a rhythm."""
    streams = order.shape.streams
    batches = streams // math.gcd(streams, global_batch)
    starts = range(first, first + batches * global_batch, global_batch)
    shares = [order.share(start, global_batch, rank, world) for start in starts]
    return len(np.unique(order.stream(np.concatenate(shares))))


def check_room(readers: Sequence[Reader]) -> None:
    """DataUsageError if the cache may not hold the shards that these readers keep open in one worker.

    And the few that an evaluation reads meanwhile.
    """
    remote = [reader for reader in readers if reader.cache.remote]
    if not remote:
        return
    needed = 0
    for reader in remote:
        sizes = sorted(sum(size for _, size, _ in files_of(shard)) for shard in reader.split.shards)
        needed += sum(sizes[-reader.open_shards :]) + OPEN_SHARDS * sizes[-1]
    limit = remote[0].cache.limit()
    if needed > limit:
        count = sum(reader.open_shards for reader in remote)
        raise DataUsageError(
            f"a worker reads from {count} shards at a time, {needed:,} bytes with those of an evaluation, and the "
            f"shard cache may hold {limit:,}. Raise {KNOB} to {math.ceil(needed / 2**30 * 10) / 10} or more "
            "(twice that fetches ahead), or move the cache to a larger disk with TMPDIR"
        )


class Ahead:
    """The thread, as a context: it ends with it. What goes wrong in it the reader will meet, and say."""

    def __init__(
        self,
        reader: _Brings,
        order: _Ordered,
        global_batch: int,
        rank: int,
        world: int,
        first: int,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`reader` and `order` are the thread's own. The rank reads its share of the global batches from `first` on."""
        self._reader, self._order, self._clock = reader, order, clock
        self._batch = (global_batch, rank, world)
        self._at = self._next = first  # the reader is at one slot, the thread at another
        self._step = -(-SLOTS * world // global_batch) * global_batch
        self._passed: deque[tuple[int, float]] = deque()  # (slot, when the thread was there)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raytrain-data-ahead", daemon=True)

    def __enter__(self) -> "Ahead":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def watch(self, shares: Iterator[Ints]) -> Iterator[Ints]:
        """The same slots, ascending in each; the ones given out last are where the reader is."""
        for slots in shares:
            self._at = int(slots[0])
            yield slots

    def _run(self) -> None:
        with contextlib.suppress(DataError, AbandonedError), ThreadPoolExecutor(AT_ONCE) as pool:
            while self._wanted():
                if self._next >= self._at + self._order.span:
                    self._closed.wait(POLL)
                    continue
                self._passed.append((self._next, self._clock()))
                while len(self._passed) > 1 and self._passed[1][0] <= self._at:
                    self._passed.popleft()
                for _ in pool.map(self._bring, self._shards()):
                    pass
                self._next += self._step

    def _wanted(self) -> bool:
        return not self._closed.is_set()

    def _shards(self) -> list[int]:
        """The shards of the rank's next slots, each once, in the order of their first sample."""
        global_batch, rank, world = self._batch
        starts = range(self._next, self._next + self._step, global_batch)
        slots = np.concatenate([self._order.share(first, global_batch, rank, world) for first in starts])
        return list(dict.fromkeys(self._order.locate(slots)[0].tolist()))

    def _bring(self, shard: int) -> None:
        """Fetch it in the place of what was used last before all that the reader has yet to read was looked at."""
        while self._wanted():
            older_than = max(when for slot, when in self._passed if slot <= self._at)
            try:
                self._reader.bring(shard, older_than, self._wanted)
                break
            except NoRoomError:  # until the reader has closed a shard that it has done with
                self._closed.wait(POLL)
