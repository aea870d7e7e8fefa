"""Shards become batches: endless and exactly once per epoch for training, exactly once for evaluation.

Every rank takes its own slots of each global batch, so all ranks make equal steps by construction and any
number of ranks that divides the batch sees the same global batches. Images leave as uint8: normalising,
erasing and mixing belong on the accelerator, and a quarter of the bytes has to go there.
"""

from collections.abc import Callable, Generator, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from data_shards.ahead import Ahead, check_room, streams_read
from data_shards.augment import crop_box, eval_image, finish, sample_rng, train_image
from data_shards.decode import UndecodableError, decode, decode_region
from data_shards.errors import DataError, DataUsageError
from data_shards.order import Ints, Order, Rows
from data_shards.prefetch import Source, prefetch
from data_shards.reader import Reader, Sample, labels, read_jpeg
from data_shards.shardset import ShardSet
from data_shards.view import View

__all__ = ["Batch", "Undecodable", "eval_batches", "labels", "read_jpeg", "train_batches"]

Made = TypeVar("Made")


class Undecodable(NamedTuple):
    """A sample whose image no decoder reads: its slot, its place in the split, its key in the tar, and why."""

    slot: int
    shard: int
    row: int
    key: str
    label: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A micro-batch.

    images       uint8 [b, 3, S, S], channels last in memory, as decoders and resizing leave them
    labels       int64 [b]
    slots        int64 [b], the global sample counter n in training, the index in the split in evaluation
    places       int64 [b, 2], (shard, row) that was read for each slot
    undecodable  those of the batch's samples whose image is another one's, or black
    """

    images: torch.Tensor
    labels: torch.Tensor
    slots: torch.Tensor
    places: torch.Tensor
    undecodable: tuple[Undecodable, ...] = ()

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory (what the accelerator gets); DataLoader calls it by this name."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


class _Sample(NamedTuple):
    """What a slot became."""

    image: torch.Tensor
    label: int
    place: tuple[int, int]
    undecodable: Undecodable | None


class Ordered(Protocol):
    """An order: of one set, or of several mixed."""

    seed: int
    counts: tuple[int, ...]

    @property
    def span(self) -> int:
        """Slots that are read from the same shards, about: how far to fetch ahead."""
        ...

    def locate(self, slots: Ints) -> tuple[Ints, Ints]:
        """(shard, row within the shard) of every slot."""
        ...

    def share(self, first: int, count: int, rank: int, world: int) -> Ints:
        """The slots that a rank takes of the global batch first .. first + count - 1."""
        ...


class Reads(Protocol):
    """Whatever reads the shards of an order."""

    def read(self, shard: int, row: int) -> Sample:
        """An encoded image and its label."""
        ...

    def bring(self, shard: int, older_than: float, wanted: Callable[[], bool]) -> None:
        """Have the shard's files at hand before they are read."""
        ...

    def key(self, shard: int, row: int) -> str:
        """Its key in the tar."""
        ...

    def name(self, shard: int) -> str:
        """The shard's name."""
        ...


@dataclass(frozen=True)
class _Training:
    reader: Reads
    order: Ordered
    view: View

    def __getitem__(self, slots: Ints) -> Batch | DataError:
        try:
            places = (slots, *self.order.locate(slots))
            return _stack(slots, [self._sample(*map(int, place)) for place in zip(*places, strict=True)])
        except DataError as error:
            return error

    def _sample(self, n: int, shard: int, row: int) -> _Sample:
        """Global sample n.

        An image that no decoder reads is replaced by the next readable one of its shard, cyclically: a fixed
        function of its place, so every number of ranks trains on the same.
        """
        samples, bad = self.order.counts[shard], None
        for step in range(samples):
            sample = self.reader.read(shard, (row + step) % samples)
            try:
                image = _train_image(sample, self.view, sample_rng(self.order.seed, n))
            except UndecodableError as error:
                bad = bad or _undecodable(self.reader, n, shard, row, sample.label, error)
                continue
            return _Sample(image, sample.label, (shard, row), bad)
        name = self.reader.name(shard)
        raise DataError(f"none of the {samples} images of shard '{name}' can be decoded. Pack it again")


@dataclass(frozen=True)
class _Evaluation:
    reader: Reader
    rows: Rows
    view: View

    def __getitem__(self, indices: Ints) -> Batch | DataError:
        try:
            places = (indices, *self.rows.locate(indices))
            return _stack(indices, [self._sample(*map(int, place)) for place in zip(*places, strict=True)])
        except DataError as error:
            return error

    def _sample(self, index: int, shard: int, row: int) -> _Sample:
        """What no decoder reads is black: it keeps its label and counts once."""
        sample = self.reader.read(shard, row)
        try:
            return _Sample(
                eval_image(decode(bytes(sample.image)), self.view), sample.label, (shard, row), None
            )
        except UndecodableError as error:
            side = self.view.image_size
            bad = _undecodable(self.reader, index, shard, row, sample.label, error)
            return _Sample(torch.zeros(3, side, side, dtype=torch.uint8), sample.label, (shard, row), bad)


def _train_image(sample: Sample, view: View, rng: np.random.Generator) -> torch.Tensor:
    """A training crop. Where the picture has segments, only the crop is decoded: the pixels are the same."""
    if not len(sample.lengths):
        return train_image(decode(bytes(sample.image)), view, rng)
    box, flip = crop_box(sample.width, sample.height, view, rng)
    return finish(decode_region(sample.image, sample.lengths, box), flip, view, rng)


def _undecodable(
    reader: Reads, slot: int, shard: int, row: int, label: int, why: UndecodableError
) -> Undecodable:
    return Undecodable(slot, shard, row, reader.key(shard, row), label, str(why))


def _stack(slots: Ints, samples: list[_Sample]) -> Batch:
    images, targets, places, undecodable = zip(*samples, strict=True)
    return Batch(
        images=torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2),
        labels=torch.tensor(targets),
        slots=torch.from_numpy(slots),
        places=torch.tensor(places),
        undecodable=tuple(bad for bad in undecodable if bad is not None),
    )


def train_batches(
    *,
    url: str,
    shardset: ShardSet,
    split: str,
    view: View,
    seed: int,
    global_batch: int,
    micro_batch: int,
    rank: int,
    world: int,
    samples_seen: int,
    processes: int = 0,
    cache: Path | None = None,
    decode_on: torch.device | None = None,
) -> Generator[Batch]:
    """Endless micro-batches of this rank, from the global batch that starts at slot `samples_seen`.

    Of each global batch the rank takes b = global_batch / world slots, those of its streams (`Order.share`), in
    b / micro_batch micro-batches. `processes` decode beside the caller; with 0, one background thread does.
    `decode_on`, a CUDA device, decodes there what they cut, and has the images there (`device_decode.py`: not yet run).
    Close the generator to end them. DataUsageError on a batch that does not divide, DataError on damage.
    """
    chosen = shardset.split(split)
    if chosen.samples == 0:
        raise DataUsageError(f"split '{split}' has no samples to train on")
    _check_division(global_batch, micro_batch, world)
    order = Order([shard.samples for shard in chosen.shards], seed)
    streams = streams_read(order, global_batch, rank, world, samples_seen)
    reader = Reader(url, chosen, cache, order.open_shards(streams))
    check_room([reader])
    return endless(
        reader,
        order,
        view=view,
        global_batch=global_batch,
        micro_batch=micro_batch,
        rank=rank,
        world=world,
        samples_seen=samples_seen,
        processes=processes,
        remote=url.startswith("s3://"),
        decode_on=decode_on,
    )


def endless(
    reader: Reads,
    order: Ordered,
    *,
    view: View,
    global_batch: int,
    micro_batch: int,
    rank: int,
    world: int,
    samples_seen: int,
    processes: int,
    remote: bool,
    decode_on: torch.device | None = None,
) -> Generator[Batch]:
    """What train_batches makes, from any order and whatever reads its shards."""
    _check_division(global_batch, micro_batch, world)
    shares = (
        slots
        for first in count(samples_seen, global_batch)
        for slots in order.share(first, global_batch, rank, world).reshape(-1, micro_batch)
    )
    source = _Training(reader, order, view)
    ahead = None
    if remote:
        ahead = Ahead(deepcopy(reader), deepcopy(order), global_batch, rank, world, samples_seen)
    if decode_on is None:
        return _fetched_ahead(source, shares, processes, ahead)
    from data_shards.device_decode import (
        CodedSlots,
        check,
        decoded,
    )  # here, because it is optional and imports this

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
) -> Generator[Batch]:
    """The rank's contiguous part of the split, each sample once; parts differ by at most one sample.

    The last batch may be smaller, and ranks may deliver different numbers of batches: gather at the end.
    """
    chosen = shardset.split(split)
    first, end = chosen.samples * rank // world, chosen.samples * (rank + 1) // world
    shares = (np.arange(start, min(start + batch_size, end)) for start in range(first, end, batch_size))
    rows = Rows([shard.samples for shard in chosen.shards])
    return prefetch(
        _Evaluation(Reader(url, chosen, cache), rows, view), shares, processes, remote=url.startswith("s3://")
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
