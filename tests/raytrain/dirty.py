"""Dirt in a packed set: pictures that no decoder reads, with every digest right, as an adopted set may have them."""

import hashlib
import zlib
from pathlib import Path

from data_shards.index import TAR_BLOCK, decode_index, encode_index
from data_shards.shardset import MANIFEST, load_shardset


def spoil(url: Path, split: str, places: list[tuple[int, int]]) -> None:
    """Overwrite the pictures at (shard, row) of a split with bytes that are none, and make the set agree with it."""
    shardset = load_shardset(str(url))
    part = shardset.split(split)
    shards = list(part.shards)
    for number, row in places:
        shard = shards[number]
        tar, idx = url / f"shards/{shard.name}.tar", url / f"index/{shard.name}.idx"
        raw, records = bytearray(tar.read_bytes()), decode_index(idx.read_bytes()).copy()
        start, size = int(records[row]["block"]) * TAR_BLOCK, int(records[row]["size"])
        raw[start : start + size] = b"?" * size
        records["crc32"][row] = zlib.crc32(b"?" * size)
        tar.write_bytes(raw)
        idx.write_bytes(encode_index(records))
        digests = {
            "sha256": hashlib.sha256(raw).hexdigest(),
            "index_sha256": hashlib.sha256(idx.read_bytes()).hexdigest(),
        }
        shards[number] = shard.model_copy(update=digests)
    splits = {**shardset.splits, split: part.model_copy(update={"shards": tuple(shards)})}
    (url / MANIFEST).write_text(shardset.model_copy(update={"splits": splits}).model_dump_json())
