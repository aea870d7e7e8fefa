"""RandAugment, TrivialAugment and colour jitter of crops, on Pillow images: twice as fast there as on tensors.

Every function draws from the `rng` it is given, and only by `Generator.random`.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from data_shards.view import View

Op = Callable[[Image.Image, float], Image.Image]
"""A change of a picture by a strength in [-1, 1]. Where a sign has no meaning, it is ignored."""

LAYERS, CHANCE, DEVIATION = 2, 0.5, 0.5
"""RandAugment as timm's `rand-m9-mstd0.5-inc1`: operations per image, the chance of each, the magnitude's deviation
(timm 1.0.31, timm/data/auto_augment.py)."""

FULL = 10
"""The magnitude of strength 1 (timm's _LEVEL_DENOM)."""

STEPS = 30
"""TrivialAugment's strengths are 0/30, 1/30 ... 30/30 (torchvision, TrivialAugmentWide)."""

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's mean, which timm fills with what a moved picture leaves empty. TrivialAugment fills with black."""


def changes(view: View) -> bool:
    """Whether the view asks for any of it."""
    return view.auto_augment != "none" or view.color_jitter > 0


def augmented(image: torch.Tensor, view: View, rng: np.random.Generator) -> torch.Tensor:
    """uint8 [3, S, S] -> uint8 [3, S, S]: what the view asks for."""
    if view.auto_augment == "rand":
        change = partial(rand_augment, magnitude=view.magnitude, rng=rng)
    elif view.auto_augment == "trivial":
        change = partial(trivial_augment, rng=rng)
    elif view.color_jitter:
        change = partial(color_jitter, strength=view.color_jitter, rng=rng)
    else:
        return image
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    return torch.from_numpy(np.array(change(picture))).permute(2, 0, 1)


def rand_augment(image: Image.Image, magnitude: float, rng: np.random.Generator) -> Image.Image:
    """LAYERS operations out of RAND, each with CHANCE, of strength about magnitude / FULL."""
    for _ in range(LAYERS):
        op = RAND[int(rng.random() * len(RAND))]
        applied = rng.random() < CHANCE
        strength = (magnitude + DEVIATION * _normal(rng)) / FULL
        signed = math.copysign(min(max(strength, 0.0), 1.0), rng.random() - 0.5)
        if applied:
            image = op(image, signed)
    return image


def trivial_augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One operation out of TRIVIAL, of any strength."""
    op = TRIVIAL[int(rng.random() * len(TRIVIAL))]
    strength = int(rng.random() * (STEPS + 1)) / STEPS
    return op(image, math.copysign(strength, rng.random() - 0.5))


def color_jitter(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation in any order, each times a factor within `strength` of 1."""
    kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    while kinds:
        kind = kinds.pop(int(rng.random() * len(kinds)))
        image = kind(image).enhance(1 + strength * (2 * rng.random() - 1))
    return image


def _normal(rng: np.random.Generator) -> float:
    """A normal draw by Box and Muller: `Generator.normal` promises no stream."""
    return math.sqrt(-2 * math.log(1 - rng.random())) * math.cos(2 * math.pi * rng.random())


def _plain(change: Callable[[Image.Image], Image.Image]) -> Op:
    return lambda image, _: change(image)


def _rotate(
    image: Image.Image, by: float, *, most: float, fill: tuple[int, ...], how: Image.Resampling
) -> Image.Image:
    return image.rotate(most * by, how, fillcolor=fill)


def _shear(
    image: Image.Image, by: float, *, down: bool, most: float, fill: tuple[int, ...], how: Image.Resampling
) -> Image.Image:
    matrix = (1, 0, 0, most * by, 1, 0) if down else (1, most * by, 0, 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, how, fillcolor=fill)


def _translate(
    image: Image.Image, by: float, *, down: bool, part: float, fill: tuple[int, ...], how: Image.Resampling
) -> Image.Image:
    """By `part` of the side; or, above 1, by so many pixels."""
    pixels = by * part * image.size[down] if part < 1 else int(by * part)
    matrix = (1, 0, 0, 0, 1, pixels) if down else (1, 0, pixels, 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, how, fillcolor=fill)


def _posterize(
    image: Image.Image, by: float, *, bits: int, fewer: int, rounded: Callable[[float], int]
) -> Image.Image:
    """At least one bit is kept: at full strength timm asks for none, which Pillow 13 refuses."""
    return ImageOps.posterize(image, max(1, bits - rounded(fewer * abs(by))))


def _solarize(image: Image.Image, by: float, *, top: int) -> Image.Image:
    return ImageOps.solarize(image, top - int(top * abs(by)))


def _solarize_add(image: Image.Image, by: float) -> Image.Image:
    """The dark half is made brighter."""
    more = int(110 * abs(by))
    return image.point([min(255, level + more) if level < 128 else level for level in range(256)] * 3)


def _enhance(
    image: Image.Image, by: float, *, kind: Callable[[Image.Image], ImageEnhance._Enhance], most: float
) -> Image.Image:
    return kind(image).enhance(1 + most * by)


def _enhancements(most: float) -> list[Op]:
    kinds = (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness, ImageEnhance.Sharpness)
    return [partial(_enhance, kind=kind, most=most) for kind in kinds]


def _moves(
    *, turn: float, shear: float, shift: float, fill: tuple[int, ...], how: Image.Resampling
) -> list[Op]:
    moves: list[Op] = [partial(_rotate, most=turn, fill=fill, how=how)]
    for down in (False, True):
        moves.append(partial(_shear, down=down, most=shear, fill=fill, how=how))
        moves.append(partial(_translate, down=down, part=shift, fill=fill, how=how))
    return moves


RAND: tuple[Op, ...] = (
    _plain(ImageOps.autocontrast),
    _plain(ImageOps.equalize),
    _plain(ImageOps.invert),
    partial(_posterize, bits=4, fewer=4, rounded=int),
    partial(_solarize, top=256),
    _solarize_add,
    *_enhancements(0.9),
    *_moves(turn=30, shear=0.3, shift=0.45, fill=MEAN_COLOUR, how=Image.Resampling.BICUBIC),
)
"""timm's _RAND_INCREASING_TRANSFORMS, with the recipe's bicubic interpolation."""

TRIVIAL: tuple[Op, ...] = (
    _plain(lambda image: image),
    _plain(ImageOps.autocontrast),
    _plain(ImageOps.equalize),
    partial(_posterize, bits=8, fewer=6, rounded=round),
    partial(_solarize, top=255),
    *_enhancements(0.99),
    *_moves(turn=135, shear=0.99, shift=32, fill=(0, 0, 0), how=Image.Resampling.NEAREST),
)
"""torchvision's TrivialAugmentWide (Mueller and Hutter 2021, arXiv 2103.10158)."""
