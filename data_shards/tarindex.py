"""Index one tar of somebody else's: its members become samples by webdataset's rule, its labels by a class list.

    KEY.jpg  KEY.cls  KEY.json     neighbours whose names are equal up to the first dot are one sample

A sample is one picture and one label. What breaks that rule is refused by tar, member and byte: a reader that
guesses would train on it. A picture that no decoder can read is dirt, and quarantined. Members that are neither
picture nor label (.pyd, .npy, .txt ...) are passed over unread.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from data_shards.decode import UndecodableError, image_size
from data_shards.index import RECORD, TAR_BLOCK, Index
from data_shards.keys import Keys, hash_keys, split_name
from data_shards.sources.base import WNID
from data_shards.store import Store
from data_shards.store.stream import Stream
from data_shards.tarwalk import Member, TarFaultError, walk

PICTURES = frozenset({"jpg", "jpeg", "png", "webp"})
"""Extensions of pictures, whatever is inside. WebP is known in order to be named: nothing here decodes it."""

MAX_PICTURE = 64 * 2**20
"""Bytes of a picture that is read at all."""

MAX_LABEL = 2**20
"""Bytes of a .cls or .json."""

WNID_IN_KEY = re.compile(r"(?:^|/)(n\d{8})[_/]")
"""ImageNet's own names begin with it: n01440764_10026, or lie in a folder of it."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a label means. `label_field` is the field of the .json that holds it, "" where the .cls does."""

    classes: tuple[str, ...]
    label_field: str


@dataclass(frozen=True, kw_only=True)
class Dirt:
    """A sample left out: the name of its picture, its label, and why."""

    name: str
    label: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class TarIndex:
    """What a tar holds. `keys` are hashes, in the order of `records`."""

    records: Index
    keys: Keys
    dirt: tuple[Dirt, ...]
    bytes: int
    sha256: str


@dataclass
class _Sample:
    """What was seen so far of the sample that the walk is in. `crc32` and the size in pixels are the picture's."""

    key: str
    first: Member
    extensions: set[str] = field(default_factory=set)
    picture: Member | None = None
    crc32: int = 0
    pixels: tuple[int, int] = (0, 0)
    dirt: str = ""
    label: int | None = None


def index_tar(store: Store, tar: str, rules: Rules) -> TarIndex:
    """Read a tar once, from front to back. TarFaultError, with the byte, at the first thing that breaks the rules."""
    stream = Stream(store, tar)
    rows, keys, dirt = [], [], []
    for sample in _samples(stream, rules):
        assert sample.picture is not None
        assert sample.label is not None
        if sample.dirt:
            dirt.append(Dirt(name=sample.picture.name, label=sample.label, reason=sample.dirt))
            continue
        keys.append(sample.key)
        block = sample.picture.start // TAR_BLOCK
        rows.append((block, sample.picture.size, sample.crc32, sample.label, *sample.pixels))
    return TarIndex(
        records=np.array(rows, RECORD),
        keys=hash_keys(keys),
        dirt=tuple(dirt),
        bytes=stream.size,
        sha256=stream.sha256(),
    )


def _samples(stream: Stream, rules: Rules) -> Iterator[_Sample]:
    """Whole samples, in the order of the tar."""
    positions = {wnid: label for label, wnid in enumerate(rules.classes)}
    seen: set[str] = set()
    sample: _Sample | None = None
    for member in walk(stream, stream.size):
        key, extension = split_name(member.name)
        if not key:
            continue
        if sample is None or key != sample.key:
            if sample is not None:
                yield _whole(sample, rules)
            if key in seen:
                raise TarFaultError(member.start, f"{member.name}: another sample has the key {key}")
            seen.add(key)
            sample = _Sample(key, member)
        if extension in sample.extensions:
            raise TarFaultError(member.start, f"{member.name} comes twice")
        sample.extensions.add(extension)
        if extension in PICTURES:
            _see_picture(sample, member, stream)
        elif extension == ("json" if rules.label_field else "cls"):
            sample.label = _label(member, stream, rules, positions)
    if sample is not None:
        yield _whole(sample, rules)


def _see_picture(sample: _Sample, member: Member, stream: Stream) -> None:
    """By its header only: a small file can claim any number of pixels."""
    if sample.picture is not None:
        raise TarFaultError(member.start, f"{member.name}: sample {sample.key} has two pictures")
    sample.picture = member
    if member.size > MAX_PICTURE:
        sample.dirt = f"{member.size:,} bytes, the limit is {MAX_PICTURE:,}"
        return
    content = stream.read(member.size)
    sample.crc32 = zlib.crc32(content)
    try:
        sample.pixels = image_size(content)
    except UndecodableError as error:
        sample.dirt = str(error)


def _label(member: Member, stream: Stream, rules: Rules, positions: dict[str, int]) -> int:
    """The label that a .cls or .json says, by number or by WNID."""
    if member.size > MAX_LABEL:
        raise TarFaultError(
            member.start, f"{member.name} has {member.size:,} bytes, the limit is {MAX_LABEL:,}"
        )
    content, classes = stream.read(member.size), len(rules.classes)
    said = _json_field(member, content, rules.label_field) if rules.label_field else content.decode("latin-1")
    if isinstance(said, str):
        said = said.strip()
        if said in positions:
            return positions[said]
        if not re.fullmatch(r"-?[0-9]{1,9}", said):
            what = f"{member.name} says {said[:40]!r}: no number, and no class of --classes, which has {classes:,}"
            raise TarFaultError(member.start, what)
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int):
        raise TarFaultError(
            member.start, f"{member.name}: {rules.label_field} is {said!r:.40}, neither number nor WNID"
        )
    if not 0 <= said < classes:
        what = f"{member.name} says label {said!r:.40}: --classes has 0 to {classes - 1:,}"
        raise TarFaultError(member.start, what)
    return said


def _json_field(member: Member, content: bytes, name: str) -> object:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        raise TarFaultError(member.start, f"{member.name} is no JSON") from None
    if not isinstance(told, dict) or name not in told:
        there = ", ".join(sorted(told)[:20]) if isinstance(told, dict) else "no object"
        raise TarFaultError(
            member.start, f"{member.name} has no field {name} (--label-field); it has {there}"
        )
    return told[name]


def _whole(sample: _Sample, rules: Rules) -> _Sample:
    """The sample, if it has a picture and a label, and the label is that of the WNID in its name."""
    if sample.picture is None:
        raise TarFaultError(sample.first.start, f"{sample.first.name}: sample {sample.key} has no picture")
    at, name = sample.picture.start, sample.picture.name
    if sample.label is None:
        where = (
            f".json with {rules.label_field}" if rules.label_field else ".cls (--label-field takes a .json)"
        )
        raise TarFaultError(at, f"{name} has no label beside it: no {where}")
    named, listed = WNID_IN_KEY.search(sample.key), rules.classes[sample.label]
    if named and named[1] != listed and WNID.fullmatch(listed):
        raise TarFaultError(
            at,
            f"{name} has label {sample.label}, which is {listed} in --classes: the list lacks a WNID of the "
            "data, or is in another order",
        )
    return sample
