"""The order of training samples: a pure function of (seed, samples seen), and nothing else.

One endless sequence of slots n = 0, 1, ... covers the split once per epoch: epoch = n // N, slot g = n % N.
Whoever asks for slot n gets the same sample, whatever the number of ranks, worker processes or restarts, so
the whole state of the order is one integer and a resume starts at once.

Each epoch:
1. the shards are permuted and laid end to end;
2. the row is cut into K streams whose lengths differ by at most one, so no sample is dropped;
3. each stream is cut into blocks of B samples, and each block is permuted on its own;
4. slot g takes the sample at position g // K of stream g % K.

So K x B samples are being mixed at any time, and only their shards are open. Of a global batch every rank takes the
slots of its own streams (`Order.share`), so W ranks read each shard once between them, not W times.

A permutation is a stable argsort of Philox output: numpy promises that a bit generator's output never changes, and
promises no such thing of `Generator.permutation` (NEP 19).
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from data_shards.shape import Shape, default_shape

Ints = npt.NDArray[np.int64]
Key = TypeVar("Key")
Made = TypeVar("Made")

SHARDS, BLOCKS, AUGMENTATION, SETS = 0, 1, 2, 5
"""What a Philox key is for: keys of different purposes never share draws. 3 and 4 are the trainer's."""


def philox(seed: int, purpose: int, *place: int) -> np.random.Philox:
    """The random bits of one place (up to three integers below 2**64) under (seed, purpose)."""
    counter = np.zeros(4, np.uint64)  # word 0 counts the draws
    counter[1 : 1 + len(place)] = place
    return np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=counter)


class Rows:
    """Shards laid end to end: turns positions in the row into (shard, row within the shard)."""

    def __init__(self, counts: Sequence[int], shards: Ints | None = None) -> None:
        """`counts[i]` samples in shard i; `shards` is the order they lie in, as given by default."""
        self._shards = np.arange(len(counts)) if shards is None else shards
        self._ends = np.cumsum(np.asarray(counts, np.int64)[self._shards])
        self._starts = self._ends - np.asarray(counts, np.int64)[self._shards]

    def locate(self, positions: Ints) -> tuple[Ints, Ints]:
        """(shard, row) of each position."""
        place = np.searchsorted(self._ends, positions, side="right")
        return self._shards[place], positions - self._starts[place]


class Ordered(Protocol):
    """An order: of one set, or of several mixed (`mixing.py`), each of which goes through epochs of its own."""

    seed: int
    counts: tuple[int, ...]

    @property
    def orders(self) -> Sequence["Order"]:
        """The order of each set."""
        ...

    @property
    def span(self) -> int:
        """Slots that are read from the same shards, about: how far to fetch ahead."""
        ...

    def draw(self, slots: Ints) -> tuple[Ints, Ints]:
        """(set, how many slots of that set came before) of every slot."""
        ...

    def before(self, number: int, slots: Ints) -> Ints:
        """How many of all slots before each of these draw from set `number`."""
        ...

    def locate(self, slots: Ints) -> tuple[Ints, Ints]:
        """(shard, row within the shard) of every slot. Shards are numbered on over the sets."""
        ...

    def share(self, first: int, count: int, rank: int, world: int) -> Ints:
        """The slots that a rank takes of the global batch first .. first + count - 1."""
        ...


class Order:
    """The order over shards of `counts` samples. Holds the tables of two epochs and two blocks at most."""

    def __init__(self, counts: Sequence[int], seed: int, shape: Shape | None = None) -> None:
        """`shape` is `default_shape(counts)` unless given; another shape or seed is another order."""
        self.counts = tuple(counts)
        self.seed = seed
        self.shape = shape or default_shape(counts)
        self.samples = sum(counts)
        self._rows: dict[int, Rows] = {}
        self._blocks: dict[tuple[int, int], _Block] = {}

    @property
    def orders(self) -> "tuple[Order]":
        """Itself: it is of one set."""
        return (self,)

    def draw(self, slots: Ints) -> tuple[Ints, Ints]:
        """(0, n) of every slot n: all are of the one set."""
        return np.zeros_like(slots), slots

    def before(self, number: int, slots: Ints) -> Ints:  # noqa: ARG002 -- there is one set
        """How many of all slots before each of these draw from the set: all."""
        return slots

    def locate(self, slots: Ints) -> tuple[Ints, Ints]:
        """(shard, row within the shard) of every slot; best near each other, for each block of theirs is made."""
        shards, rows = np.empty_like(slots), np.empty_like(slots)
        epochs, within = np.divmod(slots, self.samples)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            shards[here], rows[here] = self._locate(epoch, within[here])
        return shards, rows

    def stream(self, slots: Ints) -> Ints:
        """The stream of every slot."""
        return slots % self.samples % self.shape.streams

    def share(self, first: int, count: int, rank: int, world: int) -> Ints:
        """[count / world], ascending: the slots that a rank takes of the global batch first .. first + count - 1.

        The batch is laid out by stream and cut into equal parts, so a rank reads K / world streams and their edges,
        whatever the world. Neighbours, from the batch's first slot on, stay together: mixup's pairs.
        """
        return share_by_stream(self.stream, first, count, rank, world)

    @property
    def span(self) -> int:
        """Slots of a block of all streams: what is read together, but for an epoch's end."""
        return min(self.shape.streams * self.shape.block, self.samples)

    def open_shards(self, streams: int) -> int:
        """How many shards hold the samples that so many streams mix at a time, at most."""
        smallest_first = np.cumsum(np.sort(self.counts))
        block = min(self.shape.block, self.samples)
        within = int(np.searchsorted(smallest_first, block)) + 1
        return min(len(self.counts), streams * (within + 1))  # a block may begin and end amid a shard

    def _locate(self, epoch: int, slots: Ints) -> tuple[Ints, Ints]:
        position, stream = np.divmod(slots, self.shape.streams)
        block, offset = np.divmod(position, self.shape.block)
        permuted = np.empty_like(slots)
        for number in range(int(block.min()), int(block.max()) + 1):
            here = block == number
            permuted[here] = self._block(epoch, number).at(stream[here], offset[here])
        length, longer = divmod(self.samples, self.shape.streams)
        start = stream * length + np.minimum(stream, longer)
        return self._epoch(epoch).locate(start + block * self.shape.block + permuted)

    def _epoch(self, epoch: int) -> Rows:
        """The epoch's shards, permuted and laid end to end."""
        return _remember(self._rows, epoch, self._make_epoch)

    def _make_epoch(self, epoch: int) -> Rows:
        draws = philox(self.seed, SHARDS, epoch).random_raw(len(self.counts))
        return Rows(self.counts, np.argsort(draws, kind="stable"))

    def _block(self, epoch: int, block: int) -> "_Block":
        """The permutations of this block."""
        return _remember(self._blocks, (epoch, block), self._make_block)

    def _make_block(self, place: tuple[int, int]) -> "_Block":
        epoch, block = place
        shortest, longer = divmod(self.samples, self.shape.streams)
        lengths = shortest + (np.arange(self.shape.streams) < longer) - block * self.shape.block
        return _Block(self.seed, epoch, block, lengths.clip(0, self.shape.block))


class _Block:
    """One block's permutation in every stream, each made when it is first asked for: a rank needs its own."""

    def __init__(self, seed: int, epoch: int, block: int, lengths: Ints) -> None:
        self._seed, self._epoch, self._block = seed, epoch, block
        self._lengths = lengths
        self._table = np.zeros((len(lengths), lengths[0]), np.uint32)  # costs memory where it is written
        self._made = np.zeros(len(lengths), bool)

    def at(self, streams: Ints, offsets: Ints) -> npt.NDArray[np.uint32]:
        """Where the samples lie that come at these places of the block."""
        for stream in np.unique(streams[~self._made[streams]]).tolist():
            length = int(self._lengths[stream])
            draws = philox(self._seed, BLOCKS, self._epoch, stream, self._block).random_raw(length)
            self._table[stream, :length] = np.argsort(draws, kind="stable")
            self._made[stream] = True
        return self._table[streams, offsets]


def share_by_stream(stream: Callable[[Ints], Ints], first: int, count: int, rank: int, world: int) -> Ints:
    """Order.share, of whatever knows the stream of a slot."""
    unit = 2 - count % 2
    units = np.arange(first, first + count, unit)
    by_stream = np.argsort(stream(units), kind="stable")
    own = count // world
    slots = (units[by_stream, None] + np.arange(unit)).ravel()[rank * own : (rank + 1) * own]
    return np.sort(slots)


def _remember(known: dict[Key, Made], key: Key, make: Callable[[Key], Made]) -> Made:
    """`make(key)`, kept with the one made before it: a batch that straddles two needs both."""
    if key not in known:
        for old in list(known)[:-1]:
            del known[old]
        known[key] = make(key)
    return known[key]
