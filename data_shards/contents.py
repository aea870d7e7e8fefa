"""What a split holds, told from its indexes alone: classes by shard, and images that another split has too."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_shards.reader import indexes
from data_shards.shardset import Split

Images = npt.NDArray[np.uint64]


def classes_by_shard(url: str, split: Split, most: int) -> list[list[int]]:
    """Images of each class [shards][classes], of at most so many shards, evenly chosen."""
    every = -(-len(split.shards) // most)
    chosen = split.model_copy(update={"shards": split.shards[::every]})
    classes = len(split.class_counts)
    return [np.bincount(index["label"], minlength=classes).tolist() for index in indexes(url, chosen)]


def shared_images(url: str, held_out: Split, others: Sequence[Split]) -> int:
    """How many images of a split are in one of the others too, byte for byte: by size and crc32 of every file.

    Another file of the same picture is not found. Of 50,000 images and 14 million, two that differ agree in both with
    a chance of about 1 in 500, where sizes are spread over 100 kB.
    """
    known = np.concatenate([images_of(url, split) for split in others])
    return int(np.isin(images_of(url, held_out), known).sum())


def images_of(url: str, split: Split) -> Images:
    """A number per image that tells it from others: its size, then its crc32."""
    parts = [
        index["size"].astype(np.uint64) << np.uint64(32) | index["crc32"].astype(np.uint64)
        for index in indexes(url, split)
    ]
    return np.concatenate([*parts, np.zeros(0, np.uint64)])
