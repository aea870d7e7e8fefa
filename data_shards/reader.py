"""One sample is one read: the index says where it is, a checksum says that it still is what was packed."""

import mmap
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from isal import isal_zlib

from data_shards.cache import Cache, DamagedError, check_digest
from data_shards.cache_room import NoRoomError
from data_shards.errors import DataError, DataUsageError
from data_shards.index import RECORD, TAR_BLOCK, Index, decode_index
from data_shards.keys import split_name
from data_shards.order import Ints, Rows
from data_shards.segments import WHOLE, Lengths, Segments
from data_shards.shardset import Shard, ShardSet, Split
from data_shards.store import open_store

OPEN_SHARDS = 4
"""Shards kept open by who reads one after the other; who mixes more at a time (`Order.open_shards`) says so."""

ROOM_TRIES, ROOM_WAIT = 120, 0.5
"""Where the cache is full: how often to look again for room, and the seconds in between. At a block's edge the
workers of a node let go of the old shards one after the other."""

File = tuple[str, int, str]
"""(key, bytes, sha256) of a file that the manifest names."""

Bytes = TypeVar("Bytes", bytes, memoryview)


class Sample(NamedTuple):
    """An encoded image in its shard, checked; its label; its size in pixels and its segments, where they are known."""

    image: memoryview
    label: int
    width: int
    height: int
    lengths: Lengths


class _Open(NamedTuple):
    records: Index
    tar: mmap.mmap
    segments: Segments | None


class Reader:
    """Reads samples of one split. Opens shards as they are needed; picklable while none is open."""

    def __init__(
        self, url: str, split: Split, cache: Path | None = None, open_shards: int = OPEN_SHARDS
    ) -> None:
        """`cache` is the folder for shards that come from S3. The least recently read of the open ones is closed."""
        self.split = split
        self.cache = Cache(url, cache)
        self.open_shards = open_shards
        self._url = url
        self._open: dict[int, _Open] = {}  # the last one read is the last one here

    def read(self, shard: int, row: int) -> Sample:
        """Sample `row` of shard number `shard` of the split. DataError if it was damaged since packing."""
        try:
            return self._sample(self._opened(shard), shard, row)
        except DamagedError:  # its file may have rotted in the cache, and S3 may still have the right one
            if not self.cache.mended(*files_of(self.split.shards[shard])[0]):
                raise
        del self._open[shard]
        return self._sample(self._opened(shard), shard, row)

    def bring(self, shard: int, older_than: float, wanted: Callable[[], bool]) -> None:
        """Have the shard's files in the cache, if they are not read in place. Raises as `Cache.fetch` does."""
        for file in files_of(self.split.shards[shard]) if self.cache.remote else ():
            if not self.cache.has(*file):
                self.cache.fetch(*file, older_than, wanted)

    def key(self, shard: int, row: int) -> str:
        """The key of a sample: its name in the tar. DataError if that is damaged."""
        opened = self._opened(shard)
        end = int(opened.records[row]["block"]) * TAR_BLOCK
        return _key(opened.tar[end - TAR_BLOCK : end], f"{self._url}/{self.split.shards[shard].tar_key}")

    def name(self, shard: int) -> str:
        """The shard's name."""
        return self.split.shards[shard].name

    def _opened(self, number: int) -> _Open:
        opened = self._open.pop(number, None)
        if opened is None:
            if len(self._open) >= self.open_shards:
                del self._open[next(iter(self._open))]
            opened = self._map(self.split.shards[number])
        self._open[number] = opened
        return opened

    def _sample(self, opened: _Open, shard: int, row: int) -> Sample:
        records, tar, segments = opened
        image = _checked(memoryview(tar), 0, records[row], f"{self._url}/{self.split.shards[shard].tar_key}")
        *_, label, width, height = records[row].item()
        return Sample(image, label, width, height, segments.of(row) if segments else WHOLE)

    def _map(self, shard: Shard) -> _Open:
        """Open a shard. Where the cache is full of files in use, ours are let go, and others may let go of theirs."""
        for _ in range(ROOM_TRIES):
            try:
                return self._mapped(*files_of(shard))
            except NoRoomError:
                self._open.clear()
                time.sleep(ROOM_WAIT)
        return self._mapped(*files_of(shard))

    def _mapped(self, tar: File, index: File, segments: File | None = None) -> _Open:
        records = _records(self.cache.read(*index), self.split, f"{self._url}/{index[0]}")
        lengths = Segments(self.cache.map(*segments, check=True), len(records)) if segments else None
        return _Open(records, self.cache.map(*tar, check=False), lengths)


def files_of(shard: Shard) -> tuple[File, ...]:
    """The files that reading a shard takes: its tar, its index and, where it has them, its segment lengths."""
    tar = (shard.tar_key, shard.bytes, shard.sha256)
    index = (shard.index_key, shard.samples * RECORD.itemsize, shard.index_sha256)
    if shard.segments is None:
        return tar, index
    return tar, index, (shard.segments_key, shard.segments.bytes, shard.segments.sha256)


def read_pictures(
    url: str, split: Split, shard: Shard, choose: Callable[[Index], Ints]
) -> Iterator[tuple[bytes, int]]:
    """(image, label) of the rows that `choose` takes of a shard's index, checked, each by one small read."""
    store = open_store(url)
    index = _verified_index(store.read(shard.index_key), split, shard, url)
    for record in index[choose(index)]:
        start = int(record["block"]) * TAR_BLOCK
        image = store.read(shard.tar_key, start, int(record["size"]))
        yield _checked(image, start, record, f"{url}/{shard.tar_key}"), int(record["label"])


def read_jpeg(url: str, shardset: ShardSet, split: str, index: int) -> bytes:
    """The original file of sample `index` of the split, by two small reads and no download of its shard."""
    chosen = shardset.split(split)
    if not 0 <= index < chosen.samples:
        raise DataUsageError(f"split '{split}' has no sample {index}: it has 0 to {chosen.samples - 1}")
    (number,), (row,) = Rows([shard.samples for shard in chosen.shards]).locate(np.array([index]))
    ((image, _),) = read_pictures(url, chosen, chosen.shards[number], lambda _: np.array([row]))
    return image


def read_key(url: str, split: Split, shard: int, row: int) -> str:
    """The key of a sample, by two small reads. DataError if that is damaged or gone."""
    store, chosen = open_store(url), split.shards[shard]
    (record,) = decode_index(store.read(chosen.index_key, row * RECORD.itemsize, RECORD.itemsize))
    header = store.read(chosen.tar_key, (int(record["block"]) - 1) * TAR_BLOCK, TAR_BLOCK)
    return _key(header, f"{url}/{chosen.tar_key}")


def indexes(url: str, split: Split) -> Iterator[Index]:
    """The records of each shard, checked: 18 bytes a sample are read, and no image."""
    store = open_store(url)
    return (_verified_index(store.read(shard.index_key), split, shard, url) for shard in split.shards)


def labels(url: str, shardset: ShardSet, split: str) -> Ints:
    """int64 [samples]: the labels of the split, in the order that evaluation numbers them."""
    parts = [index["label"] for index in indexes(url, shardset.split(split))]
    return np.concatenate(parts).astype(np.int64)


def _key(header: bytes, name: str) -> str:
    """The key in a member's header, as webdataset reads it: up to the first dot of the file's name."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except tarfile.HeaderError as error:
        raise DataError(f"{name} is damaged: a member's header is not one ({error})") from None
    return split_name(member)[0]


def _verified_index(raw: bytes, split: Split, shard: Shard, url: str) -> Index:
    """The records, if `raw` is what the manifest says."""
    check_digest(raw, shard.index_sha256, f"{url}/{shard.index_key}")
    return _records(raw, split, f"{url}/{shard.index_key}")


def _records(raw: bytes, split: Split, name: str) -> Index:
    """The records of an index, if the manifest has a class for every label in it."""
    index, classes = decode_index(raw), len(split.class_counts)
    if len(index) and index["label"].max() >= classes:
        raise DataError(
            f"{name} has label {index['label'].max()}, and the manifest has {classes} classes: "
            "they are of two versions. `raytrain data verify` names the samples"
        )
    return index


def _checked(source: Bytes, base: int, record: np.void, name: str) -> Bytes:
    """The record's image out of `source`, which begins at byte `base` of the tar called `name`."""
    block, size, packed, *_ = record.item()
    start = block * TAR_BLOCK
    image = source[start - base : start - base + size]
    crc32 = isal_zlib.crc32(image)  # the number that zlib gives, in a fifth of its time
    if crc32 != packed:
        raise DamagedError(
            f"{name} is damaged at byte {start}: the image there has crc32 {crc32:08x} and the index says "
            f"{packed:08x}. `raytrain data verify` lists all damaged shards; pack them again"
        )
    return image
