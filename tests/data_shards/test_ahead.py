"""Fetching ahead: in reading order, once per node, no further than the next block, behind the reader's back."""

import threading
import time
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loader import VIEW, digest, pack, take, training

from data_shards.ahead import Ahead, check_room, streams_read
from data_shards.cache import Cache
from data_shards.cache_room import KNOB
from data_shards.errors import DataUsageError
from data_shards.loader import train_batches
from data_shards.order import Order, Shape
from data_shards.reader import Reader, files_of
from data_shards.training import Part, Training

SHAPE = Shape(2, 8)
"""Of the training split's 65 samples in 4 shards: five blocks an epoch, each of at most 16 samples."""


@pytest.fixture
def remote(s3_url):
    return {"url": s3_url, "shardset": pack(s3_url)}


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr("data_shards.order.default_shape", lambda _: SHAPE)


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def names_in(cache, shards):
    return {
        number for number, shard in enumerate(shards)
        if all(cache._place(key, sha256).exists() for key, _, sha256 in files_of(shard))
    }  # fmt: skip


def test_this_block_and_the_next_are_fetched_and_no_more(remote, tmp_path, monkeypatch):
    split = remote["shardset"].split("train")
    order = Order([shard.samples for shard in split.shards], 3, Shape(1, 16))
    monkeypatch.setattr("data_shards.ahead.SLOTS", 4)
    reader = Reader(remote["url"], split, tmp_path)
    expected = [set(order.locate(np.arange(first + 16))[0].tolist()) for first in (0, 8, 48)]
    assert expected[0] < expected[1] < expected[2], "this seed shows nothing"
    with Ahead(reader, order, 4, 0, 1, 0) as ahead:
        shares = ahead.watch(np.arange(first, first + 4) for first in (0, 8, 48))
        for there in expected:
            next(shares)
            until(lambda there=there: names_in(reader.cache, split.shards) == there)
            time.sleep(1)
            assert names_in(reader.cache, split.shards) == there


def test_two_ranks_of_a_node_make_one_get_per_file(remote, faulty, tmp_path):
    proxy = faulty(lambda *_: None)
    ranks = [training(remote, rank=rank, world=2, cache=tmp_path / "cache") for rank in (0, 1)]
    for _ in range(16):  # 64 samples: nearly an epoch
        for rank in ranks:
            next(rank)
    for rank in ranks:
        rank.close()
    files = [seen.path for seen in proxy.gets]
    assert len(files) == 8
    assert len(set(files)) == 8  # 4 tars and 4 indexes


def test_a_shard_that_waits_does_not_hold_up_the_next(remote, faulty, tmp_path):
    asked, another = set(), threading.Event()

    def hold_the_first_until_another_is_asked_for(_, path):
        if path.endswith(".tar"):
            asked.add(path)
            if len(asked) > 1:
                another.set()
            elif not another.wait(60):
                return "denied"
        return None

    split = remote["shardset"].split("train")
    faulty(hold_the_first_until_another_is_asked_for)
    reader = Reader(remote["url"], split, tmp_path)
    with Ahead(reader, Order([shard.samples for shard in split.shards], 3), 4, 0, 1, 0):
        until(lambda: names_in(reader.cache, split.shards) == {0, 1, 2, 3})
    assert another.is_set()


def size_of(path):
    """What a file takes, or nothing: what was being fetched may have got its own name meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_tight_cache_changes_nothing_but_the_requests(remote, narrow, faulty, tmp_path, monkeypatch):
    shards = remote["shardset"].split("train").shards
    total = sum(size for shard in shards for _, size, _ in files_of(shard))
    largest = max(size for shard in shards for _, size, _ in files_of(shard))
    monkeypatch.setattr("data_shards.ahead.OPEN_SHARDS", 0)
    monkeypatch.setattr("data_shards.order.Order.open_shards", lambda *_: 2)
    monkeypatch.setenv(KNOB, f"{(2 * largest + 8192) / 2**30:.9f}")
    assert 2 * largest + 8192 < total
    expected = digest(take(training(remote, cache=tmp_path / "other"), 64))
    proxy, sizes = faulty(lambda *_: None), []
    batches = training(remote, cache=tmp_path / "tight")
    found = []
    for batch in islice(batches, 64):
        found.append(batch)
        sizes.append(sum(size_of(path) for path in (tmp_path / "tight").glob("[0-9a-f]*")))
    batches.close()
    assert digest(found) == expected
    assert max(sizes) <= 2 * largest + 8192
    assert len(proxy.gets) > 8  # shards left and came back


def test_a_cache_too_small_for_the_order_is_refused_with_both_values(remote, tmp_path, monkeypatch):
    monkeypatch.setenv(KNOB, "0.0001")
    with pytest.raises(
        DataUsageError, match=rf"reads from 4 shards at a time, [\d,]+ bytes .* may hold 107,374. Raise {KNOB} to 0.1 "
    ):  # fmt: skip
        training(remote, cache=tmp_path)
    monkeypatch.setenv(KNOB, "much")
    with pytest.raises(DataUsageError, match=f"{KNOB}=much"):
        training(remote, cache=tmp_path)


def test_a_local_set_needs_no_room(tmp_path, monkeypatch):
    monkeypatch.setenv(KNOB, "0.0001")
    local = {"url": str(tmp_path), "shardset": pack(str(tmp_path))}
    check_room([Reader(local["url"], local["shardset"].split("train"), tmp_path, 4)])
    assert len(take(training(local), 3)) == 3


def test_a_sample_that_rotted_in_the_cache_is_fetched_again(remote, faulty, tmp_path):
    expected = digest(take(training(remote, cache=tmp_path), 32))
    cache = Cache(remote["url"], tmp_path)
    rng = np.random.default_rng(0)
    for shard in remote["shardset"].split("train").shards:
        for key, size, sha256 in files_of(shard):
            path = cache._place(key, sha256)
            raw = bytearray(path.read_bytes())
            for at in rng.integers(0, size, 40):
                raw[at] ^= 1
            path.write_bytes(raw)
    proxy = faulty(lambda *_: None)
    assert digest(take(training(remote, cache=tmp_path), 32)) == expected
    assert len(proxy.gets) == 8


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    streams=st.integers(1, 5),
    block=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_no_block_reads_more_shards_than_it_says(counts, streams, block, seed):
    order = Order(counts, seed, Shape(streams, block))
    for epoch in range(2):
        for first in range(0, order.samples, streams * block):
            slots = epoch * order.samples + np.arange(first, min(first + streams * block, order.samples))
            assert len(slots) <= order.span
            assert len(set(order.locate(slots)[0].tolist())) <= order.open_shards(streams)


@pytest.mark.parametrize(
    ("world", "count", "streams"), [(1, 12, [4]), (2, 12, [2, 2]), (2, 2, [2, 2]), (3, 6, [2, 4, 2])]
)
def test_a_rank_reads_its_part_of_the_streams(world, count, streams):
    order = Order([1000, 1000], 0, Shape(4, 100))
    assert [streams_read(order, count, rank, world, 24) for rank in range(world)] == streams
    for rank in range(world):
        shares = [order.share(first, count, rank, world) for first in range(24, 1500, count)]
        assert len(np.unique(np.concatenate(shares) % 4)) == streams[rank]


def test_mixed_sets_are_fetched_ahead_too(remote, faulty, tmp_path):
    local = str(tmp_path / "local")
    pack(local)
    other = {"url": local, "shardset": pack(local, prefix="x")}
    parts = [
        Part(name=part["shardset"].name, **part, split="train", weight=Fraction(weight))
        for part, weight in ((remote, 2), ({**other, "shardset": other["shardset"].model_copy(
            update={"name": "other"})}, 1))
    ]  # fmt: skip
    proxy = faulty(lambda *_: None)
    batches = train_batches(
        training=Training(parts=tuple(parts)), view=VIEW, seed=1, global_batch=8, micro_batch=4, rank=0,
        world=1, samples_seen=0, cache=tmp_path / "cache",
    )  # fmt: skip
    next(batches)
    until(lambda: len(proxy.gets) == 8)
    assert len(take(batches, 8)) == 8
    assert len(proxy.gets) == 8
