"""What slots become: read, decoded, cropped, and a rule for what no decoder reads. Training and evaluation."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from data_shards.augment import crop_box, eval_image, finish, sample_rng, train_image
from data_shards.batch import Batch, Made, Undecodable, stack
from data_shards.decode import UndecodableError, decode, decode_region
from data_shards.errors import DataError
from data_shards.order import Ints, Ordered, Rows
from data_shards.reader import Sample
from data_shards.view import View


class Reads(Protocol):
    """Whatever reads the shards of an order."""

    def read(self, shard: int, row: int) -> Sample:
        """An encoded image and its label."""
        ...

    def key(self, shard: int, row: int) -> str:
        """Its key in the tar."""
        ...

    def name(self, shard: int) -> str:
        """The shard's name."""
        ...


@dataclass(frozen=True)
class TrainingSlots:
    """Batches of training slots, by `order`."""

    reader: Reads
    order: Ordered
    view: View

    def __getitem__(self, slots: Ints) -> Batch | DataError:
        """The batch of these slots, or what is wrong with the data."""
        try:
            places = (slots, *self.order.locate(slots))
            return stack(slots, [self._sample(*map(int, place)) for place in zip(*places, strict=True)])
        except DataError as error:
            return error

    def _sample(self, n: int, shard: int, row: int) -> Made:
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
            return Made(image, sample.label, (shard, row), bad)
        name = self.reader.name(shard)
        raise DataError(f"none of the {samples} images of shard '{name}' can be decoded. Pack it again")


@dataclass(frozen=True)
class EvaluationSlots:
    """Batches of a split by the numbers of its samples."""

    reader: Reads
    rows: Rows
    view: View

    def __getitem__(self, indices: Ints) -> Batch | DataError:
        """The batch of these samples, or what is wrong with the data."""
        try:
            places = (indices, *self.rows.locate(indices))
            return stack(indices, [self._sample(*map(int, place)) for place in zip(*places, strict=True)])
        except DataError as error:
            return error

    def _sample(self, index: int, shard: int, row: int) -> Made:
        """What no decoder reads is black: it keeps its label and counts once."""
        sample = self.reader.read(shard, row)
        try:
            return Made(eval_image(decode(bytes(sample.image)), self.view), sample.label, (shard, row), None)
        except UndecodableError as error:
            side = self.view.image_size
            bad = _undecodable(self.reader, index, shard, row, sample.label, error)
            return Made(torch.zeros(3, side, side, dtype=torch.uint8), sample.label, (shard, row), bad)


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
