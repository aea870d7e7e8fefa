"""A packing worker's job: some files in, one tar (by webdataset) and its index out."""

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_shards.decode import JPEG, UndecodableError, image_size
from data_shards.index import RECORD, TAR_BLOCK, Index, encode_index
from data_shards.resize import Resize
from data_shards.shardset import Shard, Value
from data_shards.sources import Item, read_item
from data_shards.store import Store, open_store

JPEG_QUALITY = 95
"""For what is no plain JPEG: the quality at which Pillow's documentation says that more is only larger."""

UNREADABLE = (OSError, SyntaxError, ValueError, IndexError)
"""What Pillow raises for damaged pictures (its PNG reader raises SyntaxError for a bad checksum)."""


class Quarantined(Value):
    """A file (relative to the source) that is no picture, and why: one line of quarantine.jsonl."""

    split: str
    wnid: str
    file: str
    reason: str


class ShardRecord(Value):
    """What came of a job: the shard, and the files left out. Its presence beside the index means: done."""

    shard: Shard
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """What to pack into one shard, from where and to where."""

    root: Path
    out: str
    split: str
    name: str
    classes: tuple[str, ...]
    items: list[Item]
    resize: Resize | None = None


def write_shard(job: ShardJob) -> ShardRecord:
    """Pack the job's files. The tar is built in memory; tar, index and record are stored in this order."""
    tar, records, quarantined = _build(job)
    index = encode_index(records)
    record = ShardRecord(
        shard=Shard(
            name=job.name,
            samples=len(records),
            bytes=len(tar),
            sha256=hashlib.sha256(tar).hexdigest(),
            index_sha256=hashlib.sha256(index).hexdigest(),
        ),
        quarantined=tuple(quarantined),
    )
    store = open_store(job.out)
    if len(records):
        put(store, record.shard.tar_key, tar)
        put(store, record.shard.index_key, index)
    put(store, f"index/{job.name}.json", record.model_dump_json().encode())
    return record


def put(store: Store, key: str, content: bytes) -> None:
    """Write `key` anew, without what a killed write of it may have left."""
    store.delete(key)
    store.write(key, content)


def _build(job: ShardJob) -> tuple[bytes, Index, list[Quarantined]]:
    """The tar's bytes, its index records and the files left out."""
    import webdataset  # here, because it imports torch, which the parent of the workers does not need

    tar, rows, quarantined = io.BytesIO(), [], []
    with webdataset.TarWriter(tar, user="", group="", mtime=0, encoder=False, compress=False) as writer:
        for item in job.items:
            try:
                jpeg, width, height = as_jpeg(read_item(job.root, item), job.resize)
            except UndecodableError as error:
                reason, wnid = str(error), job.classes[item.label]
                quarantined.append(Quarantined(split=job.split, wnid=wnid, file=item.where, reason=reason))
                continue
            writer.write({"__key__": item.key, "cls": str(item.label).encode(), "jpg": jpeg})
            # members go in by name, cls before jpg: the picture's blocks are the last ones written
            block = writer.tarstream.offset // TAR_BLOCK - -(-len(jpeg) // TAR_BLOCK)
            rows.append((block, len(jpeg), zlib.crc32(jpeg), item.label, width, height))
    return tar.getvalue(), np.array(rows, RECORD), quarantined


def as_jpeg(raw: bytes, resize: Resize | None = None) -> tuple[bytes, int, int]:
    """(JPEG, width, height). All of it is decoded once, for only a decoder finds a picture cut short.

    JPEGs in colour or gray pass unchanged, as their camera made them; the rest (PNG, CMYK), and what `resize`
    changes, becomes RGB JPEG. Raises UndecodableError.
    """
    size = image_size(raw)
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
            if image.size != size:
                raise UndecodableError(f"its first header says {size} pixels, a later one {image.size}")
            image.load()
            target = resize.target(size) if resize else size
            if raw.startswith(JPEG) and image.mode in ("RGB", "L") and target == size:
                return raw, *size
            jpeg = _transcode(image, target)
    except UNREADABLE as error:
        raise UndecodableError(f"{type(error).__name__}: {error}") from None
    return jpeg, *target


def _transcode(image: Image.Image, size: tuple[int, int]) -> bytes:
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips at 255 instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    encoded = io.BytesIO()
    image = image.convert("RGB")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)  # antialiased, as Pillow's resize always is
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()
