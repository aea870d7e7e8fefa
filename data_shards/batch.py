"""Batch: what the loader hands over, and how it is put together from samples."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from data_shards.order import Ints


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

    images       uint8 [r b, 3, S, S], channels last in memory, as decoders and resizing leave them: with repeats
                 (r > 1, training only) all slots once, then all once more from other draws, and so on
    labels       int64 [r b]
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


class Made(NamedTuple):
    """What a slot became."""

    label: int
    place: tuple[int, int]
    undecodable: Undecodable | None


def room(count: int, side: int) -> torch.Tensor:
    """uint8 [count, 3, side, side], channels last in memory: where the images of a batch are made."""
    return torch.empty(count, side, side, 3, dtype=torch.uint8).permute(0, 3, 1, 2)


def batch(images: torch.Tensor, slots: Ints, samples: list[Made]) -> Batch:
    """The batch of what some slots became, each once or all of them several times over."""
    targets = [made.label for made in samples]
    _, places, undecodable = zip(*samples[: len(slots)], strict=True)
    return Batch(
        images=images,
        labels=torch.tensor(targets),
        slots=torch.from_numpy(slots),
        places=torch.tensor(places),
        undecodable=tuple(bad for bad in undecodable if bad is not None),
    )
