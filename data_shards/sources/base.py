"""What there is to pack, as lists: where the bytes of each image lie, in a file of its own or inside an archive.

A reader of some layout lists images as `Found`, by split and class. The rest (labels, keys, splits that are cut
off) is the same for every layout, so that an archive and the folder that it unpacks to make the same set.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data_shards.decode import UndecodableError
from data_shards.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
WNID = re.compile(r"n\d{8}")
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,40}")

MAX_IMAGE_BYTES = 64 << 20
"""A longer file is no image of ours: MAX_PIXELS of JPEG at the best quality are about as many bytes."""


class Found(NamedTuple):
    """An image as it is listed. `offset` is None for a file that is nothing but the image."""

    name: str
    file: str
    size: int
    offset: int | None = None


Listing = dict[str, dict[str, list[Found]]]
"""Images by split, then by class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image: where its bytes are, its label and its key in the tar. No pydantic: there are 14 million.

    `file` is relative to the source's root, or absolute. `offset` is None for a file of its own.
    """

    file: str
    size: int
    offset: int | None
    label: int
    key: str

    @property
    def where(self) -> str:
        """What to tell a person who wants to look at it."""
        if self.offset is None:
            return self.file
        return f"{self.file}: {self.key}, {self.size} bytes from byte {self.offset}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What there is to pack. `digest` stands for the classes and the label, key, size and split of every image."""

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, list[Item]]
    digest: str
    ignored: tuple[str, ...]

    @property
    def images(self) -> int:
        """The number of images in all splits."""
        return sum(map(len, self.splits.values()))


def is_image(name: str) -> bool:
    """By the suffix alone; hidden files are none."""
    base = name.rpartition("/")[2]
    return os.path.splitext(base)[1].lower() in SUFFIXES and not base.startswith(".")


def name_of(root: Path, path: Path) -> str:
    """How an Item names a file: relative to the root where it lies under it."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def make_items(listed: dict[str, list[Found]], classes: tuple[str, ...]) -> list[Item]:
    """The items of a split, by class, then in the order of the listing, which is emptied on the way."""
    items: list[Item] = []
    for label, wnid in enumerate(classes):
        found = listed.pop(wnid, [])
        keys = _keys(wnid if PLAIN.fullmatch(wnid) else f"+{label:05d}", [image.name for image in found])
        items += [
            Item(file=image.file, size=image.size, offset=image.offset, label=label, key=key)
            for image, key in zip(found, keys, strict=True)
        ]
    return items


def _keys(folder: str, names: list[str]) -> Iterator[str]:
    """One key per name, all different: "n01440764/n01440764_10026".

    Only the characters of PLAIN, because webdataset takes all after the first dot as the extension, and short
    enough for the 100 bytes of a name in a tar header, so that every header has the same form.
    """
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for name in names:
        key = stem = re.sub(r"[^A-Za-z0-9_-]", "_", os.path.splitext(name)[0])[:40]
        while key in taken:
            counts[stem] = counts.get(stem, 1) + 1
            key = f"{stem}-{counts[stem]}"
        taken.add(key)
        yield f"{folder}/{key}"


def digest_of(classes: tuple[str, ...], splits: dict[str, list[Item]]) -> str:
    """The same images at another place, or in another kind of archive, are the same source."""
    digest = hashlib.sha256("\0".join(classes).encode("utf-8", "surrogateescape"))
    for split, items in splits.items():
        for item in items:
            digest.update(f"{split}\0{item.label}\0{item.key}\0{item.size}\n".encode())
    return digest.hexdigest()


def read_item(root: Path, item: Item) -> bytes:
    """The image's bytes, in one read.

    Raises UndecodableError above MAX_IMAGE_BYTES, before reading; DataError where the file is gone or is not as
    long as it was when it was listed.
    """
    path = root / item.file
    if item.size > MAX_IMAGE_BYTES:
        raise UndecodableError(f"{item.size} bytes are refused: the limit for an image is {MAX_IMAGE_BYTES}")
    beyond = item.offset is None  # asking for one byte more shows that a file has grown
    try:
        with path.open("rb", buffering=0) as file:
            raw = os.pread(file.fileno(), item.size + beyond, item.offset or 0)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}. Mend that and run the same command again: it continues"
        ) from None
    if len(raw) != item.size:
        raise DataError(
            f"{path} has changed since it was listed ({item.key} had {item.size} bytes). "
            "Leave the source alone while it is packed, and choose another --out"
        )
    return raw
