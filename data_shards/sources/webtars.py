"""WebDataset tars as a source: samples of an image and its label, to be packed anew.

    DIR/imagenet-train-0000.tar     n01440764_18.jpg + .cls (a number, by --classes) or .json (timm's layout)

A tar is of the split that its name tells (train, val, validation, test; else train). Labels are numbers, which the
class list turns into WNIDs, or WNIDs themselves. Only images, .cls and .json are looked at.
"""

import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from data_shards.errors import DataError, DataUsageError
from data_shards.keys import split_name
from data_shards.pool import OnDone
from data_shards.sources.base import WNID, Found, Listing, is_image, name_of
from data_shards.sources.tars import Member, Tar, members, tar_file
from data_shards.tarsplits import split_told

MAX_LABEL_BYTES = 1 << 20
FIELDS = ("wnid", "label")
"""Where a .json says its class; `label` is what timm's tars have."""


def list_webtars(
    root: Path,
    tars: list[Path],
    classes: tuple[str, ...] | None,
    ignored: list[str],
    on_listed: OnDone,
) -> Listing:
    """The images of all samples, by split and class, in the order of the tars.

    Raises DataError for a sample without image or label, a label that is not in `classes`, a key that comes twice
    in a tar, and hostile or damaged tars.
    """
    listing: Listing = {}
    for path in tars:
        split = split_told(path.name) or "train"
        for key, sample in _samples(tar_file(path), ignored):
            image, wnid = _image(path, key, sample), _wnid(path, key, sample, classes)
            listing.setdefault(split, {}).setdefault(wnid, []).append(
                Found(f"{key.rpartition('/')[2]}.jpg", name_of(root, path), image.size, image.offset)
            )
        on_listed(1, len(tars))
    return listing


def _samples(tar: Tar, ignored: list[str]) -> Iterator[tuple[str, dict[str, Member]]]:
    """(key, members by extension) of each sample: members one after another whose names are equal to the first dot."""
    seen: set[str] = set()
    for key, group in groupby(members(tar), lambda member: split_name(member.name)[0]):
        sample: dict[str, Member] = {}
        for member in group:
            extension = split_name(member.name)[1]
            if extension in sample or key in seen:
                raise DataError(
                    f"{tar.name} holds sample {key!r} twice: a sample's members lie side by side, once"
                )
            sample[extension] = member
        seen.add(key)
        if any(_is_picture(extension) or extension in ("cls", "json") for extension in sample):
            yield key, sample
        else:
            ignored += [f"{tar.name}/{member.name}" for member in sample.values()]


def _is_picture(extension: str) -> bool:
    return "." not in extension and is_image(f"x.{extension}")


def _image(path: Path, key: str, sample: dict[str, Member]) -> Member:
    images = [member for extension, member in sample.items() if _is_picture(extension)]
    if len(images) != 1:
        raise DataError(f"sample {key!r} of {path} has {len(images)} images (.jpg, .jpeg or .png), not one")
    return images[0]


def _wnid(path: Path, key: str, sample: dict[str, Member], classes: tuple[str, ...] | None) -> str:
    label = _label(path, key, sample)
    if isinstance(label, str) and WNID.fullmatch(label):
        return label
    if isinstance(label, str) and label.isascii() and label.isdecimal():
        label = int(label)
    if isinstance(label, bool) or not isinstance(label, int):
        raise DataError(f"the label of sample {key!r} of {path} is {label!r}: neither a number nor a WNID")
    if classes is None:
        raise DataUsageError(
            f"{path} labels its samples by number: give --classes FILE, a WNID per line in that order"
        )
    if not 0 <= label < len(classes):
        raise DataError(
            f"the label of sample {key!r} of {path} is {label}; --classes has 0 to {len(classes) - 1}"
        )
    return classes[label]


def _label(path: Path, key: str, sample: dict[str, Member]) -> object:
    """What .cls says, or else .json's first of FIELDS."""
    if "cls" in sample:
        return _text(path, sample["cls"]).strip()
    if "json" not in sample:
        raise DataError(
            f"sample {key!r} of {path} has no label: no .cls and no .json. If these are validation images, give "
            "them by --val with --val-labels"
        )
    try:
        said = json.loads(_text(path, sample["json"]))
    except (ValueError, RecursionError):
        raise DataError(f"the .json of sample {key!r} of {path} is damaged") from None
    for field in FIELDS:
        if isinstance(said, dict) and field in said:
            return said[field]
    raise DataError(f"the .json of sample {key!r} of {path} has no {' and no '.join(FIELDS)}")


def _text(path: Path, member: Member) -> str:
    if member.size > MAX_LABEL_BYTES:
        raise DataError(f"{member.name} of {path} has {member.size:,} bytes: no label is as long")
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), member.size, member.offset).decode("utf-8", "replace")
