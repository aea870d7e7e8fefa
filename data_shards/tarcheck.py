"""Look into one tar: where are its members, what do they say, and which byte is the first that is wrong.

Three things cover a shard: header sums its headers, the index's crc its pictures, zeros the rest of its blocks.
"""

import hashlib
import io
import zlib
from dataclasses import dataclass

import numpy as np

from data_shards.decode import UndecodableError, image_size
from data_shards.index import RECORD, TAR_BLOCK, Index, decode_index, encode_index
from data_shards.keys import Keys, hash_keys
from data_shards.shardset import Shard
from data_shards.store import Store
from data_shards.tarindex import Rules, index_tar
from data_shards.tarwalk import Member, TarFaultError, walk

Finding = tuple[int, str]
"""(byte offset in the tar, what is wrong there)"""


def inspect_tar(tar: bytes, index: Index) -> tuple[list[Finding], list[str]]:
    """(what is wrong, by offset; the pictures' keys in order). An intact shard has no findings."""
    members, findings = _frame(tar)
    pictures = [member for member in members if member.name.endswith(".jpg")]
    findings += _crc_findings(tar, index)
    if not findings:
        findings += _disagreements(tar, index, members, pictures)
    return sorted(findings), [member.name.removesuffix(".jpg") for member in pictures]


def rebuild_index(tar: bytes) -> Index:
    """The records of the pictures that can be found, as packing would write them."""
    rows, label = [], 0
    for member in _frame(tar)[0]:
        content = tar[member.start : member.start + member.size]
        if member.name.endswith(".cls"):
            label = int(content) if content.isdigit() else 0
        elif member.name.endswith(".jpg"):
            try:
                width, height = image_size(content)
            except UndecodableError:
                width, height = 0, 0
            rows.append((member.start // TAR_BLOCK, member.size, zlib.crc32(content), label, width, height))
    return np.array(rows, RECORD)


def _frame(tar: bytes) -> tuple[list[Member], list[Finding]]:
    """All members up to the first damaged header, and what is wrong with the frame around them."""
    members: list[Member] = []
    findings: list[Finding] = []
    try:
        for member in walk(io.BytesIO(tar), len(tar)):
            members.append(member)
            end = member.start + member.size
            if any(tar[end : member.padded_end]):
                findings.append((end, f"the block behind {member.name} is not filled with zeros"))
    except TarFaultError as fault:
        return members, [*findings, (fault.offset, fault.what)]
    end = members[-1].padded_end if members else 0
    if tar[end:].strip(b"\0"):
        findings.append((end, "an end mark, and data behind it"))
    return members, findings


def _crc_findings(tar: bytes, index: Index) -> list[Finding]:
    view, findings = memoryview(tar), []
    for sample, (block, size, crc, *_) in enumerate(index.tolist()):
        start = block * TAR_BLOCK
        if zlib.crc32(view[start : start + size]) != crc:
            findings.append((start, f"sample {sample}: these {size} bytes are not those that were packed"))
    return findings


def _disagreements(tar: bytes, index: Index, members: list[Member], pictures: list[Member]) -> list[Finding]:
    """Where tar and index, each whole, say different things."""
    if len(pictures) != len(index):
        return [(0, f"{len(pictures)} pictures in the tar, {len(index)} in the index")]
    findings = [
        (member.start, f"{member.name} is not where the index has sample {sample}")
        for sample, member in enumerate(pictures)
        if member.start != int(index["block"][sample]) * TAR_BLOCK
    ]
    labels = [member for member in members if member.name.endswith(".cls")]
    if len(labels) != len(index):
        return [*findings, (0, f"{len(labels)} labels (.cls) for {len(index)} pictures")]
    for sample, member in enumerate(labels):
        said = tar[member.start : member.start + member.size].strip()
        if said != str(index["label"][sample]).encode():
            findings.append(
                (member.start, f"{member.name} says {said!r}, the index {index['label'][sample]}")
            )
    return findings


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What was found in an adopted tar, and in its index. `keys` are in the order of `records`."""

    tar: list[Finding]
    index: list[Finding]
    records: Index
    keys: Keys


def inspect_adopted(store: Store, shard: Shard, rules: Rules) -> Inspected:
    """Index somebody else's tar again, by the rules of its adoption, and compare. An intact shard has no findings.

    Padding and what follows the end mark may hold anything there: only the digest covers them.
    """
    raw = store.read(shard.index_key)
    known = hashlib.sha256(raw).hexdigest() == shard.index_sha256
    try:
        found = index_tar(store, shard.tar_key, rules)
    except TarFaultError as fault:
        findings = [*_length(store.size(shard.tar_key), shard.bytes), (fault.offset, fault.what)]
        records = decode_index(raw) if known else np.zeros(0, RECORD)
        wrong = [] if known else [(0, FOREIGN_INDEX)]
        return Inspected(tar=sorted(findings), index=wrong, records=records, keys=hash_keys([]))
    tar = [] if found.sha256 == shard.sha256 else _length(found.bytes, shard.bytes)
    if known and encode_index(found.records) != raw:
        tar += _unlike(decode_index(raw), found.records)
    if found.sha256 != shard.sha256 and not tar:
        tar = [(0, "the sha256 is wrong, though every sample is whole: the damage is between them")]
    wrong = [] if known else [(first_difference(raw, encode_index(found.records)), FOREIGN_INDEX)]
    return Inspected(tar=sorted(tar), index=wrong, records=found.records, keys=found.keys)


FOREIGN_INDEX = "the index is not the one that was packed"


def _length(found: int, packed: int) -> list[Finding]:
    return [(min(found, packed), f"{found} bytes long, packed were {packed}")] if found != packed else []


def _unlike(index: Index, found: Index) -> list[Finding]:
    """Where an index and what is found in its tar begin to differ."""
    row = first_difference(encode_index(index), encode_index(found)) // RECORD.itemsize
    if row >= len(index):
        return [
            (int(found["block"][row]) * TAR_BLOCK, f"a sample that the index of {len(index)} does not have")
        ]
    start = int(index["block"][row]) * TAR_BLOCK
    return [(start, f"sample {row}: what is here is not what was packed")]


def first_difference(left: bytes, right: bytes) -> int:
    """The first byte at which two files differ."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
