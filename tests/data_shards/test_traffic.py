"""What an epoch asks of S3: the rule against the order's own streams, the packer's own files and counted requests."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.fetch import RANGE
from data_shards.index import RECORD
from data_shards.order import Order, Shape
from data_shards.reader import files_of
from data_shards.shape import default_shape
from data_shards.shardset import Packing, Shard, ShardSet, Split, StoredFile, load_shardset
from data_shards.traffic import RECORD_BYTES, file_sizes, gets, no_traffic, nodes_per_pair, traffic
from data_shards.training import Part, Training, alone


def shardset(counts: list[int], size: int, name: str = "paper") -> ShardSet:
    """Shards of so many samples and bytes, with segment lengths of 1,000 bytes."""
    shards = tuple(
        Shard(
            name=f"train-{number:05d}",
            samples=count,
            bytes=size,
            sha256="0",
            index_sha256="0",
            segments=StoredFile(bytes=1000, sha256="0"),
        )
        for number, count in enumerate(counts)
    )
    return ShardSet(
        name=name,
        classes=("n0",),
        splits={"train": Split(shards=shards, class_counts=(sum(counts),))},
        packing=Packing(seed=0, samples_per_shard=1000),
    )


def test_a_record_is_as_long_as_the_index_says() -> None:
    assert RECORD.itemsize == RECORD_BYTES


def test_the_files_of_a_shard_are_the_readers() -> None:
    (shard,) = shardset([1000], 112_000_000).splits["train"].shards
    assert list(file_sizes(shard)) == [size for _, size, _ in files_of(shard)]
    bare = shard.model_copy(update={"segments": None})
    assert list(file_sizes(bare)) == [size for _, size, _ in files_of(bare)]
    assert (gets(shard), gets(bare)) == (16, 15)  # 14 ranges of 8 MiB, the index, the segment lengths
    assert gets(bare.model_copy(update={"bytes": RANGE, "samples": 1})) == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 12), st.integers(1, 4))
def test_nodes_read_the_streams_that_their_ranks_share(
    nodes: int, ranks: int, pairs: int, turns: int
) -> None:
    """Against `Order.share` itself, for batches that all pairs of streams have an equal part in."""
    world, streams = nodes * ranks, 2 * pairs
    batch = 2 * world * pairs * turns
    order = Order([1] * (4 * batch), 0, Shape(streams, 4))
    read = [
        {
            stream
            for rank in range(node * ranks, (node + 1) * ranks)
            for stream in order.stream(order.share(0, batch, rank, world)).tolist()
        }
        for node in range(nodes)
    ]
    told = nodes_per_pair(Fraction(0), Fraction(1), pairs, nodes)
    assert told == Fraction(sum(map(len, read)), streams)


def test_a_set_in_streams_is_divided_among_nodes_and_a_small_one_is_read_by_all() -> None:
    """ImageNet-22K by benchmarks/RESULTS.md: 14,200 shards of 112 MB, 16 GETs each; 256 streams, up to 128 nodes."""
    wide = shardset([1000] * 14_200, 112_000_000)
    for nodes, told in ((1, 227_200), (2, 113_600), (8, 28_400), (128, 1_775)):
        found = traffic(alone("s3://bucket/set", wide, "train"), nodes, 14_200_000, [True])
        assert (found.node_gets, found.gets) == (told, 227_200)
        assert found.node_bytes == pytest.approx(1.59e12 / nodes, rel=1e-3)
    small = shardset([16] * 256, 51_563 - 16 * RECORD_BYTES - 1000)
    for nodes in (1, 2, 4):  # `traffic` counted 13.2 MB of a node, whatever the number of nodes
        found = traffic(alone("s3://bucket/set", small, "train"), nodes, 4096, [True])
        assert found.node_bytes == found.set_bytes == 256 * 51_563
        assert found.bytes == nodes * found.set_bytes
    assert default_shape([16] * 256).streams == 1


def test_more_nodes_than_streams_share_them() -> None:
    assert nodes_per_pair(Fraction(0), Fraction(1), 128, 512) == 4
    assert nodes_per_pair(Fraction(0), Fraction(1), 16, 24) == 2  # the cuts fall within: 2/3 of a pair a node
    assert (
        nodes_per_pair(Fraction(3, 4), Fraction(1, 4), 1, 8) == 2
    )  # a quarter of a batch is two nodes' part


def test_sets_of_a_mix_are_read_at_the_pace_of_their_turns() -> None:
    """3 to 1: an epoch of 8,000 draws 6,000 of the first, once, and 2,000 of the other, which has 1,000."""
    first, other = shardset([1000] * 6, 1_000_000), shardset([1000], 500_000, "other")
    parts = (
        Part(name="first", url="s3://bucket/a", shardset=first, split="train", weight=Fraction(3)),
        Part(name="other", url="s3://bucket/b", shardset=other, split="train", weight=Fraction(1)),
    )
    mix = Training(parts=parts)
    alone_first = traffic(alone("s3://bucket/a", first, "train"), 1, 6000, [True])
    alone_other = traffic(alone("s3://bucket/b", other, "train"), 1, 1000, [True])
    both = traffic(mix, 1, 8000, [True, True])
    assert both.bytes == alone_first.bytes + 2 * alone_other.bytes
    assert both.set_bytes == alone_first.set_bytes + alone_other.set_bytes
    assert traffic(mix, 1, 8000, [False, True]).bytes == 2 * alone_other.bytes
    assert traffic(mix, 1, 8000, [False, False]) == no_traffic()


def test_the_rule_holds_for_what_was_really_packed(tmp_path) -> None:
    from data_shards.pack import PackOptions, pack
    from data_shards.synth import SynthOptions, synth

    synth(tmp_path / "drawn", SynthOptions(classes=2, images=10, val_images=1, size=16), 1, lambda *_: None)
    url = str(tmp_path / "set")
    pack(tmp_path / "drawn", url, PackOptions(name="small", samples_per_shard=8), 1, 0.0, lambda *_: None)
    packed = load_shardset(url)
    shards = packed.splits["train"].shards
    there = [(tmp_path / "set" / key).stat().st_size for shard in shards for key, _, _ in files_of(shard)]
    found = traffic(alone("s3://bucket/set", packed, "train"), 1, 20, [True])
    assert (found.bytes, found.gets) == (sum(there), len(there))
    assert np.sum(there) < RANGE
