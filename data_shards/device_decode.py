"""Training crops decoded on an accelerator: loader processes cut JPEGs, the trainer decodes a batch in one call.

Optional (`train_batches(decode_on=...)`), for CUDA, by torchvision's nvJPEG. **It has not run on a GPU yet**: it is
tested with `decode_on=torch.device("cpu")`, where the same call is torchvision's CPU decoder.

A loader process reads and checks a sample, draws its box, and cuts the picture to the segments that the box touches;
encoded bytes leave it. What nvJPEG is not trusted with (CMYK, grey, PNG, arithmetic codes, huge or damaged headers) is
decoded there, as ever. Where the one call fails, the trainer makes that batch as without an accelerator, so the same
samples are found undecodable and replaced; whether nvJPEG notices a body that is cut short is not known.
"""

import io
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from data_shards.augment import crop_box, sample_rng
from data_shards.auto_augment import changes
from data_shards.batch import Batch, Undecodable
from data_shards.decode import MAX_PIXELS
from data_shards.errors import DataError, DataUsageError
from data_shards.order import Ints
from data_shards.reader import Sample
from data_shards.slots import TrainingSlots
from data_shards.splice import Box, read_frame, splice
from data_shards.view import View

COLOURS = 3
"""Components of a JPEG that the accelerator gets."""


class Crop(NamedTuple):
    """A box of a JPEG of `size` bytes, and whether it is mirrored."""

    size: int
    box: Box
    flip: bool


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A micro-batch on its way.

    batch  all but the images: it has only those that the CPU made
    crops  for each slot what to cut out of the next JPEG, or None where `batch` has the image
    jpegs  uint8, one after the other: a tensor is handed over by a file, and one per picture would be too many
    """

    batch: Batch
    crops: list[Crop | None]
    jpegs: torch.Tensor


@dataclass(frozen=True)
class CodedSlots:
    """A source of `Coded`."""

    slots: TrainingSlots

    def __getitem__(self, slots: Ints) -> Coded | DataError:
        """The encoded batch, or what is wrong with the data."""
        side = self.slots.view.image_size
        jpegs, crops, labels = bytearray(), list[Crop | None](), list[int]()
        images, undecodable = [torch.zeros(0, 3, side, side, dtype=torch.uint8)], list[Undecodable]()
        try:
            shards, rows = self.slots.order.locate(slots)
            for n, shard, row in zip(slots.tolist(), shards.tolist(), rows.tolist(), strict=True):
                sample = self.slots.reader.read(shard, row)
                jpeg, crop = _cut(sample, self.slots.view, sample_rng(self.slots.order.seed, n))
                jpegs += jpeg
                crops.append(crop)
                if crop is not None:
                    labels.append(sample.label)
                    continue
                one = _whole(self.slots, np.array([n]))
                images.append(one.images)
                labels += one.labels.tolist()
                undecodable += one.undecodable
        except DataError as error:
            return error
        batch = Batch(
            images=torch.cat(images),
            labels=torch.tensor(labels),
            slots=torch.from_numpy(slots),
            places=torch.from_numpy(np.stack([shards, rows], 1)),
            undecodable=tuple(undecodable),
        )
        return Coded(batch=batch, crops=crops, jpegs=torch.from_numpy(np.frombuffer(jpegs, np.uint8)))


def _cut(
    sample: Sample, view: View, rng: np.random.Generator
) -> tuple[bytes | bytearray | memoryview, Crop | None]:
    """The part of the JPEG that a training crop needs, or nothing of what the accelerator does not get."""
    image, lengths, frame = sample.image, sample.lengths, read_frame(sample.image)
    if (
        frame is None
        or image[frame.size_at + 4] != COLOURS
        or not 0 < frame.width * frame.height <= MAX_PIXELS
    ):
        return b"", None
    box, flip = crop_box(frame.width, frame.height, view, rng)
    jpeg, box = splice(image, lengths, box) if len(lengths) else (image, box)
    return jpeg, Crop(len(jpeg), box, flip)


def _whole(slots: TrainingSlots, which: Ints) -> Batch:
    """The batch as the CPU makes it. Raises the DataError that it would return."""
    batch = slots[which]
    if isinstance(batch, DataError):
        raise batch
    return batch


def check(view: View, device: torch.device) -> None:
    """DataUsageError where `device` decodes no JPEGs, or the view changes crops in a way that only the CPU does."""
    if changes(view):
        asked = f"auto_augment {view.auto_augment} and color_jitter {view.color_jitter}"
        raise DataUsageError(f"decode_on {device}: {asked} are done on the CPU. Leave decode_on or them out")
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    try:
        torch.empty(0, device=device)  # torch says in one line what is not there
        decode([torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)], device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise DataUsageError(
            f"decode_on {device}: it decodes no JPEG here ({error}). Leave decode_on out"
        ) from None


def decoded(batches: Generator[Coded], slots: TrainingSlots, device: torch.device) -> Generator[Batch]:
    """The batches with their images on `device`, in the same order. `slots` makes those that it cannot decode."""
    with closing(batches):
        for coded in batches:
            sizes = [crop.size for crop in coded.crops if crop is not None]
            try:
                pictures = decode(list(torch.split(coded.jpegs, sizes)), device)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                whole = _whole(slots, coded.batch.slots.numpy())
                yield replace(whole, images=whole.images.to(device))
                continue
            yield _finished(coded, pictures, slots.view, device)


def decode(jpegs: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Pictures uint8 [3, H, W] on `device`, in one call. RuntimeError if any of them cannot be decoded."""
    from torchvision.io import ImageReadMode, decode_jpeg

    pictures: list[torch.Tensor] = decode_jpeg(jpegs, mode=ImageReadMode.RGB, device=device) if jpegs else []
    return pictures


def _finished(coded: Coded, pictures: list[torch.Tensor], view: View, device: torch.device) -> Batch:
    """The batch, its images on `device` in their order."""
    waiting, ready = iter(pictures), iter(coded.batch.images.to(device))
    images = [next(ready) if crop is None else _resized(next(waiting), crop, view) for crop in coded.crops]
    return replace(coded.batch, images=torch.stack(images).contiguous(memory_format=torch.channels_last))


def _resized(picture: torch.Tensor, crop: Crop, view: View) -> torch.Tensor:
    """uint8 [3, H, W] -> uint8 [3, S, S]. In float32: torch resizes no uint8 with antialiasing on CUDA."""
    (top, left, height, width), side = crop.box, view.image_size
    cut = picture[:, top : top + height, left : left + width].float()[None]
    resized = F.interpolate(cut, (side, side), mode=view.interpolation, antialias=True, align_corners=False)[
        0
    ]
    return (resized.flip(-1) if crop.flip else resized).round_().clamp_(0, 255).to(torch.uint8)
