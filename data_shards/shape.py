"""How widely an order mixes. Apart from the order itself, which needs numpy: a plan asks for this alone."""

from collections.abc import Sequence
from typing import NamedTuple


class Shape(NamedTuple):
    """How widely an order mixes: `streams` (K) and the samples of a block (B)."""

    streams: int
    block: int


def default_shape(counts: Sequence[int]) -> Shape:
    """K and B from the split's size.

    | samples | K | B | mixed at a time |
    |---|---|---|---|
    | up to 2**17 | 1 | all | everything: a full permutation, 0.5 MB |
    | up to 2**22 (ImageNet-1K: 1.28 M) | 64 | 8 shards | 0.5 M samples, 57 GB |
    | more (ImageNet-22K: 14.2 M) | 256 | 4 shards | 1 M samples, 115 GB |

    Gigabytes are at 112 KB per image and 1,000 images per shard, over the whole cluster. Measured on the
    worst case, 1,281 shards sorted by class: distinct classes in a batch of 1,024 are 642 for a full
    permutation, 498 for K=64 with 8 shards, 358 with 4. Packing shuffles classes once: real sets do better.
    """
    samples = sum(counts)
    if samples <= 2**17:
        return Shape(1, samples)
    shard = -(-samples // len(counts))
    return Shape(64, 8 * shard) if samples <= 2**22 else Shape(256, 4 * shard)
