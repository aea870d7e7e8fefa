"""Sources: folders of classes of images, torchvision's ImageFolder layout, become a list of what to pack.

Either the splits are given, or `val_fraction` of the one that is there is cut off, by a hash of the name:

    SRC/{train,val}/<class>/*.jpg
    SRC/<class>/*.jpg
"""

import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_shards.errors import DataError, DataUsageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
MAX_CLASSES = 0xFFFF
"""The index stores a label in 16 bits."""

PLAIN = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image: its file (under the root), label and key in the tar. No pydantic: there are 14 million."""

    file: str
    label: int
    key: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """What there is to pack. `digest` stands for the name, size and split of every file."""

    classes: tuple[str, ...]
    splits: dict[str, list[Item]]
    digest: str
    ignored: tuple[str, ...]

    @property
    def images(self) -> int:
        """The number of files in all splits."""
        return sum(map(len, self.splits.values()))


def read_source(root: Path, val_fraction: float) -> Source:
    """List the images under `root`; nothing is opened. DataUsageError if it is no such folder."""
    if not root.is_dir():
        raise DataUsageError(f"{root} is not a directory: SRC is a folder of class folders of images")
    folders = {name: root / name for name in ("train", "val") if (root / name).is_dir()} or {"train": root}
    if "train" not in folders:
        raise DataUsageError(f"{root} has a val folder and no train folder: {root}/train is missing")
    classes = tuple(_class_names(folders["train"]))
    _check_classes(folders, classes)
    ignored: list[str] = []
    splits = {split: _list_split(root, folder, classes, ignored) for split, folder in folders.items()}
    if "val" not in splits and val_fraction > 0:
        splits = _cut_val(splits["train"], val_fraction)
    return Source(classes=classes, splits=splits, digest=_digest(root, splits), ignored=tuple(ignored))


def _class_names(folder: Path) -> list[str]:
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
    )


def _check_classes(folders: dict[str, Path], classes: tuple[str, ...]) -> None:
    if not 0 < len(classes) <= MAX_CLASSES:
        raise DataUsageError(
            f"{folders['train']} holds {len(classes)} class folders: packing takes 1 to {MAX_CLASSES}. "
            "The layout is SRC/train/<class>/<image> or SRC/<class>/<image>"
        )
    for folder in folders.values():
        unknown = sorted(set(_class_names(folder)) - set(classes))
        if unknown:
            raise DataError(
                f"{folder} has {len(unknown)} classes that train has not, {unknown[0]} among them"
            )


def _list_split(root: Path, folder: Path, classes: tuple[str, ...], ignored: list[str]) -> list[Item]:
    """All images of a split, by class, then by name. What has no image's suffix goes to `ignored`."""
    items: list[Item] = []
    for label, wnid in enumerate(classes):
        if not (folder / wnid).is_dir():  # only in val: a class that is trained and never asked for
            continue
        place = (folder / wnid).relative_to(root)
        names = sorted(entry.name for entry in os.scandir(folder / wnid) if not entry.name.startswith("."))
        images = [name for name in names if _is_image(name)]
        ignored += [f"{place / name}" for name in names if not _is_image(name)]
        if not images:
            raise DataError(
                f"the class folder {folder / wnid} has no image (.jpg, .jpeg or .png). "
                "Remove the folder, or put its images there"
            )
        keys = _keys(wnid if PLAIN.fullmatch(wnid) else f"+{label:05d}", images)
        items += [
            Item(file=f"{place}/{name}", label=label, key=key) for name, key in zip(images, keys, strict=True)
        ]
    return items


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _keys(folder: str, names: list[str]) -> Iterator[str]:
    """One key per file, all different: "n01440764/n01440764_10026".

    Only the characters of PLAIN, because webdataset takes all after the first dot as the extension, and short
    enough for the 100 bytes of a name in a tar header, so that every header has the same form.
    """
    taken: set[str] = set()
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", os.path.splitext(name)[0])[:40]
        key, count = stem, 1
        while key in taken:
            count += 1
            key = f"{stem}-{count}"
        taken.add(key)
        yield f"{folder}/{key}"


def _cut_val(items: list[Item], fraction: float) -> dict[str, list[Item]]:
    """Split by the hash of class and name: an image keeps its side when others are added.

    The highest hash of each class stays in train, whatever the fraction, so that no class is left without.
    """
    place = {item.key: zlib.crc32(item.key.encode()) / 2**32 for item in items}
    highest: dict[int, Item] = {}
    for item in items:
        if item.label not in highest or place[item.key] > place[highest[item.label].key]:
            highest[item.label] = item
    val = {item.key for item in items if place[item.key] < fraction and item is not highest[item.label]}
    return {
        "train": [item for item in items if item.key not in val],
        "val": [item for item in items if item.key in val],
    }


def _digest(root: Path, splits: dict[str, list[Item]]) -> str:
    """The same folders at another place are the same source."""
    digest = hashlib.sha256()
    for split, items in splits.items():
        for item in items:
            line = f"{split}\0{item.file}\0{os.stat(os.path.join(root, item.file)).st_size}\n"
            digest.update(os.fsencode(line))
    return digest.hexdigest()
