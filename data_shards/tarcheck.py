"""Look into one tar: where are its members, what do they say, and which byte is the first that is wrong.

Three things cover a shard: header sums its headers, the index's crc its pictures, zeros the rest of its blocks.
"""

import tarfile
import zlib
from dataclasses import dataclass

import numpy as np

from data_shards.decode import UndecodableError, image_size
from data_shards.index import RECORD, TAR_BLOCK, Index

Finding = tuple[int, str]
"""(byte offset in the tar, what is wrong there)"""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in the tar: its bytes are [start, start + size)."""

    name: str
    start: int
    size: int


def inspect_tar(tar: bytes, index: Index) -> tuple[list[Finding], list[str]]:
    """(what is wrong, by offset; the pictures' keys in order). An intact shard has no findings."""
    members, findings = _walk(tar)
    pictures = [member for member in members if member.name.endswith(".jpg")]
    findings += _crc_findings(tar, index)
    if not findings:
        findings += _disagreements(tar, index, members, pictures)
    return sorted(findings), [member.name.removesuffix(".jpg") for member in pictures]


def rebuild_index(tar: bytes) -> Index:
    """The records of the pictures that can be found, as packing would write them."""
    rows, label = [], 0
    for member in _walk(tar)[0]:
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


def _walk(tar: bytes) -> tuple[list[Member], list[Finding]]:
    """All members up to the first damaged header, and what is wrong with the frame around them."""
    members: list[Member] = []
    findings: list[Finding] = []
    at = 0
    while True:
        try:
            info = tarfile.TarInfo.frombuf(tar[at : at + TAR_BLOCK], "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            break
        except tarfile.HeaderError:
            return members, [*findings, (at, f"the header of member {len(members)} is damaged")]
        start = at + TAR_BLOCK
        end = start + info.size
        if not start <= end <= len(tar):
            return members, [*findings, (at, f"{info.name} has {info.size} bytes, the file ends before")]
        at = start + -(-info.size // TAR_BLOCK) * TAR_BLOCK
        if any(tar[end:at]):
            findings.append((end, f"the block behind {info.name} is not filled with zeros"))
        members.append(Member(name=info.name, start=start, size=info.size))
    if tar[at:].strip(b"\0"):
        findings.append((at, "an end mark, and data behind it"))
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
