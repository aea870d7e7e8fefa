"""Shards become batches: endless and exactly once per epoch for training, exactly once for evaluation.

Every rank takes its own slots of each global batch, so all ranks make equal steps by construction and any
number of ranks that divides the batch sees the same global batches. Images leave as uint8: normalising,
erasing and mixing belong on the accelerator, and a quarter of the bytes has to go there.
"""

from collections.abc import Generator, Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from data_shards.ahead import Ahead, check_room, streams_read
from data_shards.batch import Batch, Undecodable
from data_shards.device_decode import CodedSlots, check, decoded
from data_shards.errors import DataUsageError
from data_shards.mixed import MixedReader, order_of
from data_shards.order import Ints, Order, Rows
from data_shards.prefetch import Source, prefetch
from data_shards.reader import Reader, labels, read_jpeg
from data_shards.shardset import ShardSet
from data_shards.slots import EvaluationSlots, TrainingSlots
from data_shards.training import Training
from data_shards.view import View

__all__ = ["Batch", "Undecodable", "eval_batches", "labels", "read_jpeg", "train_batches"]

Made = TypeVar("Made")


def train_batches(
    *,
    training: Training,
    view: View,
    seed: int,
    global_batch: int,
    micro_batch: int,
    rank: int,
    world: int,
    samples_seen: int,
    repeats: int = 1,
    sizes: tuple[tuple[int, int], ...] = (),
    processes: int = 0,
    cache: Path | None = None,
    decode_on: torch.device | None = None,
) -> Generator[Batch]:
    """Endless micro-batches of this rank, from the global batch that starts at slot `samples_seen`.

    Of each global batch the rank takes b = global_batch / world slots, those of its streams (`Order.share`), in
    b / micro_batch micro-batches. `processes` decode beside the caller; with 0, one background thread does.
    `decode_on`, a CUDA device, decodes there what they cut, and has the images there (`device_decode.py`: not yet run).
    With `repeats` each slot gives so many images, of other draws, and batches are still counted in slots; `sizes` are
    the image sizes of the first slots (both: `TrainingSlots`); neither goes with `decode_on`.
    Of a mix, labels are those of `Training.classes`, and `Batch.places` numbers shards on over the sets.
    Close the generator to end them. DataUsageError on a batch that does not divide, DataError on damage.
    """
    _check_division(global_batch, micro_batch, world)
    order = order_of(training, seed)
    readers = [
        Reader(part.url, part.chosen, cache, own.open_shards(own.shape.streams))
        for part, own in zip(training.parts, order.orders, strict=True)
    ]
    if isinstance(order, Order):  # of a set alone it is known which streams the rank reads
        streams = streams_read(order, global_batch, rank, world, samples_seen)
        readers[0].open_shards = order.open_shards(streams)
    check_room(readers)
    reader = MixedReader(training, readers) if training.mixed else readers[0]
    shares = (
        slots
        for first in count(samples_seen, global_batch)
        for slots in order.share(first, global_batch, rank, world).reshape(-1, micro_batch)
    )
    source = TrainingSlots(reader, order, view, repeats, sizes)
    ahead = None
    if any(reader.cache.remote for reader in readers):
        ahead = Ahead(deepcopy(reader), deepcopy(order), global_batch, rank, world, samples_seen)
    if decode_on is None:
        return _fetched_ahead(source, shares, processes, ahead)
    if repeats > 1 or sizes:
        raise DataUsageError(
            f"decode_on {decode_on} makes one image of a slot, and of one size: leave it out"
        )
    check(view, decode_on)
    return decoded(_fetched_ahead(CodedSlots(source), shares, processes, ahead), deepcopy(source), decode_on)


def _fetched_ahead(
    source: Source[Made], shares: Iterator[Ints], processes: int, ahead: Ahead | None
) -> Generator[Made]:
    if ahead is None:
        yield from prefetch(source, shares, processes, remote=False)
        return
    with ahead:
        yield from prefetch(source, ahead.watch(shares), processes, remote=True)


def eval_batches(
    *,
    url: str,
    shardset: ShardSet,
    split: str,
    view: View,
    batch_size: int,
    rank: int,
    world: int,
    processes: int = 0,
    cache: Path | None = None,
    samples: int | None = None,
) -> Generator[Batch]:
    """The rank's contiguous part of the split, each sample once; parts differ by at most one sample.

    Of the first `samples` of the split alone, if that is given. The last batch may be smaller, and ranks may deliver
    different numbers of batches: gather at the end.
    """
    chosen = shardset.split(split)
    count = chosen.samples if samples is None else samples
    first, end = count * rank // world, count * (rank + 1) // world
    shares = (np.arange(start, min(start + batch_size, end)) for start in range(first, end, batch_size))
    rows = Rows([shard.samples for shard in chosen.shards])
    return prefetch(
        EvaluationSlots(Reader(url, chosen, cache), rows, view),
        shares,
        processes,
        remote=url.startswith("s3://"),
    )


def _check_division(global_batch: int, micro_batch: int, world: int) -> None:
    """A global batch is a whole number of micro-batches on every rank."""
    unit = world * micro_batch
    if global_batch < 1 or global_batch % unit:
        below = global_batch // unit * unit
        choices = f"{below} or {below + unit}" if below > 0 else f"{unit}"
        raise DataUsageError(
            f"a global batch of {global_batch} does not divide into micro-batches of {micro_batch} "
            f"on {world} ranks. Use a global batch of {choices}, or another micro-batch"
        )
