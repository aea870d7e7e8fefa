"""What a slot becomes beside one image of one size: several crops, and sizes that change with the slot."""

import pytest
import torch
from test_loader import VIEW, digest, global_batches, pack, take, tiny, training

from data_shards.errors import DataUsageError
from data_shards.slots import view_at

__all__ = ["tiny"]


def test_the_first_of_several_crops_is_the_only_one_of_others(tiny):
    once, thrice = (take(training(tiny, repeats=repeats), 6) for repeats in (1, 3))
    for one, three in zip(once, thrice, strict=True):
        size = len(one.slots)
        assert torch.equal(three.slots, one.slots)
        assert torch.equal(three.places, one.places)
        assert torch.equal(three.labels, one.labels.repeat(3))
        first, second, third = three.images.split(size)
        assert torch.equal(first, one.images)
        assert not torch.equal(second, first)
        assert not torch.equal(third, second)


def test_repeats_are_the_same_on_every_division_of_the_work(tiny):
    whole = global_batches(tiny, 6, repeats=2, micro_batch=8)
    parts = global_batches(tiny, 6, repeats=2, world=4)
    assert torch.cat([batch.slots for batch in parts]).tolist() == list(range(48))
    by_slot = [{}, {}]
    for images, batches in zip(by_slot, (whole, parts), strict=True):
        for batch in batches:
            for slot, *pictures in zip(
                batch.slots.tolist(), *batch.images.split(len(batch.slots)), strict=True
            ):
                images[slot] = torch.stack(pictures)
    assert all(torch.equal(by_slot[0][slot], by_slot[1][slot]) for slot in range(48))


def test_a_picture_that_no_decoder_reads_counts_once(tmp_path):
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path), {("train", 20)})}
    batches = take(training(tiny, micro_batch=1, repeats=3), 65)
    (met,) = [bad for batch in batches for bad in batch.undecodable]
    assert met.row == 20
    (batch,) = [batch for batch in batches if batch.undecodable]
    assert batch.labels.tolist() == [21, 21, 21], "the next readable one of its shard, thrice"


def test_sizes_follow_the_slot_and_a_resume_knows_them(tiny):
    sizes = ((16, 8), (32, 12))
    batches = take(training(tiny, sizes=sizes), 24)
    assert [batch.images.shape[2:] for batch in batches] == [(8, 8)] * 8 + [(12, 12)] * 8 + [(16, 16)] * 8
    tail = take(training(tiny, sizes=sizes, samples_seen=24), 12)
    for size in (8, 12, 16):
        straight = [batch for batch in batches[12:] if batch.images.shape[2] == size]
        resumed = [batch for batch in tail if batch.images.shape[2] == size]
        assert len(straight) == len(resumed)
        assert not straight or digest(straight) == digest(resumed)
    assert digest(batches[16:]) == digest(take(training(tiny, samples_seen=32), 8)), "then all is as ever"


def test_the_view_of_a_slot():
    assert [view_at(VIEW, ((4, 8), (6, 12)), n).image_size for n in (0, 3, 4, 5, 6, 999)] == [
        8,
        8,
        12,
        12,
        16,
        16,
    ]
    assert view_at(VIEW, (), 0) == VIEW


@pytest.mark.parametrize("more", [{"repeats": 2}, {"sizes": ((8, 8),)}])
def test_neither_is_made_where_pictures_are_decoded_on_a_gpu(tiny, more):
    with pytest.raises(DataUsageError, match="makes one image of a slot, and of one size"):
        training(tiny, decode_on=torch.device("cpu"), **more)
