"""A packing worker's job: some files in, one tar (by webdataset), its index and perhaps its segment lengths out."""

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field

from data_shards.decode import JPEG, UNREADABLE, UndecodableError, image_size
from data_shards.errors import DataError
from data_shards.index import RECORD, TAR_BLOCK, encode_index
from data_shards.resize import Resize
from data_shards.restart import with_restarts
from data_shards.segments import encode_segments
from data_shards.shardset import Shard, StoredFile, Value
from data_shards.sources import Item, read_item
from data_shards.store import Store, open_store
from data_shards.tools import PILLOW, Tools, differing, here

JPEG_QUALITY = 95
"""For what is no plain JPEG: the quality at which Pillow's documentation says that more is only larger."""


class Quarantined(Value):
    """A file (relative to the source) that is no picture, and why: one line of quarantine.jsonl."""

    split: str
    wnid: str
    file: str
    reason: str


class Restarts(Value):
    """What restart markers cost: bytes `added`, with the lengths (negative where re-coding saved more), and the
    number of images `left` as they were.
    """

    added: int
    left: int


class ShardRecord(Value):
    """What came of a job: the shard, and the files left out. Its presence beside the index means: done.

    `tools` are those that wrote bytes of it: Pillow where a picture was coded anew, jpegtran where it set markers.
    """

    shard: Shard
    quarantined: tuple[Quarantined, ...]
    restarts: Restarts | None = None
    tools: Tools = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """What to pack into one shard, from where, to where and with which `tools`."""

    root: Path
    out: str
    split: str
    name: str
    classes: tuple[str, ...]
    items: list[Item]
    tools: Tools
    resize: Resize | None = None
    restart_markers: bool = False


@dataclass(frozen=True, kw_only=True)
class _Built:
    """A shard's files in memory. `segments` is there where restart markers are asked for."""

    tar: bytes
    index: bytes
    segments: bytes | None
    samples: int
    quarantined: tuple[Quarantined, ...]
    restarts: Restarts | None
    tools: Tools


def write_shard(job: ShardJob) -> ShardRecord:
    """Pack the job's files. The tar is built in memory; tar, index, segments and record are stored in this order.

    DataError, and nothing is stored, where this machine has another version of a tool that wrote bytes.
    """
    built = _build(job)
    if difference := differing(built.tools, job.tools):
        raise DataError(
            f"{job.name} was packed with {difference}, as on the machine that gave the order: the bytes would not be "
            "those of the other shards. Install one version on all nodes and run the same command again: it continues"
        )
    tar, index = _stored(built.tar), _stored(built.index)
    shard = Shard(
        name=job.name,
        samples=built.samples,
        bytes=tar.bytes,
        sha256=tar.sha256,
        index_sha256=index.sha256,
        segments=None if built.segments is None else _stored(built.segments),
    )
    record = ShardRecord(
        shard=shard, quarantined=built.quarantined, restarts=built.restarts, tools=built.tools
    )
    store = open_store(job.out)
    if built.samples:
        put(store, shard.tar_key, built.tar)
        put(store, shard.index_key, built.index)
        if built.segments is not None:
            put(store, shard.segments_key, built.segments)
    put(store, f"index/{job.name}.json", record.model_dump_json().encode())
    return record


def _stored(content: bytes) -> StoredFile:
    return StoredFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def put(store: Store, key: str, content: bytes) -> None:
    """Write `key` anew, without what a killed write of it may have left."""
    store.delete(key)
    store.write(key, content)


def _build(job: ShardJob) -> _Built:
    import webdataset  # here, because it imports torch, which the parent of the workers does not need

    tar, rows, lengths, quarantined, added, recoded = io.BytesIO(), [], [], [], 0, False
    with webdataset.TarWriter(tar, user="", group="", mtime=0, encoder=False, compress=False) as writer:
        for item in job.items:
            try:
                raw = read_item(job.root, item)
                jpeg, width, height = as_jpeg(raw, job.resize)
            except UndecodableError as error:
                reason, wnid = str(error), job.classes[item.label]
                quarantined.append(Quarantined(split=job.split, wnid=wnid, file=item.where, reason=reason))
                continue
            recoded = recoded or jpeg != raw
            if job.restart_markers:
                added -= len(jpeg)
                jpeg, segments = with_restarts(jpeg)
                added += len(jpeg)
                lengths.append(segments)
            writer.write({"__key__": item.key, "cls": str(item.label).encode(), "jpg": jpeg})
            # members go in by name, cls before jpg: the picture's blocks are the last ones written
            block = writer.tarstream.offset // TAR_BLOCK - -(-len(jpeg) // TAR_BLOCK)
            rows.append((block, len(jpeg), zlib.crc32(jpeg), item.label, width, height))
    table = encode_segments(lengths) if job.restart_markers else None
    left = sum(not len(sample) for sample in lengths)
    tools = here(restart_markers=job.restart_markers)
    return _Built(
        tar=tar.getvalue(),
        index=encode_index(np.array(rows, RECORD)),
        segments=table,
        samples=len(rows),
        quarantined=tuple(quarantined),
        restarts=None if table is None else Restarts(added=added + len(table), left=left),
        tools={name: version for name, version in tools.items() if recoded or name != PILLOW},
    )


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
