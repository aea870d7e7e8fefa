"""Training: what a run is trained on. The split of one shard set, or of several mixed by weight, as one.

Shards are numbered on over the sets, and labels are those of one class list. Of a mix every shard and key is told with
its set before it, SET/SHARD and SET/KEY: two sets may well use the same names.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import ceil

from data_shards.shardset import ShardSet, Split, Value


class Part(Value):
    """A split of a set, or the first of its shards, about a `fraction` of them.

    `weight` over the sum of all weights is its share of the samples drawn.
    """

    name: str
    url: str
    shardset: ShardSet
    split: str
    weight: Fraction = Fraction(1)
    fraction: float = 1.0

    @property
    def chosen(self) -> Split:
        """The split itself; DataError where the set has none of that name."""
        return first_shards(self.shardset.split(self.split), self.fraction)


class Training(Value):
    """One part, or several mixed."""

    parts: tuple[Part, ...]

    @property
    def split(self) -> str:
        """The split's name; of a mix all of them, each with its set."""
        return (
            " + ".join(f"{part.name}/{part.split}" for part in self.parts)
            if self.mixed
            else self.parts[0].split
        )

    @property
    def mixed(self) -> bool:
        """Whether there are several."""
        return len(self.parts) > 1

    @cached_property
    def _merged(self) -> tuple[tuple[str, ...], list[list[int]]]:
        return merge_classes([part.shardset.classes for part in self.parts])

    @property
    def classes(self) -> tuple[str, ...]:
        """The WNID of every label: the first part's as they are, then what the others have besides."""
        return self._merged[0]

    @property
    def labels(self) -> list[list[int]]:
        """`labels[i][label]` is the label here of a label of part i."""
        return self._merged[1]

    @property
    def samples(self) -> int:
        """Samples of all parts together."""
        return sum(part.chosen.samples for part in self.parts)

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """Samples of every label."""
        counts = [0] * len(self.classes)
        for part, labels in zip(self.parts, self.labels, strict=True):
            for label, images in zip(labels, part.chosen.class_counts, strict=True):
                counts[label] += images
        return tuple(counts)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(part.chosen.shards) for part in self.parts))

    def place(self, shard: int) -> tuple[int, int]:
        """(part, its shard in it) of a shard numbered over all parts."""
        number = bisect_right(self._ends, shard)
        return number, shard - (self._ends[number - 1] if number else 0)

    def prefix(self, shard: int) -> str:
        """What is told before the shard's name and its samples' keys: SET/, or nothing of a set alone."""
        return f"{self.parts[self.place(shard)[0]].name}/" if self.mixed else ""

    def shard_name(self, shard: int) -> str:
        """The shard's name."""
        number, own = self.place(shard)
        return self.prefix(shard) + self.parts[number].chosen.shards[own].name


def alone(url: str, shardset: ShardSet, split: str, fraction: float = 1.0) -> Training:
    """A split of one set, or about a `fraction` of it. DataError where the set has none of that name."""
    shardset.split(split)
    part = Part(name=shardset.name, url=url, shardset=shardset, split=split, fraction=fraction)
    return Training(parts=(part,))


def first_shards(split: Split, fraction: float) -> Split:
    """The first of its shards, the whole number that is nearest to `fraction` of them, at least one.

    How many images of each class they have is estimated, rounded up: packing deals the classes out by chance.
    """
    if fraction == 1:
        return split
    shards = split.shards[: max(1, round(fraction * len(split.shards)))]
    kept = Fraction(sum(shard.samples for shard in shards), max(1, split.samples))
    return Split(shards=shards, class_counts=tuple(ceil(images * kept) for images in split.class_counts))


def merge_classes(lists: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[list[int]]]:
    """One class list for several, by WNID, and per list its labels in it.

    The first list comes first and whole, so its labels stay as they are; then what the others have besides.
    """
    merged = tuple(dict.fromkeys(wnid for classes in lists for wnid in classes))
    label = {wnid: number for number, wnid in enumerate(merged)}
    return merged, [[label[wnid] for wnid in classes] for classes in lists]
