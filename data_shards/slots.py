"""What slots become: read, decoded, cropped, and a rule for what no decoder reads. Training and evaluation."""

from dataclasses import dataclass
from typing import Protocol

import torch

from data_shards.augment import eval_image, sample_rng
from data_shards.batch import Batch, Made, Undecodable, batch, room
from data_shards.crops import Crop, cut, make
from data_shards.decode import UndecodableError, decode
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
    """Batches of training slots, by `order`.

    `repeats`: how many crops of each slot a batch has. `sizes`: (slot, image size), ascending; the slots before the
    slot have that size instead of the view's. Both are functions of the slot, so a resume needs nothing more.
    """

    reader: Reads
    order: Ordered
    view: View
    repeats: int = 1
    sizes: tuple[tuple[int, int], ...] = ()

    def __getitem__(self, slots: Ints) -> Batch | DataError:
        """The batch of these slots, or what is wrong with the data."""
        view = view_at(self.view, self.sizes, int(slots[0]))
        images = room(self.repeats * len(slots), view.image_size)
        try:
            shards, rows = self.order.locate(slots)
            once = list(zip(slots.tolist(), shards.tolist(), rows.tolist(), strict=True))
            places = [(*place, repeat) for repeat in range(self.repeats) for place in once]
            crops = [self._cut(view, *place) for place in places]
            made = [self._sample(view, *sample) for sample in zip(places, crops, images, strict=True)]
        except DataError as error:
            return error
        return batch(images, slots, made)

    def _cut(self, view: View, n: int, shard: int, row: int, repeat: int) -> Crop:
        return cut(self.reader.read(shard, row), view, sample_rng(self.order.seed, n, repeat))

    def _sample(self, view: View, place: tuple[int, int, int, int], crop: Crop, image: torch.Tensor) -> Made:
        """Global sample n, whose crop was cut already; its pixels go into `image`.

        An image that no decoder reads is replaced by the next readable one of its shard, cyclically: a fixed
        function of its place, so every number of ranks trains on the same.
        """
        n, shard, row, repeat = place
        samples, bad = self.order.counts[shard], None
        for step in range(1, samples + 1):
            try:
                make(crop, view, image)
            except UndecodableError as error:
                bad = bad or _undecodable(self.reader, n, shard, row, crop.sample.label, error)
                crop = self._cut(view, n, shard, (row + step) % samples, repeat)
                continue
            return Made(crop.sample.label, (shard, row), bad)
        name = self.reader.name(shard)
        raise DataError(f"none of the {samples} images of shard '{name}' can be decoded. Pack it again")


def view_at(view: View, sizes: tuple[tuple[int, int], ...], n: int) -> View:
    """The view of slot n: see TrainingSlots."""
    size = next((size for slot, size in sizes if n < slot), view.image_size)
    return view.model_copy(update={"image_size": size})


@dataclass(frozen=True)
class EvaluationSlots:
    """Batches of a split by the numbers of its samples."""

    reader: Reads
    rows: Rows
    view: View

    def __getitem__(self, indices: Ints) -> Batch | DataError:
        """The batch of these samples, or what is wrong with the data."""
        images = room(len(indices), self.view.image_size)
        try:
            shards, rows = self.rows.locate(indices)
            places = zip(indices.tolist(), shards.tolist(), rows.tolist(), images, strict=True)
            made = [self._sample(*place) for place in places]
        except DataError as error:
            return error
        return batch(images, indices, made)

    def _sample(self, index: int, shard: int, row: int, image: torch.Tensor) -> Made:
        """What no decoder reads is black: it keeps its label and counts once."""
        sample, bad = self.reader.read(shard, row), None
        try:
            image.copy_(eval_image(decode(bytearray(sample.image)), self.view))
        except UndecodableError as error:
            image.zero_()
            bad = _undecodable(self.reader, index, shard, row, sample.label, error)
        return Made(sample.label, (shard, row), bad)


def _undecodable(
    reader: Reads, slot: int, shard: int, row: int, label: int, why: UndecodableError
) -> Undecodable:
    return Undecodable(slot, shard, row, reader.key(shard, row), label, str(why))
