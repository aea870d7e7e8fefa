"""Verify: read every byte of a shard set again and say what is wrong, by file and byte offset.

The digests in the manifest decide whether there is a fault; `tarcheck.py` finds the place.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_shards.index import RECORD, TAR_BLOCK, Index, decode_index, encode_index
from data_shards.shardset import Shard, ShardSet, Split, Value, load_shardset
from data_shards.store import NotFoundError, Store, open_store
from data_shards.tarcheck import inspect_tar, rebuild_index

VERIFICATION = "verify.json"


class Fault(Value):
    """Something that is not as the manifest says. `offset` is where the damaged part of the file begins."""

    file: str
    offset: int
    what: str


class Verification(Value):
    """What verification read and found: the content of verify.json."""

    fingerprint: str
    shards: int
    samples: int
    bytes: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What was learnt of one shard. `keys` are 64-bit hashes in the order of the index."""

    faults: list[Fault]
    index: Index
    keys: npt.NDArray[np.uint64]


def verify(url: str, threads: int, on_shard: Callable[[int, int], None]) -> Verification:
    """Read all of the set at `url` and write verify.json; `on_shard(shards, of)` is told of each shard.

    Each thread holds one shard in memory. DataError where there is no set at all.
    """
    shardset, store = load_shardset(url), open_store(url)
    total = sum(len(split.shards) for split in shardset.splits.values())
    faults = list(_strangers(shardset, store))
    with ThreadPoolExecutor(threads) as pool:
        for name, split in shardset.splits.items():
            readings = []
            for reading in pool.map(lambda shard: _read(store, shard), split.shards):
                on_shard(1, total)
                readings.append(reading)
                faults += reading.faults
            faults += _check_split(name, split, readings, len(shardset.classes))
    verification = Verification(
        fingerprint=shardset.fingerprint,
        shards=total,
        samples=sum(split.samples for split in shardset.splits.values()),
        bytes=sum(shard.bytes for split in shardset.splits.values() for shard in split.shards),
        faults=tuple(faults),
    )
    store.write(VERIFICATION, verification.model_dump_json(indent=1).encode())
    return verification


def _strangers(shardset: ShardSet, store: Store) -> Iterator[Fault]:
    """Files that no manifest knows: a reader that goes by patterns would take them for samples."""
    shards = [shard for split in shardset.splits.values() for shard in split.shards]
    known = {shard.tar_key for shard in shards} | {shard.index_key for shard in shards}
    for key in store.list("shards/") + store.list("index/"):
        if key not in known:
            yield Fault(file=key, offset=0, what="the manifest does not name this file")


def _read(store: Store, shard: Shard) -> _Reading:
    faults, contents = [], []
    for key in (shard.tar_key, shard.index_key):
        try:
            contents.append(store.read(key))
        except NotFoundError:
            faults.append(Fault(file=key, offset=0, what="the file is missing"))
    if faults:
        return _Reading(faults=faults, index=np.zeros(0, RECORD), keys=np.zeros(0, np.uint64))
    return judge(shard, *contents)


def judge(shard: Shard, tar: bytes, raw_index: bytes) -> _Reading:
    """Compare a shard's files with the manifest and with each other."""
    faults = []
    if hashlib.sha256(raw_index).hexdigest() == shard.index_sha256:
        index = decode_index(raw_index)
    else:
        index = rebuild_index(tar)
        offset = _first_difference(raw_index, encode_index(index))
        faults.append(
            Fault(file=shard.index_key, offset=offset, what="the index is not the one that was packed")
        )
    found, keys = inspect_tar(tar, index)
    if hashlib.sha256(tar).hexdigest() != shard.sha256:
        found = found or [
            (0, "the sha256 is wrong, though every picture is whole: the damage is in a tar header")
        ]
        if len(tar) != shard.bytes:
            found.append((min(len(tar), shard.bytes), f"{len(tar)} bytes long, packed were {shard.bytes}"))
    elif len(index) != shard.samples:
        found.append((0, f"{len(index)} samples, the manifest says {shard.samples}"))
    faults += [Fault(file=shard.tar_key, offset=offset, what=what) for offset, what in found]
    return _Reading(faults=faults, index=index, keys=np.array([_hash(key) for key in keys], np.uint64))


def _first_difference(left: bytes, right: bytes) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _hash(key: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big"
    )


def _check_split(name: str, split: Split, readings: list[_Reading], classes: int) -> Iterator[Fault]:
    """What can only be seen over all shards of a split. Counts mean nothing where a shard is damaged."""
    for shard, reading in zip(split.shards, readings, strict=True):
        for sample in np.flatnonzero(reading.index["label"] >= classes):
            yield _at(
                shard, reading, int(sample), f"label {reading.index['label'][sample]} of {classes} classes"
            )
    if any(reading.faults for reading in readings):
        return
    yield from _duplicates(split, readings)
    labels = np.concatenate([reading.index["label"] for reading in readings] or [np.zeros(0, np.uint16)])
    counts = np.bincount(labels, minlength=classes).tolist()
    for label, (found, said) in enumerate(zip(counts, split.class_counts, strict=False)):
        if found != said:
            what = f"split {name} has {found} samples of label {label}, the manifest says {said}"
            yield Fault(file="shardset.json", offset=0, what=what)


def _at(shard: Shard, reading: _Reading, sample: int, what: str) -> Fault:
    return Fault(file=shard.tar_key, offset=int(reading.index["block"][sample]) * TAR_BLOCK, what=what)


def _duplicates(split: Split, readings: list[_Reading]) -> Iterator[Fault]:
    """Samples whose key came before: by sorted hashes, 8 bytes a sample, since there may be 14 million."""
    keys = np.concatenate([reading.keys for reading in readings] or [np.zeros(0, np.uint64)])
    ends = np.cumsum([len(reading.keys) for reading in readings])
    order = np.argsort(keys, kind="stable")
    for again in np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1:
        (shard, sample), (first_shard, first) = (
            _locate(ends, int(order[position])) for position in (again, again - 1)
        )
        what = f"sample {sample} has the key of sample {first} of {split.shards[first_shard].name}"
        yield _at(split.shards[shard], readings[shard], sample, what)


def _locate(ends: npt.NDArray[np.int64], position: int) -> tuple[int, int]:
    """(shard, sample in it) of a position in the split; `ends` are the running sums of the shards' samples."""
    shard = int(np.searchsorted(ends, position, side="right"))
    return shard, position - (int(ends[shard - 1]) if shard else 0)
