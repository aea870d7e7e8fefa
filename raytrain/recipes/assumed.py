"""The data a recipe was made for, in numbers: what `raytrain plan` assumes when it is given no --data."""

from functools import cache
from typing import NamedTuple

from data_shards.shardset import Packing, Shard, ShardSet, Split
from raytrain.recipe import MadeFor

PER_SHARD = 1000


class Shape(NamedTuple):
    """Classes, training and held-out images, bytes of the training images, and where the numbers come from."""

    classes: int
    train: int
    held_out: int
    bytes: int
    source: str


SHAPES: dict[MadeFor, Shape] = {
    "imagenet-22k": Shape(
        21_841,
        14_197_122,
        50_000,
        1_310_000_000_000,  # fall11_whole.tar
        "ImageNet-22K fall11, 1.31 TB; 50,000 held-out images assumed, none are agreed on",
    ),
    "imagenet-1k": Shape(1000, 1_281_167, 50_000, 138_000_000_000, "ImageNet-1K, ILSVRC2012, 138 GB"),
    "synthetic-22k": Shape(48, 4_800, 960, 20_000_000, "raytrain data synth --space 22k, 4 kB an image"),
    "synthetic-1k": Shape(16, 1_600, 320, 6_700_000, "raytrain data synth --space 1k, 4 kB an image"),
}


@cache
def assumed_data(made_for: MadeFor) -> ShardSet:
    """A manifest with numbers and no bytes."""
    shape = SHAPES[made_for]
    return ShardSet(
        name=f"assumed: {shape.source}",
        classes=tuple(f"n{label:08d}" for label in range(shape.classes)),
        splits={
            name: _split(name, samples, shape)
            for name, samples in (("train", shape.train), ("val", shape.held_out))
        },
        packing=Packing(seed=0, samples_per_shard=PER_SHARD),
    )


def _split(name: str, samples: int, shape: Shape) -> Split:
    """Shards as packing cuts them, of images of the mean size."""
    counts = [min(PER_SHARD, samples - first) for first in range(0, samples, PER_SHARD)]
    shards = tuple(
        Shard(
            name=f"{name}-{number:06d}",
            samples=count,
            bytes=count * shape.bytes // shape.train,
            sha256="",
            index_sha256="",
        )
        for number, count in enumerate(counts)
    )
    return Split(shards=shards, class_counts=(samples // shape.classes,) * shape.classes)
