"""The budget for images that no decoder reads: one rule at packing, indexing, verifying and training.

It is a share of what a split has, not of what was seen so far, and each class has a share of its own: a few files of
dirt are in every large source, and a class that lost a tenth of its images is another class.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from data_shards.errors import DataUsageError

MAX_BAD = 1e-4
"""Undecodable images that are put up with, as a share of a split; always at least one."""

CLASS_FACTOR, CLASS_LEAST = 100, 3
"""A class may lose this many times the share of its own images (1 % by default), and always this many images: of
22K's 3,000 classes below 200 images, one would reach two by chance in one run of seven at half the default share."""


class Excess(NamedTuple):
    """More bad images than allowed, of `images`: of a class, or (`wnid` is "") of all classes of a split together."""

    split: str
    wnid: str
    bad: int
    limit: int
    images: int

    def __str__(self) -> str:
        if self.wnid:
            return (
                f"{self.bad:,} images of class {self.wnid} cannot be decoded; the limit is {self.limit:,} of its "
                f"{self.images:,}"
            )
        return (
            f"{self.bad:,} images of split '{self.split}' cannot be decoded; the limit is {self.limit:,} of "
            f"{self.images:,}"
        )


def check_share(max_bad: float) -> None:
    """DataUsageError if `max_bad` is no share."""
    if not 0 <= max_bad <= 1:  # so that NaN is refused too
        raise DataUsageError(f"--max-bad {max_bad}: it is a share of all images, from 0 to 1")


def excess(split: str, bad: Iterable[str], images: Mapping[str, int], max_bad: float) -> Excess | None:
    """What a split has too much of, if anything. `bad` has each bad image's class, `images` counts all by class."""
    counts = Counter(bad)
    total = sum(images.values())
    limit = max(1, int(max_bad * total))
    if counts.total() > limit:
        return Excess(split, "", counts.total(), limit, total)
    for wnid, count in counts.most_common():
        most = max(CLASS_LEAST, int(CLASS_FACTOR * max_bad * images[wnid]))
        if count > most:
            return Excess(split, wnid, count, most, images[wnid])
    return None
