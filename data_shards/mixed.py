"""Batches of several sets mixed by weight: the same promises as of one (`loader.py`), and one state, n."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np

from data_shards.ahead import check_room
from data_shards.errors import DataUsageError
from data_shards.loader import Batch, endless
from data_shards.mixing import MixedOrder, merge_classes
from data_shards.order import Ints
from data_shards.reader import Reader, Sample
from data_shards.shardset import ShardSet
from data_shards.view import View


@dataclass(frozen=True, kw_only=True)
class Part:
    """A set to mix. `weight` over the sum of all weights is its share of the samples drawn."""

    url: str
    shardset: ShardSet
    split: str
    weight: Fraction


class MixedReader:
    """Reads shards numbered over several sets in turn, with the labels of the merged class list."""

    def __init__(self, readers: Sequence[Reader], labels: Sequence[Ints]) -> None:
        """`labels[i][label]` is the merged label of a label of set i."""
        self._readers = readers
        self._labels = labels
        self._ends = np.cumsum([len(reader.split.shards) for reader in readers])

    def _place(self, shard: int) -> tuple[int, int]:
        """(set, its shard in it)."""
        number = int(np.searchsorted(self._ends, shard, side="right"))
        return number, shard - (int(self._ends[number - 1]) if number else 0)

    def read(self, shard: int, row: int) -> Sample:
        """An encoded image, checked, and its merged label. DataError if it was damaged since packing."""
        number, own = self._place(shard)
        sample = self._readers[number].read(own, row)
        return sample._replace(label=int(self._labels[number][sample.label]))

    def bring(self, shard: int, older_than: float, wanted: Callable[[], bool]) -> None:
        """Have the shard's files in the cache, if they are not read in place."""
        number, own = self._place(shard)
        self._readers[number].bring(own, older_than, wanted)

    def key(self, shard: int, row: int) -> str:
        """The key of a sample in its tar."""
        number, own = self._place(shard)
        return self._readers[number].key(own, row)

    def name(self, shard: int) -> str:
        """The shard's name in its set."""
        number, own = self._place(shard)
        return self._readers[number].name(own)


def mixed_batches(
    *,
    parts: Sequence[Part],
    view: View,
    seed: int,
    global_batch: int,
    micro_batch: int,
    rank: int,
    world: int,
    samples_seen: int,
    processes: int = 0,
    cache: Path | None = None,
) -> Generator[Batch]:
    """`train_batches` of several sets. Labels are those of `merge_classes`; `Batch.places` numbers shards on over sets.

    DataUsageError where two parts are the same set, a split is empty, or the weights cannot be (`Mix`).
    """
    for part, other in combinations(parts, 2):
        if (part.shardset.fingerprint, part.split) == (other.shardset.fingerprint, other.split):
            raise DataUsageError(
                f"{part.url} and {other.url} are the same set: each image would have the same key twice. "
                "Name it once, with the sum of the weights"
            )
    chosen = [part.shardset.split(part.split) for part in parts]
    for part, split in zip(parts, chosen, strict=True):
        if split.samples == 0:
            raise DataUsageError(f"split '{part.split}' of {part.url} has no samples to train on")
    _, labels = merge_classes([part.shardset.classes for part in parts])
    counts = [[shard.samples for shard in split.shards] for split in chosen]
    order = MixedOrder(counts, [part.weight for part in parts], seed)
    readers = [
        Reader(part.url, split, cache, own.open_shards(own.shape.streams))
        for part, split, own in zip(parts, chosen, order.orders, strict=True)
    ]
    check_room(readers)
    return endless(
        MixedReader(readers, labels),
        order,
        view=view,
        global_batch=global_batch,
        micro_batch=micro_batch,
        rank=rank,
        world=world,
        samples_seen=samples_seen,
        processes=processes,
        remote=any(part.url.startswith("s3://") for part in parts),
    )
