"""What an epoch of training asks of S3, by the rules of the cache and the order. No numpy: plans are made with it.

A node fetches each file of a shard that it reads once (cache.py), in ranges of 8 MiB, a GET each (fetch.py). A global
batch is laid out by stream, neighbours together, and cut among the ranks (`Order.share`), so a node reads the pairs of
streams that its part of the batch overlaps. What the cache still holds from an epoch before is not asked for again,
and not taken off here.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from data_shards.fetch import RANGE
from data_shards.shape import default_shape
from data_shards.shardset import Shard, Value
from data_shards.training import Training

RECORD_BYTES = 18
"""Of an index record (index.py)."""


class Traffic(Value):
    """GETs and bytes of one epoch: of all nodes, and of one on average. `set_bytes` are those of all shards once."""

    bytes: int
    gets: int
    node_bytes: int
    node_gets: int
    set_bytes: int


def no_traffic() -> Traffic:
    """Of sets that are read where they lie."""
    return Traffic(bytes=0, gets=0, node_bytes=0, node_gets=0, set_bytes=0)


def traffic(training: Training, nodes: int, samples: int, remote: Sequence[bool]) -> Traffic:
    """Of an epoch of so many samples; `remote[i]` is whether part i lies in S3.

    Exact where streams are whole shards and divide the global batch; else shards at a stream's edge come on top.
    """
    total = sum(part.weight for part in training.parts)
    all_bytes = all_gets = Fraction(0)
    set_bytes, before = 0, Fraction(0)
    for part, fetched in zip(training.parts, remote, strict=True):
        share, shards = part.weight / total, part.chosen.shards
        streams = default_shape([shard.samples for shard in shards]).streams
        pairs = max(1, streams // 2)
        times = share * samples / part.chosen.samples  # how often an epoch of all goes through this set
        readers = nodes_per_pair(before, share, pairs, nodes) * times
        before += share
        if not fetched:
            continue
        held = sum(size for shard in shards for size in file_sizes(shard))
        set_bytes += held
        all_bytes += readers * held
        all_gets += readers * sum(gets(shard) for shard in shards)
    return Traffic(
        bytes=round(all_bytes),
        gets=round(all_gets),
        node_bytes=round(all_bytes / nodes),
        node_gets=round(all_gets / nodes),
        set_bytes=set_bytes,
    )


def nodes_per_pair(first: Fraction, share: Fraction, pairs: int, nodes: int) -> Fraction:
    """How many nodes read a pair of streams, on average of those that lie from `first` on over `share` of a batch."""
    edges = [(first + share * number / pairs) * nodes for number in range(pairs + 1)]
    overlaps = [math.ceil(end) - math.floor(begin) for begin, end in pairwise(edges)]
    return Fraction(sum(overlaps), pairs)


def file_sizes(shard: Shard) -> Sequence[int]:
    """Bytes of the files that reading a shard takes: tar, index and, where it has them, segment lengths."""
    own = (shard.bytes, shard.samples * RECORD_BYTES)
    return own if shard.segments is None else (*own, shard.segments.bytes)


def gets(shard: Shard) -> int:
    """GETs that bring a shard."""
    return sum(-(-size // RANGE) for size in file_sizes(shard))
