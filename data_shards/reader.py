"""One sample is one read: the index says where it is, a checksum says that it still is what was packed."""

import hashlib
import mmap
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_shards.cache import Cache
from data_shards.errors import DataError, DataUsageError
from data_shards.index import RECORD, TAR_BLOCK, Index, decode_index
from data_shards.order import Ints, Rows
from data_shards.segments import WHOLE, Lengths, Segments
from data_shards.shardset import Shard, ShardSet, Split
from data_shards.store import open_store

OPEN_SHARDS = 2048
"""Shards kept open: the widest default order mixes 256 streams x 4 shards, twice that at a block's edge."""


class Sample(NamedTuple):
    """An encoded image, checked; its label; its size in pixels and its segments, where they are known."""

    image: bytes
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

    def __init__(self, url: str, split: Split, cache: Path | None = None) -> None:
        """`cache` is the folder for shards that come from S3."""
        self.split = split
        self._url = url
        self._cache = Cache(url, cache)
        self._open: dict[int, _Open] = {}

    def read(self, shard: int, row: int) -> Sample:
        """Sample `row` of shard number `shard` of the split. DataError if it was damaged since packing."""
        records, tar, segments = self._opened(shard)
        image = _checked(tar, 0, records[row], f"{self._url}/{self.split.shards[shard].tar_key}")
        *_, label, width, height = records[row].item()
        return Sample(image, label, width, height, segments.of(row) if segments else WHOLE)

    def key(self, shard: int, row: int) -> str:
        """The key of a sample: its name in the tar. DataError if that is damaged."""
        opened = self._opened(shard)
        end = int(opened.records[row]["block"]) * TAR_BLOCK
        return _key(opened.tar[end - TAR_BLOCK : end], f"{self._url}/{self.split.shards[shard].tar_key}")

    def name(self, shard: int) -> str:
        """The shard's name."""
        return self.split.shards[shard].name

    def _opened(self, number: int) -> _Open:
        if number not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                del self._open[next(iter(self._open))]
            self._open[number] = self._map(self.split.shards[number])
        return self._open[number]

    def _map(self, shard: Shard) -> _Open:
        idx = self._cache.path(shard.index_key, shard.samples * RECORD.itemsize, shard.index_sha256)
        index = _verified_index(idx.read_bytes(), shard, self._url)
        tar = self._cache.path(shard.tar_key, shard.bytes, shard.sha256)
        return _Open(index, _mapped(tar), self._segments(shard))

    def _segments(self, shard: Shard) -> Segments | None:
        if shard.segments is None:
            return None
        path = self._cache.path(shard.segments_key, shard.segments.bytes, shard.segments.sha256)
        raw = _mapped(path)
        _check_digest(raw, shard.segments.sha256, f"{self._url}/{shard.segments_key}")
        return Segments(raw, shard.samples)


def read_pictures(url: str, shard: Shard, choose: Callable[[Index], Ints]) -> Iterator[tuple[bytes, int]]:
    """(image, label) of the rows that `choose` takes of a shard's index, checked, each by one small read."""
    store = open_store(url)
    index = _verified_index(store.read(shard.index_key), shard, url)
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
    ((image, _),) = read_pictures(url, chosen.shards[number], lambda _: np.array([row]))
    return image


def read_key(url: str, split: Split, shard: int, row: int) -> str:
    """The key of a sample, by two small reads. DataError if that is damaged or gone."""
    store, chosen = open_store(url), split.shards[shard]
    (record,) = decode_index(store.read(chosen.index_key, row * RECORD.itemsize, RECORD.itemsize))
    header = store.read(chosen.tar_key, (int(record["block"]) - 1) * TAR_BLOCK, TAR_BLOCK)
    return _key(header, f"{url}/{chosen.tar_key}")


def labels(url: str, shardset: ShardSet, split: str) -> Ints:
    """int64 [samples]: the labels of the split, in the order that evaluation numbers them."""
    store = open_store(url)
    shards = shardset.split(split).shards
    parts = [_verified_index(store.read(shard.index_key), shard, url)["label"] for shard in shards]
    return np.concatenate(parts).astype(np.int64)


def _key(header: bytes, name: str) -> str:
    """The key in a member's header, as webdataset reads it: up to the first dot of the file's name."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except tarfile.HeaderError as error:
        raise DataError(f"{name} is damaged: a member's header is not one ({error})") from None
    folder, slash, file = member.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _verified_index(raw: bytes, shard: Shard, url: str) -> Index:
    """The records, if `raw` is what the manifest says."""
    _check_digest(raw, shard.index_sha256, f"{url}/{shard.index_key}")
    return decode_index(raw)


def _check_digest(raw: bytes | mmap.mmap, sha256: str, name: str) -> None:
    digest = hashlib.sha256(raw).hexdigest()
    if digest != sha256:
        raise DataError(
            f"{name} is damaged: its sha256 is {digest} and the manifest says {sha256}. "
            "`raytrain data verify` lists all such files"
        )


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(
            f"cannot map {path}: {error.strerror}. A reader maps the files of up to {OPEN_SHARDS} shards: "
            "raise the limit of open files (`ulimit -n`) if there are too many"
        ) from error


def _checked(source: mmap.mmap | bytes, base: int, record: np.void, name: str) -> bytes:
    """The record's image out of `source`, which begins at byte `base` of the tar called `name`."""
    block, size, packed, *_ = record.item()
    start = block * TAR_BLOCK
    image = source[start - base : start - base + size]
    crc32 = zlib.crc32(image)
    if crc32 != packed:
        raise DataError(
            f"{name} is damaged at byte {start}: the image there has crc32 {crc32:08x} and the index says "
            f"{packed:08x}. `raytrain data verify` lists all damaged shards; pack them again"
        )
    return image
