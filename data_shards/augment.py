"""Pixels in, a training crop or an evaluation crop out. Pure: every random draw comes from `rng`.

`sample_rng(seed, n)` gives the draws of global sample n: a crop depends on neither rank, worker nor restart.
Only `Generator.random` is used: it is a plain shift of the bit generator's output and has never changed.
"""

import math

import numpy as np
import torch

from data_shards.auto_augment import augmented, changes
from data_shards.order import AUGMENTATION, philox
from data_shards.splice import Box
from data_shards.view import View

RATIO = (3 / 4, 4 / 3)
"""Aspect ratios of training crops (Szegedy et al. 2015, arXiv 1409.4842; torchvision's default)."""

TRIES = 10
"""Boxes tried before the fallback (torchvision/transforms/v2/_geometry.py, RandomResizedCrop)."""


def sample_rng(seed: int, n: int, repeat: int = 0) -> np.random.Generator:
    """The random draws that belong to global sample n, the `repeat`-th time it is in its batch."""
    return np.random.Generator(philox(seed, AUGMENTATION, n, repeat))


def crop_box(width: int, height: int, view: View, rng: np.random.Generator) -> tuple[Box, bool]:
    """(RandomResizedCrop's box, whether it is mirrored).

    Area in [min_area, 1], log-uniform ratio; after TRIES misses, the centre.
    """
    flip = rng.random() < view.flip
    for _ in range(TRIES):
        area = width * height * (view.min_area + (1 - view.min_area) * rng.random())
        ratio = math.exp(math.log(RATIO[0]) + math.log(RATIO[1] / RATIO[0]) * rng.random())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.random() * (height - h + 1))
            left = int(rng.random() * (width - w + 1))
            return Box(top, left, h, w), flip
    return _centre_box(width, height), flip


def _centre_box(width: int, height: int) -> Box:
    """The largest centred box whose ratio is within RATIO."""
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    return Box((height - h) // 2, (width - w) // 2, h, w)


def train_image(
    pixels: torch.Tensor, view: View, rng: np.random.Generator, out: torch.Tensor | None = None
) -> torch.Tensor:
    """uint8 [3, H, W] -> uint8 [3, S, S]: a random crop, resized, perhaps mirrored; into `out` where it is given."""
    (top, left, height, width), flip = crop_box(pixels.shape[2], pixels.shape[1], view, rng)
    return finish(pixels[:, top : top + height, left : left + width], flip, view, rng, out)


def finish(
    crop: torch.Tensor, flip: bool, view: View, rng: np.random.Generator, out: torch.Tensor | None = None
) -> torch.Tensor:
    """uint8 [3, h, w] -> uint8 [3, S, S], into `out` where it is given: what is done to a training crop's pixels."""
    side = view.image_size
    if out is None:
        out = torch.empty(side, side, 3, dtype=torch.uint8).permute(2, 0, 1)
    if not flip and not changes(view):
        return _resize(crop, side, side, view, out)
    resized = _resize(crop, side, side, view)
    return out.copy_(augmented(resized.flip(-1) if flip else resized, view, rng))


def eval_image(pixels: torch.Tensor, view: View) -> torch.Tensor:
    """uint8 [3, H, W] -> uint8 [3, S, S]: short edge to S / eval_crop, then the centre; 1.0 squashes all."""
    size = view.image_size
    if view.eval_crop == 1.0:
        return _resize(pixels, size, size, view)
    _, height, width = pixels.shape
    edge = int(size / view.eval_crop)
    short = min(height, width)
    resized = _resize(pixels, int(edge * height / short), int(edge * width / short), view)
    top, left = (round((side - size) / 2) for side in resized.shape[1:])
    return resized[:, top : top + size, left : left + size]


def _resize(
    image: torch.Tensor, height: int, width: int, view: View, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Antialiased, on uint8: 4.6 x as fast as Pillow's, and equal within 0.04 of 255 on average."""
    if out is None:
        out = torch.empty(height, width, 3, dtype=torch.uint8).permute(2, 0, 1)
    resize = {
        "bicubic": torch.ops.aten._upsample_bicubic2d_aa.out,  # F.interpolate, but for `out`
        "bilinear": torch.ops.aten._upsample_bilinear2d_aa.out,
    }[view.interpolation]
    resize(
        _alone(image.permute(1, 2, 0).contiguous()),
        [height, width],
        False,
        None,
        None,
        out=_alone(out.permute(1, 2, 0)),
    )
    return out


def _alone(image: torch.Tensor) -> torch.Tensor:
    """[h, w, 3] as [1, 3, h, w], channels last by all of its strides: torch resizes that 1.4 x as fast, to the same."""
    return image[None].permute(0, 3, 1, 2)
