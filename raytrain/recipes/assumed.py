"""The data a recipe was made for, in numbers: what `raytrain plan` assumes when it is given no --data."""

from data_shards.shardset import Packing, Shard, ShardSet, Split

SHAPES = {
    # classes, training images, held-out images, where the numbers come from
    "22k": (
        21841,
        14_197_122,
        50_000,
        "ImageNet-22K fall11; 50,000 held-out images assumed, none are agreed on",
    ),
    "1k": (1000, 1_281_167, 50_000, "ImageNet-1K, ILSVRC2012"),
    "smoke 22k": (48, 4_800, 960, "raytrain data synth --space 22k"),
    "smoke 1k": (16, 1_600, 320, "raytrain data synth --space 1k"),
}


def assumed_data(recipe: str) -> ShardSet:
    """A manifest with numbers and no bytes, by the recipe's name: a name that ends in 22k is for the wide set."""
    kind = ("smoke " if recipe.startswith("smoke") else "") + ("22k" if recipe.endswith("22k") else "1k")
    classes, train, held_out, source = SHAPES[kind]
    return ShardSet(
        name=f"assumed: {source}",
        classes=tuple(f"n{label:08d}" for label in range(classes)),
        splits={"train": _split("train", train, classes), "val": _split("val", held_out, classes)},
        packing=Packing(seed=0, samples_per_shard=1000),
    )


def _split(name: str, samples: int, classes: int) -> Split:
    shard = Shard(name=name, samples=samples, bytes=0, sha256="", index_sha256="")
    return Split(shards=(shard,), class_counts=(samples // classes,) * classes)
