"""Verify: look at a shard set again and say what is wrong, by file and byte offset.

    index    sizes, and the indexes: their digests, labels and counts. No tar is read
    digests  every byte of every file, too
    pixels   every picture is decoded, too

The digests in the manifest decide whether there is a fault; `tarcheck.py` finds the place.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data_shards.budget import MAX_BAD, check_share, excess
from data_shards.decode import UndecodableError, decode
from data_shards.index import RECORD, TAR_BLOCK, Index, decode_index, encode_index
from data_shards.keys import Keys, duplicates, hash_keys
from data_shards.reader import read_key
from data_shards.shard_writer import Quarantined
from data_shards.shardset import MANIFEST, Adoption, Shard, ShardSet, Split, Value, load_shardset
from data_shards.shared_keys import write_keys
from data_shards.store import DeniedError, NotFoundError, Store, Unfinished, open_store
from data_shards.store.stream import Stream
from data_shards.sweep import unfinished
from data_shards.tarcheck import FOREIGN_INDEX, first_difference, inspect_adopted, inspect_tar, rebuild_index
from data_shards.tarindex import Rules
from data_shards.tarsplits import list_tars

VERIFICATION = "verify.json"

Depth = Literal["index", "digests", "pixels"]


class Fault(Value):
    """Something that is not as the manifest says. `offset` is where the damaged part of the file begins."""

    file: str
    offset: int
    what: str


class Verification(Value):
    """What verification read and found: the content of verify.json.

    `undecodable` are samples whose file is as it was packed, and no picture: dirt in the source, not damage. `excess`
    says where there is more of it than a run would put up with.
    `unfinished` are writes of killed writers, or of one at work: no part of the set. None where a reader may not ask.
    """

    fingerprint: str
    depth: Depth = "digests"
    shards: int
    samples: int
    bytes: int
    faults: tuple[Fault, ...]
    undecodable: tuple[Quarantined, ...] = ()
    excess: tuple[str, ...] = ()
    unfinished: tuple[Unfinished, ...] | None = ()


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What was learnt of one shard. `keys` are in the order of the index; none where the tar was not read."""

    faults: list[Fault]
    index: Index
    keys: Keys
    undecodable: tuple[tuple[int, str], ...] = ()


def verify(
    url: str,
    threads: int,
    on_shard: Callable[[int, int], None],
    depth: Depth = "digests",
    max_bad: float = MAX_BAD,
) -> Verification:
    """Look at the set at `url` and write verify.json; `on_shard(shards, of)` is told of each shard.

    A set whose tars were read, and are whole, gets the hashes of its keys beside it too (shared_keys.py). Each thread
    holds one shard in memory (of an adopted set 8 MiB). DataError where there is no set at all. Of pictures that no
    decoder reads `max_bad` are put up with (budget.py).
    """
    check_share(max_bad)
    shardset, store = load_shardset(url), open_store(url)
    total = sum(len(split.shards) for split in shardset.splits.values())
    faults = list(_strangers(shardset, store))
    undecodable: list[Quarantined] = []
    keys = [np.zeros(0, np.uint64)]
    with ThreadPoolExecutor(threads) as pool:
        for name, split in shardset.splits.items():
            readings = []
            for reading in pool.map(lambda shard: _read(store, shardset, shard, depth), split.shards):
                on_shard(1, total)
                readings.append(reading)
                faults += reading.faults
                keys.append(reading.keys)
            for found in pool.map(lambda shard: list(_check_segments(store, shard, depth)), split.shards):
                faults += found
            faults += _check_split(name, split, readings, len(shardset.classes))
            if not faults:
                undecodable += _undecodable(url, name, shardset, readings)
    verification = Verification(
        fingerprint=shardset.fingerprint,
        depth=depth,
        shards=total,
        samples=sum(split.samples for split in shardset.splits.values()),
        bytes=sum(shard.bytes for split in shardset.splits.values() for shard in split.shards),
        faults=tuple(faults),
        undecodable=tuple(undecodable),
        excess=tuple(_excess(shardset, undecodable, max_bad)),
        unfinished=_unfinished(store),
    )
    if depth != "index" and not faults:
        write_keys(store, shardset, np.concatenate(keys))
    store.write(VERIFICATION, verification.model_dump_json(indent=1).encode())
    return verification


def _unfinished(store: Store) -> tuple[Unfinished, ...] | None:
    try:
        return unfinished(store)
    except DeniedError:
        return None


def _strangers(shardset: ShardSet, store: Store) -> Iterator[Fault]:
    """Files that no manifest knows: a reader that goes by patterns would take them for samples."""
    shards = [shard for split in shardset.splits.values() for shard in split.shards]
    known = {shard.tar_key for shard in shards} | {shard.index_key for shard in shards}
    known |= {shard.segments_key for shard in shards if shard.segments is not None}
    if isinstance(shardset.packing, Adoption):
        known.update(shardset.packing.left_out)
        tars = list_tars(store)
    else:
        tars = store.list("shards/")
    for key in tars + store.list("index/"):
        if key not in known:
            yield Fault(file=key, offset=0, what="the manifest does not name this file")


def _read(store: Store, shardset: ShardSet, shard: Shard, depth: Depth) -> _Reading:
    faults = []
    for key in (shard.tar_key, shard.index_key):
        try:
            store.size(key)
        except NotFoundError:
            faults.append(Fault(file=key, offset=0, what="the file is missing"))
    if faults:
        return _nothing(faults)
    if depth == "index":
        return _glance(store, shard)
    if isinstance(shardset.packing, Adoption):
        rules = Rules(classes=shardset.classes, label_field=shardset.packing.label_field)
        reading = _judge_adopted(store, shard, rules)
    else:
        reading = judge(shard, store.read(shard.tar_key), store.read(shard.index_key))
    return _decoded(store, shard, reading) if depth == "pixels" else reading


def _nothing(faults: list[Fault]) -> _Reading:
    return _Reading(faults=faults, index=np.zeros(0, RECORD), keys=np.zeros(0, np.uint64))


def _glance(store: Store, shard: Shard) -> _Reading:
    """Sizes and the index."""
    size, raw = store.size(shard.tar_key), store.read(shard.index_key)
    faults = []
    if size != shard.bytes:
        what = f"{size} bytes long, packed were {shard.bytes}"
        faults.append(Fault(file=shard.tar_key, offset=min(size, shard.bytes), what=what))
    if hashlib.sha256(raw).hexdigest() != shard.index_sha256:
        return _nothing([*faults, Fault(file=shard.index_key, offset=0, what=FOREIGN_INDEX)])
    index = decode_index(raw)
    if len(index) != shard.samples:
        what = f"{len(index)} samples, the manifest says {shard.samples}"
        faults.append(Fault(file=shard.index_key, offset=0, what=what))
    return _Reading(faults=faults, index=index, keys=np.zeros(0, np.uint64))


def _check_segments(store: Store, shard: Shard, depth: Depth) -> Iterator[Fault]:
    """The segment lengths, where the set has some. They are large: without the digests their size has to do."""
    key, packed = shard.segments_key, shard.segments
    if packed is None:
        return
    try:
        size = store.size(key)
        if size != packed.bytes:
            what = f"{size} bytes long, packed were {packed.bytes}"
            yield Fault(file=key, offset=min(size, packed.bytes), what=what)
        elif depth != "index" and hashlib.sha256(store.read(key)).hexdigest() != packed.sha256:
            yield Fault(file=key, offset=0, what="the segment lengths are not those that were packed")
    except NotFoundError:
        yield Fault(file=key, offset=0, what="the file is missing")


def judge(shard: Shard, tar: bytes, raw_index: bytes) -> _Reading:
    """Compare a shard's files with the manifest and with each other."""
    faults = []
    if hashlib.sha256(raw_index).hexdigest() == shard.index_sha256:
        index = decode_index(raw_index)
    else:
        index = rebuild_index(tar)
        offset = first_difference(raw_index, encode_index(index))
        faults.append(Fault(file=shard.index_key, offset=offset, what=FOREIGN_INDEX))
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
    return _Reading(faults=faults, index=index, keys=hash_keys(keys))


def _judge_adopted(store: Store, shard: Shard, rules: Rules) -> _Reading:
    """As `judge`, for a tar of somebody else's."""
    found = inspect_adopted(store, shard, rules)
    faults = [Fault(file=shard.index_key, offset=offset, what=what) for offset, what in found.index]
    faults += [Fault(file=shard.tar_key, offset=offset, what=what) for offset, what in found.tar]
    return _Reading(faults=faults, index=found.records, keys=found.keys)


def _decoded(store: Store, shard: Shard, reading: _Reading) -> _Reading:
    """The reading, with what no decoder reads; of a damaged shard nothing more is said."""
    if reading.faults:
        return reading
    stream, bad = Stream(store, shard.tar_key), []
    for row, record in enumerate(reading.index):
        stream.seek(int(record["block"]) * TAR_BLOCK)
        try:
            decode(stream.read(int(record["size"])))
        except UndecodableError as error:
            bad.append((row, str(error)))
    return replace(reading, undecodable=tuple(bad))


def _undecodable(url: str, name: str, shardset: ShardSet, readings: list[_Reading]) -> Iterator[Quarantined]:
    split = shardset.splits[name]
    for number, (shard, reading) in enumerate(zip(split.shards, readings, strict=True)):
        for row, reason in reading.undecodable:
            wnid = shardset.classes[reading.index["label"][row]]
            file = f"{shard.tar_key}: {read_key(url, split, number, row)}"
            yield Quarantined(split=name, wnid=wnid, file=file, reason=reason)


def _excess(shardset: ShardSet, undecodable: list[Quarantined], max_bad: float) -> Iterator[str]:
    for name, split in shardset.splits.items():
        images = dict(zip(shardset.classes, split.class_counts, strict=False))
        over = excess(name, (line.wnid for line in undecodable if line.split == name), images, max_bad)
        if over is not None:
            yield str(over)


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
    if len(split.class_counts) != classes:
        what = f"split {name} counts {len(split.class_counts)} classes of {classes}"
        yield Fault(file=MANIFEST, offset=0, what=what)
    counts = np.bincount(labels, minlength=classes).tolist()
    for label, (found, said) in enumerate(zip(counts, split.class_counts, strict=False)):
        if found != said:
            what = f"split {name} has {found} samples of label {label}, the manifest says {said}"
            yield Fault(file=MANIFEST, offset=0, what=what)


def _at(shard: Shard, reading: _Reading, sample: int, what: str) -> Fault:
    return Fault(file=shard.tar_key, offset=int(reading.index["block"][sample]) * TAR_BLOCK, what=what)


def _duplicates(split: Split, readings: list[_Reading]) -> Iterator[Fault]:
    """Samples whose key came before."""
    for (shard, sample), (first_shard, first) in duplicates([reading.keys for reading in readings]):
        what = f"sample {sample} has the key of sample {first} of {split.shards[first_shard].name}"
        yield _at(split.shards[shard], readings[shard], sample, what)
