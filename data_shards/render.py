"""Draws one synthetic photograph: an object of some kind, among clutter, under uneven light.

What varies and means nothing: place, size, rotation, exact hue, brightness, background, clutter, light, sharpness,
noise. Shapes are signed distances (negative inside), in the object's own frame where it reaches from -1 to 1.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from data_shards.factors import COLOURS, SHAPES, TEXTURES, Kind

Plane = npt.NDArray[np.float32]
"""[height, width], or [height, width, 3] in 0..1."""

REACH = 1.4
"""No shape, stretched and turned, reaches further than this from its centre (the square: 0.75 * 2**0.5 * 1.25)."""

CLUTTER = (2, 5)
"""Foreign objects per picture, from and up to; each is up to about half as large as the object."""


def photograph(kind: Kind, size: int, rng: np.random.Generator) -> Image.Image:
    """An RGB picture of `kind`: short edge near `size`, aspect ratio as cameras have them."""
    width, height = _frame(size, rng)
    x, y = _grid(width, height)
    canvas = _background(width, height, rng)
    for _ in range(int(rng.integers(*CLUTTER, endpoint=True))):
        other = Kind(
            shape=int(rng.integers(len(SHAPES))),
            texture=int(rng.integers(len(TEXTURES))),
            colour=int(rng.integers(len(COLOURS))),
        )
        span = max(width, height) / min(width, height)
        _draw(canvas, other, x, y, rng.uniform(-span, span, 2), rng.uniform(0.16, 0.34), rng)
    _draw(canvas, kind, x, y, rng.uniform(-0.45, 0.45, 2), rng.uniform(0.38, 0.75), rng)
    return _develop(canvas, x, y, rng)


def _frame(size: int, rng: np.random.Generator) -> tuple[int, int]:
    short = size * rng.uniform(0.9, 1.15)
    ratio = (1.0, 4 / 3, 3 / 2)[int(rng.integers(3))]
    edges = (round(short * ratio), round(short))
    return edges if rng.random() < 0.7 else edges[::-1]


def _grid(width: int, height: int) -> tuple[Plane, Plane]:
    """Coordinates of the pixels: the short edge reaches from -1 to 1."""
    half = min(width, height) / 2
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / half
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / half
    return x[None, :], y[:, None]


def _background(width: int, height: int, rng: np.random.Generator) -> Plane:
    """Two soft clouds between two muted colours, sometimes with bars across."""
    clouds = _cloud(width, height, 4, rng) * 0.7 + _cloud(width, height, 12, rng) * 0.3
    colours = rng.uniform(0.15, 0.85, (2, 1)) + rng.uniform(-0.15, 0.15, (2, 3))
    first, second = colours.astype(np.float32)
    if rng.random() < 0.4:
        x, y = _grid(width, height)
        angle = rng.uniform(0, np.pi)
        across = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        clouds = clouds + np.float32(0.25) * np.sign(np.sin(across * rng.uniform(4, 14)))
    mix = np.clip(clouds, 0, 1)[..., None]
    canvas: Plane = first + (second - first) * mix
    return canvas


def _cloud(width: int, height: int, cells: int, rng: np.random.Generator) -> Plane:
    """Smooth noise in 0..1: `cells` x `cells` random numbers, enlarged."""
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _draw(
    canvas: Plane, kind: Kind, x: Plane, y: Plane, place: Any, scale: float, rng: np.random.Generator
) -> None:
    """Paint an object of `kind` over the canvas, with a soft edge and a shadow below."""
    box = _span(y[:, 0], place[1], REACH * scale), _span(x[0], place[0], REACH * scale)
    dx, dy = (x[:, box[1]] - np.float32(place[0])) / scale, (y[box[0]] - np.float32(place[1])) / scale
    angle, stretch = rng.uniform(-1.0, 1.0), rng.uniform(0.8, 1.25)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (dx * cos + dy * sin) * np.float32(stretch), (dy * cos - dx * sin) * np.float32(1 / stretch)
    pixel = 2 / (min(canvas.shape[:2]) * scale)
    mask = np.clip(0.5 - _distance(SHAPES[kind.shape], u, v) / np.float32(pixel), 0, 1)
    ink, paper = _pigments(kind.colour, rng)
    paint = ink + (paper - ink) * _texture(TEXTURES[kind.texture], u, v, rng)[..., None]
    under = canvas[box]
    under *= 1 - np.float32(0.35) * _shifted(mask, 1 + round(0.1 / pixel))[..., None]
    under += (paint - under) * mask[..., None]


def _span(axis: Plane, centre: float, reach: float) -> slice:
    """The pixels of an axis that are no further than `reach` from `centre`."""
    first, last = np.searchsorted(axis, (centre - reach, centre + reach))
    return slice(int(first), int(last))


def _shifted(mask: Plane, by: int) -> Plane:
    """The mask, `by` pixels further down."""
    moved = np.zeros_like(mask)
    moved[by:] = mask[:-by]
    return moved


def _distance(shape: str, u: Plane, v: Plane) -> Plane:
    """How far (u, v) is outside of the shape, roughly."""
    radius = np.hypot(u, v)
    away: dict[str, Any] = {
        "disc": lambda: radius - 0.85,
        "square": lambda: np.maximum(abs(u), abs(v)) - 0.75,
        "triangle": lambda: np.maximum(abs(u) * 0.87 - v * 0.5, v) - 0.5,
        "ring": lambda: abs(radius - 0.67) - 0.25,
        "cross": lambda: np.maximum(np.minimum(abs(u), abs(v)) - 0.28, np.maximum(abs(u), abs(v)) - 0.92),
        "star": lambda: radius - 0.68 - 0.3 * np.cos(5 * np.arctan2(u, -v)),
        "bar": lambda: np.maximum(abs(u) - 1.0, abs(v) - 0.38),
        "crescent": lambda: np.maximum(radius - 0.95, 0.72 - np.hypot(u - 0.5, v)),
    }
    distance: Plane = away[shape]()
    return distance


def _texture(texture: str, u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    """How much of the paper shows through the ink, 0..1."""
    pitch, phase = rng.uniform(7, 10), rng.uniform(0, 2 * np.pi)
    waves: dict[str, Any] = {
        "plain": lambda: np.zeros_like(u),
        "stripes": lambda: np.sin(u * pitch + phase) > 0,
        "checks": lambda: np.sin(u * pitch * 0.8 + phase) * np.sin(v * pitch * 0.8 + phase) > 0,
        "dots": lambda: np.cos(u * pitch + phase) + np.cos(v * pitch + phase) > 0.9,
        "waves": lambda: np.sin(np.hypot(u, v) * pitch * 1.3 + phase) > 0,
        "grain": lambda: rng.random(u.shape) > 0.55,
    }
    texture_plane: Plane = np.asarray(waves[texture](), np.float32)
    return texture_plane


def _pigments(colour: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Ink and paper: the family's hue within 22 degrees, strong; and nearly the same hue, pale or dark."""
    hue = (colour / len(COLOURS) + rng.uniform(-0.06, 0.06)) % 1
    ink = _rgb(hue, rng.uniform(0.45, 0.95), rng.uniform(0.45, 0.95))
    pale = rng.random() < 0.5
    paper = _rgb(hue, 0.2 if pale else 0.8, 0.95 if pale else 0.25)
    return ink.astype(np.float32), paper.astype(np.float32)


def _rgb(hue: float, saturation: float, value: float) -> Any:
    """HSV to RGB, [3] in 0..1."""
    sector = (np.array([5, 3, 1]) + hue * 6) % 6
    return value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1)


def _develop(canvas: Plane, x: Plane, y: Plane, rng: np.random.Generator) -> Image.Image:
    """Light that falls off to one side, a colour cast, blur as of a cheap lens, and the sensor's noise."""
    slope = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
    light = rng.uniform(0.75, 1.15) * (1 + slope[0] * x + slope[1] * y)
    cast = rng.uniform(0.8, 1.2, 3)
    exposed = canvas * (light[..., None] * cast).astype(np.float32)
    exposed += rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.1))
    image = Image.fromarray((np.clip(exposed, 0, 1) * 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.1) * min(image.size) / 64))
