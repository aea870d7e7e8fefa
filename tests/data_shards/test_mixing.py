"""Mixing: exact shares, each set once per epoch of its own, the same batches on any number of ranks."""

import hashlib
from collections import Counter
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.errors import DataError, DataUsageError
from data_shards.loader import labels, train_batches
from data_shards.mixing import MixedOrder, Turns
from data_shards.order import Order
from data_shards.pack import PackOptions, pack
from data_shards.shardset import load_shardset
from data_shards.synth import SynthOptions, synth
from data_shards.training import Part, Training, merge_classes
from data_shards.view import View

WEIGHTS = st.lists(st.integers(1, 40), min_size=1, max_size=7)


@given(WEIGHTS)
@settings(deadline=None)
def test_no_set_is_ever_a_turn_away_from_its_share(weights):
    mix = Turns([Fraction(weight) for weight in weights])
    sets, _ = mix.draw(np.arange(0, 2 * 2 * sum(mix.turns), 2))
    had = np.cumsum(sets[:, None] == np.arange(len(weights)), 0)
    share = np.arange(1, len(sets) + 1)[:, None] * np.array(weights) / sum(weights)
    assert np.abs(had - share).max() < 1
    assert np.array_equal(had[-1], 2 * np.array(mix.turns))


@given(WEIGHTS, st.integers(0, 10**12), st.integers(1, 300))
@settings(deadline=None)
def test_each_set_is_drawn_from_one_after_the_other(weights, start, count):
    mix = Turns([Fraction(weight) for weight in weights])
    sets, draws = mix.draw(np.arange(start, start + count))
    for number in range(len(weights)):
        own = draws[sets == number]
        assert (np.diff(own) == 1).all()
    assert (sets[start % 2 : -1 : 2] == sets[1 + start % 2 :: 2]).all(), "neighbours are of one set"
    again = Turns([Fraction(weight) * Fraction(1, 8) for weight in weights]).draw(
        np.arange(start, start + count)
    )
    assert np.array_equal(again, (sets, draws)), "weights are shares, whatever their sum"


def test_decimal_weights_are_exact():
    mix = Turns([Fraction("0.7"), Fraction("0.25"), Fraction("0.05")])
    assert mix.turns == (14, 5, 1)
    assert Counter(mix.draw(np.arange(4000))[0].tolist()) == {0: 2800, 1: 1000, 2: 200}


def test_weights_that_cannot_be():
    with pytest.raises(DataUsageError, match="a weight of 0 draws nothing"):
        Turns([Fraction(1), Fraction(0)])
    with pytest.raises(
        DataUsageError, match=r"the weights 1, 0\.33333 repeat after 133,333 turns; the limit is 10,000"
    ):
        Turns([Fraction(1), Fraction("0.33333")])


def test_each_set_has_its_own_epochs_and_the_first_its_own_order():
    counts = ((5, 4, 6), (7, 4))
    order = MixedOrder(counts, [Fraction(3), Fraction(1)], seed=9)
    shards, rows = order.locate(np.arange(200))
    places = list(zip(shards.tolist(), rows.tolist(), strict=True))
    first = [place for place in places if place[0] < 3]
    other = [(shard - 3, row) for shard, row in places if shard >= 3]
    assert (len(first), len(other)) == (150, 50)
    alone = Order(counts[0], 9).locate(np.arange(150))
    assert first == list(zip(*(part.tolist() for part in alone), strict=True))
    for epoch in range(4):
        assert sorted(other[epoch * 11 : epoch * 11 + 11]) == [(0, n) for n in range(7)] + [
            (1, n) for n in range(4)
        ]


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6, 12])
def test_ranks_divide_a_mixed_batch(world):
    order = MixedOrder(([40] * 50, [40] * 30), [Fraction(2), Fraction(1)], seed=0)
    shares = [order.share(48, 24, rank, world) for rank in range(world)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(48, 72))
    if world < 12:
        assert all((share[1::2] - share[::2] == 1).all() for share in shares if len(share) % 2 == 0)


def test_class_lists_are_merged_by_wnid_and_the_first_keeps_its_labels():
    merged, maps = merge_classes([("n2", "n4", "n6"), ("n1", "n4", "n7"), ("n4", "n2")])
    assert merged == ("n2", "n4", "n6", "n1", "n7")
    assert maps == [[0, 1, 2], [3, 1, 4], [1, 0]]


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    """24 images of 3 classes, and 20 of 2 others and one of the same."""
    root, parts = tmp_path_factory.mktemp("mixed"), []
    for name, space, weight in (("wide", "22k", "0.75"), ("narrow", "1k", "0.25")):
        options = SynthOptions(classes=4, images=6, val_images=1, size=32, space=space)
        synth(root / name, options, 1, lambda *_: None)
        chosen = PackOptions(name=name, samples_per_shard=7)
        pack(root / name, str(root / f"{name}-set"), chosen, 1, 0.0, lambda *_: None)
        url = str(root / f"{name}-set")
        parts.append(
            Part(name=name, url=url, shardset=load_shardset(url), split="train", weight=Fraction(weight))
        )
    return parts


def mixed(parts, *, rank=0, world=1, samples_seen=0, count=16):
    """`count` micro-batches of 2 of global batches of 8."""
    batches = train_batches(
        training=Training(parts=tuple(parts)), view=View(image_size=16), seed=3, global_batch=8, micro_batch=2,
        rank=rank, world=world, samples_seen=samples_seen,
    )  # fmt: skip
    found = list(islice(batches, count))
    batches.close()
    return found


def table(batches):
    """Digests of the pixels and the labels by slot."""
    return {
        slot: (label, hashlib.sha256(image.numpy().tobytes()).hexdigest())
        for batch in batches
        for slot, label, image in zip(batch.slots.tolist(), batch.labels.tolist(), batch.images, strict=True)
    }


def test_mixed_batches_are_the_same_on_any_number_of_ranks_and_after_a_resume(two_sets):
    whole = table(mixed(two_sets))
    assert sorted(whole) == list(range(32))
    for world in (2, 4):
        parts = [mixed(two_sets, rank=rank, world=world, count=16 // world) for rank in range(world)]
        assert table(sum(parts, [])) == whole  # noqa: RUF017
    assert table(mixed(two_sets, samples_seen=16, count=8)) == {n: whole[n] for n in range(16, 32)}


def test_a_mixed_epoch_has_every_image_with_the_label_of_its_wnid(two_sets):
    classes, maps = merge_classes([part.shardset.classes for part in two_sets])
    batches = mixed(two_sets, count=96)  # 192 slots: 144 of the first set's 24 images, 48 of the other's 24
    met = Counter(torch.cat([batch.labels for batch in batches]).tolist())
    expected = Counter()
    for part, own, epochs in zip(two_sets, maps, (6, 2), strict=True):
        for label in labels(part.url, part.shardset, "train").tolist():
            expected[own[label]] += epochs
    assert met == expected
    assert len(classes) == len(set(classes))
    shards = torch.cat([batch.places[:, 0] for batch in batches]).unique().tolist()
    assert shards == list(range(8)), "four shards of each set, numbered on"


def test_sets_that_do_not_mix(two_sets, packed):
    first = two_sets[0]
    empty = Part(name="empty", url=packed, shardset=load_shardset(packed), split="none", weight=Fraction(1))
    with pytest.raises(DataError, match="has no split 'none'"):
        mixed([first, empty])
