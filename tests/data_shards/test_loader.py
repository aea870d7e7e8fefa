"""The loader: the same batches for every division of the work, exactly once, and damage never passes."""

import hashlib
import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import zlib
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from data_shards import order, prefetch
from data_shards.augment import eval_image
from data_shards.decode import decode
from data_shards.errors import DataError, DataUsageError
from data_shards.index import RECORD, decode_index, encode_index
from data_shards.loader import eval_batches, labels, read_jpeg, train_batches
from data_shards.order import Shape
from data_shards.shardset import Packing, Shard, ShardSet, Split, load_shardset
from data_shards.store import open_store
from data_shards.training import alone
from data_shards.view import View

VIEW = View(image_size=16, auto_augment="rand")
COUNTS = {"train": (23, 17, 20, 5), "val": (11, 0, 8)}
TRAIN = sum(COUNTS["train"])


def jpeg(number):
    """A picture that no other number has."""
    rng = np.random.default_rng(number)
    side = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    file = io.BytesIO()
    side.resize((30 + number % 7, 24 + number % 5)).save(file, "JPEG", quality=90)
    return file.getvalue()


def pack(url, dirt=(), prefix=""):
    """A shard set as packing would write it: sample i of a split has label i. Images in `dirt` are no images."""
    store, splits = open_store(url), {}
    for split, counts in COUNTS.items():
        number, shards = 0, []
        for at, samples in enumerate(counts):
            tar, records = io.BytesIO(), []
            with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as out:
                for _ in range(samples):
                    image = b"\xff\xd8 dirt" if (split, number) in dirt else jpeg(number)
                    member = tarfile.TarInfo(f"{number:05}.jpg")
                    member.size = len(image)
                    records.append((tar.tell() // 512 + 1, len(image), zlib.crc32(image), number, 0, 0))
                    out.addfile(member, io.BytesIO(image))
                    number += 1
            index = encode_index(np.array(records, RECORD))
            name = f"{split}-{at:05}"
            store.write(f"shards/{name}.tar", tar.getvalue())
            store.write(f"index/{name}.idx", index)
            digests = {"sha256": sha256(tar.getvalue()), "index_sha256": sha256(index)}
            shards.append(Shard(name=name, samples=samples, bytes=len(tar.getvalue()), **digests))
        splits[split] = Split(shards=tuple(shards), class_counts=(1,) * number)
    packing = Packing(seed=0, samples_per_shard=20)
    return ShardSet(name="tiny", classes=tuple(map(str, range(TRAIN))), splits=splits, packing=packing)


def sha256(raw):
    return hashlib.sha256(raw).hexdigest()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("tiny"))
    return {"url": url, "shardset": pack(url)}


def training(tiny, *, rank=0, world=1, samples_seen=0, processes=0, micro_batch=2, global_batch=8, **more):
    return train_batches(
        training=alone(tiny["url"], tiny["shardset"], "train"), view=VIEW, seed=11,
        global_batch=global_batch, micro_batch=micro_batch, rank=rank, world=world,
        samples_seen=samples_seen, processes=processes, **more,
    )  # fmt: skip


def evaluation(tiny, *, rank=0, world=1, processes=0):
    return eval_batches(
        **tiny, split="val", view=VIEW, batch_size=4, rank=rank, world=world, processes=processes
    )


def take(batches, count):
    """The first `count` batches of a generator, which is then closed."""
    found = list(islice(batches, count))
    batches.close()
    return found


def decoding_threads():
    return sum(thread.name.startswith("raytrain-data") for thread in threading.enumerate())


def digest(batches):
    """One hash over the pixels, labels and slots of micro-batches."""
    parts = [torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "labels", "slots")]
    return sha256(b"".join(part.numpy().tobytes() for part in parts))


def global_batches(tiny, steps, *, world=1, micro_batch=2, **more):
    """Micro-batches of `steps` global batches of 8, in the order of their slots."""
    ranks = [
        take(
            training(tiny, rank=rank, world=world, micro_batch=micro_batch, **more),
            steps * 8 // world // micro_batch,
        )
        for rank in range(world)
    ]
    return sorted((batch for rank in ranks for batch in rank), key=lambda batch: batch.slots[0].item())


def test_too_few_files_is_one_message(packed: str) -> None:
    code = (
        "import resource, sys; from data_shards.reader import Reader; from data_shards.shardset import load_shardset\n"
        f"reader = Reader({packed!r}, load_shardset({packed!r}).split('train'))\n"
        "reader.read(0, 0); used = len(__import__('os').listdir('/proc/self/fd'))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))\n"
        "[reader.read(shard, 0) for shard in range(4)]"
    )
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DataError: cannot" in tried.stderr
    assert "Too many open files" in tried.stderr


def test_a_batch_is_what_it_says(tiny):
    (batch,) = take(training(tiny, micro_batch=8, samples_seen=40), 1)
    assert (batch.images.shape, batch.images.dtype) == ((8, 3, 16, 16), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.slots.tolist() == list(range(40, 48))
    assert (batch.labels.dtype, batch.undecodable) == (torch.int64, ())


@pytest.mark.parametrize(("world", "micro_batch"), [(1, 8), (2, 1), (4, 2), (8, 1)])
def test_every_division_of_the_work_makes_the_same_global_batches(tiny, world, micro_batch):
    expected = digest(global_batches(tiny, 12))
    assert digest(global_batches(tiny, 12, world=world, micro_batch=micro_batch)) == expected


def test_ranks_that_read_their_own_streams_make_the_same_global_batches(tiny, monkeypatch):
    monkeypatch.setattr(order, "default_shape", lambda _: Shape(4, 5))

    def images(world):
        batches = global_batches(tiny, 12, world=world, samples_seen=16)
        slots = torch.cat([batch.slots for batch in batches])
        assert sorted(slots.tolist()) == list(range(16, 112))
        return sha256(torch.cat([batch.images for batch in batches])[slots.argsort()].numpy().tobytes())

    assert images(1) == images(2) == images(4)
    streams = torch.cat([batch.slots for batch in take(training(tiny, world=2, rank=1), 12)]) % 4
    assert set(streams.tolist()) == {2, 3}


def test_processes_change_nothing_and_leave_nothing(tiny):
    expected, before = digest(global_batches(tiny, 12)), torch.get_rng_state()
    for world, processes in [(2, 2), (1, 1)]:
        assert digest(global_batches(tiny, 12, world=world, processes=processes)) == expected
    assert torch.equal(torch.get_rng_state(), before), "the model's random numbers depend on the loader"
    assert multiprocessing.active_children() == []


def test_an_epoch_delivers_each_sample_once(tiny):
    delivered = torch.cat([batch.labels for batch in take(training(tiny, micro_batch=1), 3 * TRAIN)])
    for epoch in delivered.split(TRAIN):
        assert sorted(epoch.tolist()) == list(range(TRAIN))


@pytest.mark.parametrize("first", [8, 64, 65, 128, 130])  # 65 and 130 are the edges of epochs
def test_a_resume_is_the_tail_also_twice(tiny, first):
    whole = take(training(tiny, samples_seen=first), 16)
    once = take(training(tiny, samples_seen=first + 8), 12)
    twice = take(training(tiny, samples_seen=first + 24), 4)
    assert digest(once) == digest(whole[4:])
    assert digest(twice) == digest(whole[12:])


@pytest.mark.parametrize("world", [1, 2, 3, 5, 30])
def test_evaluation_delivers_each_sample_once(tiny, world):
    ranks = [list(evaluation(tiny, rank=rank, world=world)) for rank in range(world)]
    sizes = [sum(len(batch.slots) for batch in rank) for rank in ranks]
    batches = [batch for rank in ranks for batch in rank]
    assert max(sizes) - min(sizes) <= 1
    assert torch.cat([batch.slots for batch in batches]).tolist() == list(range(19))
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(19))
    assert digest(batches) == digest(list(evaluation(tiny)))


def test_a_flipped_bit_stops_the_run_and_names_the_place(tmp_path):
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path))}
    record = decode_index((tmp_path / "index/train-00002.idx").read_bytes())[7]
    place = int(record["block"]) * 512
    flip(tmp_path / "shards/train-00002.tar", place + 300)
    with pytest.raises(
        DataError, match=rf"shards/train-00002\.tar is damaged at byte {place}: .*{record['crc32']:08x}"
    ):
        take(training(tiny), TRAIN)
    assert decoding_threads() == 0
    with pytest.raises(DataError, match=f"damaged at byte {place}"):
        read_jpeg(**tiny, split="train", index=23 + 17 + 7)


def test_processes_hand_over_errors_whole_and_their_death_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(prefetch, "STALL_SECONDS", 20)
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path))}
    batches = evaluation(tiny, processes=1)
    next(batches)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"a data process died or stalled.*fewer than 1 processes"):
        list(batches)
    flip(tmp_path / "index/val-00000.idx", 5)
    with pytest.raises(DataError) as caught:
        list(evaluation(tiny, processes=1))
    assert str(caught.value).startswith(f"{tmp_path}/index/val-00000.idx is damaged: its sha256 is ")
    assert "Traceback" not in str(caught.value)
    assert multiprocessing.active_children() == []


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 4
    path.write_bytes(raw)


@pytest.mark.parametrize("size", [0, 511, 4096])
def test_a_shard_cut_off_or_gone_is_refused_before_a_sample_is_used(tmp_path, size):
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path))}
    shard = tmp_path / "shards/val-00000.tar"
    os.truncate(shard, size)
    with pytest.raises(DataError, match=f"val-00000.tar has {size} bytes and the manifest says"):
        list(evaluation(tiny))
    shard.unlink()
    with pytest.raises(DataError, match=r"val-00000\.tar is missing"):
        list(evaluation(tiny))


def test_any_flipped_bit_of_an_image_or_an_index_is_found(tmp_path):
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path))}
    rng = random.Random(0)
    records = decode_index((tmp_path / "index/val-00002.idx").read_bytes()).copy()
    for _ in range(40):
        row = rng.randrange(8)
        start, size = int(records["block"][row]) * 512, int(records["size"][row])
        for name, at in [
            ("shards/val-00002.tar", start + rng.randrange(size)),
            ("index/val-00002.idx", rng.randrange(144)),
        ]:
            flip(tmp_path / name, at)
            with pytest.raises(DataError, match="is damaged"):
                list(evaluation(tiny))
            flip(tmp_path / name, at)
    assert len(list(evaluation(tiny))) == 5


def test_an_undecodable_image_is_replaced_the_same_way_on_every_world(tmp_path):
    # the last three of shard 0, so that the search goes around to its first
    dirt = {("train", 20), ("train", 21), ("train", 22), ("train", 40)}
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path), dirt)}
    one = global_batches(tiny, 9)
    assert digest(one) == digest(global_batches(tiny, 9, world=4))
    epoch = take(training(tiny, micro_batch=1), TRAIN)
    assert sum(len(batch.undecodable) for batch in epoch) == 4
    counted = torch.cat([batch.labels for batch in epoch]).bincount(minlength=TRAIN)
    expected = torch.ones(TRAIN, dtype=torch.int64)
    expected[[20, 21, 22, 40]], expected[0], expected[41] = 0, 4, 2
    assert counted.tolist() == expected.tolist()


def test_a_shard_of_nothing_but_dirt_is_an_error(tmp_path):
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path), {("train", n) for n in range(60, 65)})}
    with pytest.raises(DataError, match="none of the 5 images of shard 'train-00003' can be decoded"):
        take(training(tiny), TRAIN)


def test_an_undecodable_image_counts_once_in_evaluation(tmp_path):
    tiny = {"url": str(tmp_path), "shardset": pack(str(tmp_path), {("val", 6)})}
    batches = list(evaluation(tiny))
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(19))
    assert [len(batch.undecodable) for batch in batches] == [0, 1, 0, 0, 0]
    assert batches[1].images[2].sum() == 0


def test_closing_or_dropping_leaves_no_thread(tiny):
    batches = training(tiny)
    next(batches)
    assert decoding_threads() == 1
    batches.close()
    assert decoding_threads() == 0
    dropped = training(tiny)
    next(dropped)
    del dropped
    assert decoding_threads() == 0


@pytest.mark.parametrize(
    ("global_batch", "micro_batch", "world", "advice"),
    [(100, 8, 3, "96 or 120"), (4, 8, 1, "of 8,"), (0, 2, 2, "of 4,"), (9, 2, 1, "8 or 10")],
)
def test_a_batch_that_does_not_divide_names_those_that_do(tiny, global_batch, micro_batch, world, advice):
    with pytest.raises(
        DataUsageError, match=f"global batch of {global_batch} does not divide.*{advice}"
    ) as caught:
        training(tiny, global_batch=global_batch, micro_batch=micro_batch, world=world)
    assert caught.value.exit_code == 2


def test_original_files_and_labels_by_index(tiny):
    for index in (0, 10, 11, 18):  # shard 1 is empty
        assert read_jpeg(**tiny, split="val", index=index) == jpeg(index)
    assert labels(**tiny, split="train").tolist() == list(range(TRAIN))
    with pytest.raises(DataUsageError, match="split 'val' has no sample 19: it has 0 to 18"):
        read_jpeg(**tiny, split="val", index=19)


def test_pixels_are_those_of_the_file(tiny):
    (batch, *_) = evaluation(tiny)
    assert torch.equal(batch.images[3], eval_image(decode(jpeg(3)), VIEW))


def test_a_set_that_was_really_packed_is_delivered_whole(packed):
    real = {"url": packed, "shardset": load_shardset(packed)}
    train = real["shardset"].split("train")
    epoch = take(training(real, micro_batch=8), train.samples // 8)
    counted = torch.cat([batch.labels for batch in epoch]).bincount()
    assert counted.tolist() == list(train.class_counts)
    (first, *_) = evaluation(real)
    for index in range(4):
        image = eval_image(decode(read_jpeg(**real, split="val", index=index)), VIEW)
        assert torch.equal(first.images[index], image)
    assert first.labels.tolist() == labels(**real, split="val")[:4].tolist()


def test_s3_gives_the_same_batches_through_the_cache(tiny, s3_url, tmp_path):
    remote = {"url": s3_url, "shardset": pack(s3_url)}
    assert digest(take(training(remote, cache=tmp_path), 40)) == digest(take(training(tiny), 40))
    assert len([path for path in tmp_path.iterdir() if path.name != "room"]) == 8  # 4 shards, 4 indexes
    assert read_jpeg(**remote, split="val", index=12) == jpeg(12)
