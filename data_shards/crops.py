"""Training crops in two steps: what a crop needs of a file, in encoded form, and then its pixels.

A batch takes the first step for all of its samples before the second: the first is Python, and between two pictures
that are decoded its code would have left the processor's cache. Measured: 8 % of all of loading.
"""

from typing import NamedTuple

import numpy as np
import torch

from data_shards.augment import crop_box, finish, train_image
from data_shards.decode import decode, decode_cut, decode_region
from data_shards.reader import Sample
from data_shards.splice import Box, splice
from data_shards.view import View


class Crop(NamedTuple):
    """A crop that is not decoded yet.

    box     its place in the picture, None where the picture has no segments: then it is drawn when decoded
    jpeg    the file, or the part of it that holds the crop
    inside  the crop's place in that part
    """

    sample: Sample
    box: Box | None
    flip: bool
    jpeg: bytearray
    inside: Box | None
    rng: np.random.Generator


def cut(sample: Sample, view: View, rng: np.random.Generator) -> Crop:
    """A sample's training crop, drawn by `rng`. Where the picture has segments, it is cut to those of the crop."""
    if not len(sample.lengths):
        return Crop(sample, None, False, bytearray(sample.image), None, rng)
    box, flip = crop_box(sample.width, sample.height, view, rng)
    return Crop(sample, box, flip, *splice(sample.image, sample.lengths, box), rng)


def make(crop: Crop, view: View, out: torch.Tensor) -> None:
    """Its pixels, into `out`, uint8 [3, S, S]. UndecodableError if no decoder reads the picture."""
    if crop.box is None or crop.inside is None:
        train_image(decode(crop.jpeg), view, crop.rng, out)
        return
    pixels = decode_cut(crop.jpeg, crop.inside)
    if pixels is None:
        pixels = decode_region(crop.sample.image, crop.sample.lengths, crop.box)
    finish(pixels, crop.flip, view, crop.rng, out)
