"""The made-up world of the synthetic images: a class is a shape, a texture and a colour family.

Two label spaces are cut from it, as ImageNet-22k and ImageNet-1k are from WordNet: they share half of the smaller
one's classes, and the other half are new combinations of known factors. So a backbone that was pretrained on the
one has something to give to the other.
"""

from typing import Literal

import numpy as np

from data_shards.errors import DataUsageError
from data_shards.shardset import Value

Space = Literal["22k", "1k"]

SHAPES = ("disc", "square", "triangle", "ring", "cross", "star", "bar", "crescent")
TEXTURES = ("plain", "stripes", "checks", "dots", "waves", "grain")
COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
"""Hue = position / 6 of the circle."""

COMBINATIONS = len(SHAPES) * len(TEXTURES) * len(COLOURS)
LIMITS: dict[Space, int] = {"22k": 240, "1k": 96}
"""Most classes of a space: 240 + 96 / 2 is all the 288 combinations, so that the new half stays new."""


class Kind(Value):
    """A class: one value of each factor, as positions in SHAPES, TEXTURES, COLOURS."""

    shape: int
    texture: int
    colour: int

    @property
    def wnid(self) -> str:
        """Well-formed, equal exactly when the factors are, and no real one: WordNet's nouns end at n15300051."""
        return f"n9{self.shape:02d}{self.texture:02d}{self.colour:02d}0"

    @property
    def name(self) -> str:
        """For people: "red striped disc" and the like."""
        return f"{COLOURS[self.colour]} {TEXTURES[self.texture]} {SHAPES[self.shape]}"


def kinds(space: Space, classes: int) -> tuple[Kind, ...]:
    """The first `classes` kinds of a space. DataUsageError outside 2 to LIMITS[space]."""
    if not 2 <= classes <= LIMITS[space]:
        raise DataUsageError(f"--classes {classes}: the {space} space has 2 to {LIMITS[space]} classes")
    # one fixed shuffle of all combinations; by raw words, whose stream numpy promises to keep (NEP 19)
    order = np.argsort(np.random.Philox(key=22).random_raw(COMBINATIONS), kind="stable").tolist()
    shared = classes if space == "22k" else (classes + 1) // 2
    return tuple(_kind(number) for number in order[:shared] + order[COMBINATIONS - (classes - shared) :])


def _kind(number: int) -> Kind:
    rest, colour = divmod(number, len(COLOURS))
    shape, texture = divmod(rest, len(TEXTURES))
    return Kind(shape=shape, texture=texture, colour=colour)
