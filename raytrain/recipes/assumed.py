"""The data a recipe was made for, in numbers: what `raytrain plan` assumes when it is given no --data."""

from data_shards.shardset import Packing, Shard, ShardSet, Split
from raytrain.recipe import MadeFor

SHAPES: dict[MadeFor, tuple[int, int, int, str]] = {
    # classes, training images, held-out images, where the numbers come from
    "imagenet-22k": (
        21841,
        14_197_122,
        50_000,
        "ImageNet-22K fall11; 50,000 held-out images assumed, none are agreed on",
    ),
    "imagenet-1k": (1000, 1_281_167, 50_000, "ImageNet-1K, ILSVRC2012"),
    "synthetic-22k": (48, 4_800, 960, "raytrain data synth --space 22k"),
    "synthetic-1k": (16, 1_600, 320, "raytrain data synth --space 1k"),
}


def assumed_data(made_for: MadeFor) -> ShardSet:
    """A manifest with numbers and no bytes."""
    classes, train, held_out, source = SHAPES[made_for]
    return ShardSet(
        name=f"assumed: {source}",
        classes=tuple(f"n{label:08d}" for label in range(classes)),
        splits={"train": _split("train", train, classes), "val": _split("val", held_out, classes)},
        packing=Packing(seed=0, samples_per_shard=1000),
    )


def _split(name: str, samples: int, classes: int) -> Split:
    shard = Shard(name=name, samples=samples, bytes=0, sha256="", index_sha256="")
    return Split(shards=(shard,), class_counts=(samples // classes,) * classes)
