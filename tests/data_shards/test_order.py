"""The order: a permutation of the split per epoch, the same for every division of the batch and every restart."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.order import Order, Rows, Shape, default_shape

COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(sum)
SHAPES = st.builds(Shape, st.integers(1, 12), st.integers(1, 40))
SEEDS = st.integers(0, 2**64 - 1)


def places(order, first, count):
    shards, rows = order.locate(np.arange(first, first + count))
    return list(zip(shards.tolist(), rows.tolist(), strict=True))


def written(found):
    return " ".join(f"{shard}.{row}" for shard, row in found)


def test_the_first_twenty_of_seed_7():
    # Only change this if you know why: it breaks the resume of every run in the world.
    three_streams = Order([5, 4, 6], seed=7, shape=Shape(3, 2))
    assert written(places(three_streams, 0, 20)) == (
        "1.1 2.2 0.1 1.0 2.1 0.0 1.2 2.3 0.3 1.3 2.4 0.2 2.0 2.5 0.4 2.0 2.5 0.0 2.1 1.0"
    )
    assert written(places(Order([5, 4, 6], seed=7), 0, 20)) == (
        "0.2 0.1 1.3 2.5 0.3 1.1 2.2 1.2 2.1 2.0 2.4 1.0 0.4 2.3 0.0 0.1 2.2 0.3 2.4 1.0"
    )


@given(COUNTS, SEEDS, SHAPES, st.integers(0, 5))
def test_an_epoch_is_the_split_exactly_once(counts, seed, shape, epoch):
    order = Order(counts, seed, shape)
    everything = [(shard, row) for shard, samples in enumerate(counts) for row in range(samples)]
    assert sorted(places(order, epoch * order.samples, order.samples)) == everything


@given(COUNTS, SEEDS, SHAPES, st.integers(0, 300), st.integers(1, 200), st.data())
def test_a_resume_at_any_slot_is_the_tail(counts, seed, shape, first, count, data):
    whole = places(Order(counts, seed, shape), first, count)
    cut = data.draw(st.integers(0, count))
    assert places(Order(counts, seed, shape), first + cut, count - cut) == whole[cut:]


@given(COUNTS, SEEDS, SHAPES, st.integers(0, 100), st.sampled_from([1, 2, 3, 4, 6, 12, 24]))
def test_ranks_only_divide_the_batch(counts, seed, shape, start, world):
    order = Order(counts, seed, shape)
    shares = [order.share(start, 24, rank, world) for rank in range(world)]
    assert {len(share) for share in shares} == {24 // world}
    assert all((np.diff(share) > 0).all() for share in shares)
    assert sorted(np.concatenate(shares).tolist()) == list(range(start, start + 24))
    if 24 // world % 2 == 0:
        for share in shares:
            assert (share[1::2] - share[::2] == 1).all(), "mixup's pairs stay together"
            assert ((share[::2] - start) % 2 == 0).all()


def test_an_odd_batch_is_divided_too():
    order = Order([30, 40], 0, Shape(4, 7))
    shares = [order.share(45, 15, rank, 3).tolist() for rank in range(3)]
    assert sorted(sum(shares, [])) == list(range(45, 60))  # noqa: RUF017


ONE_OF_SEVERAL_LIVES = """
import hashlib, sys
import numpy as np
from data_shards.order import Order, Shape
world, seen, steps, batch = map(int, sys.argv[1:])
orders = [Order([97] * 60, 5, Shape(16, 200)) for _ in range(world)]
for _ in range(steps):
    slots = [order.share(seen, batch, rank, world) for rank, order in enumerate(orders)]
    table = np.concatenate([np.stack([own, *order.locate(own)], 1) for order, own in zip(orders, slots)])
    print(hashlib.sha256(table[np.argsort(table[:, 0])].tobytes()).hexdigest())
    seen += batch
print(seen)
"""


def test_any_sequence_of_worker_counts_sees_the_batches_of_one_worker():
    """A fresh process at each change; all it is told is how many samples were seen. 48 batches are 2 epochs."""

    def live(world, seen, steps):
        command = [sys.executable, "-c", ONE_OF_SEVERAL_LIVES, *map(str, (world, seen, steps, 240))]
        *batches, seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return batches, int(seen)

    expected, end = live(1, 0, 48)
    found, seen = [], 0
    for world in (8, 5, 16, 1, 48, 6):
        batches, seen = live(world, seen, 8)
        found += batches
    assert (found, seen) == (expected, end)
    assert len(set(found)) == 48


@pytest.mark.parametrize("world", [1, 2, 8, 32, 128])
def test_ranks_share_the_shards_between_them(world):
    """64 streams of 20 shards: a rank reads its streams' alone, at least a pair's, and one at their edge."""
    order = Order([100] * 1280, 0, Shape(64, 400))
    slots = np.concatenate([order.share(first, 1024, world // 2, world) for first in range(0, 128_000, 1024)])
    read = len(np.unique(order.locate(slots)[0]))
    assert read <= 20 * max(2, 64 // world) + 1, read


def test_epochs_and_seeds_differ():
    order = Order([20, 20], seed=1)
    assert places(order, 0, 40) != places(order, 40, 40)
    assert places(order, 0, 40) != places(Order([20, 20], seed=2), 0, 40)


def test_shards_of_one_class_each_still_mix():
    shards, _ = Order([200] * 4, seed=0).locate(np.arange(800))
    for batch in shards.reshape(-1, 50):
        counts = np.bincount(batch, minlength=4)
        assert counts.min() >= 3, f"a class is missing from a batch of 50: {counts}"


def test_the_default_mixes_half_a_million_at_imagenet_size():
    assert default_shape([200] * 4) == (1, 800)
    assert default_shape([1001] * 1279 + [888]) == (64, 8008)
    assert default_shape([1000] * 14_197) == (256, 4000)


def test_a_start_deep_in_a_large_set_builds_only_two_tables():
    order = Order([1000] * 14_197, seed=3)
    tracemalloc.start()
    shards, rows = order.locate(10**12 + 12345 + np.arange(1024))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(zip(shards.tolist(), rows.tolist(), strict=True))) == 1024
    assert peak < 8e6, f"{peak} bytes: the table of a block is 256 x 4000 x 4"


@settings(max_examples=30)
@given(COUNTS)
def test_rows_number_the_split_from_its_first_sample(counts):
    shards, rows = Rows(counts).locate(np.arange(sum(counts)))
    expected = [(shard, row) for shard, samples in enumerate(counts) for row in range(samples)]
    assert list(zip(shards.tolist(), rows.tolist(), strict=True)) == expected


def test_slots_stay_exact_beyond_the_reach_of_floats():
    a, b = Order([7, 8], seed=5), Order([7, 8], seed=5)
    assert places(a, 15 * 2**54, 15) == places(b, 15 * 2**54 - 3, 18)[3:]
