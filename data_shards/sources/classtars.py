"""Archives of one class each, named by its WNID, in a folder or in one archive around them.

    ILSVRC2012_img_train.tar  fall11_whole.tar     tar of n01440764.tar, each a tar of n01440764_18.JPEG
    winter21_whole.tar.gz                          the same, gzipped
    DIR/n01440764.tar  or  DIR/n01440764.tar.gz    the class archives alone

What is gzipped has no random access and is unpacked to plain class archives first (see scratch.py).
"""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from data_shards.errors import DataError, DataUsageError
from data_shards.pool import OnDone
from data_shards.sources.base import Found, is_image, name_of
from data_shards.sources.scratch import Scratch
from data_shards.sources.tars import GZIP, Tar, members, tar_file

CLASS_TAR = re.compile(r"(?:.*/)?(n\d{8})\.(?:tar|tar\.gz|tgz)")
THREADS = 16
"""For listing: over a network each header is a round trip, and they overlap."""


def list_class_tars(
    root: Path, place: Path, scratch: Scratch, ignored: list[str], on_listed: OnDone
) -> dict[str, list[Found]]:
    """The images of every class archive in `place`, by class, then by name; files named relative to `root`.

    `on_listed(archives, of)` is told of each. Raises DataError for what is damaged or hostile, by name, and
    DataUsageError where something is gzipped and there is no scratch folder.
    """
    tars = plain_class_tars(place, scratch, ignored, on_listed)
    on_listed(0, len(tars))
    listed = {}
    with ThreadPoolExecutor(THREADS) as pool:
        lists = pool.map(partial(_list_one, root), tars.values())
        for wnid, (images, others) in zip(tars, lists, strict=True):
            listed[wnid] = images
            ignored += others
            on_listed(1, len(tars))
    return listed


def plain_class_tars(place: Path, scratch: Scratch, ignored: list[str], on_listed: OnDone) -> dict[str, Tar]:
    """The class archives of `place`, a folder or an archive, by WNID, all plain."""
    if place.is_dir():
        tars = _by_wnid(
            place, [tar_file(file) for file in sorted(place.iterdir()) if file.is_file()], ignored
        )
    elif tar_file(place).starts_with(GZIP):
        unpacked = scratch.unpack(place, CLASS_TAR, on_listed)
        tars = _by_wnid(place, [tar_file(file) for file in sorted(unpacked.glob("*.tar"))], ignored)
    else:
        outer = tar_file(place)
        inner = [
            Tar(path=place, start=member.offset, size=member.size, name=f"{place}/{member.name}")
            for member in members(outer)
        ]
        tars = _by_wnid(place, inner, ignored)
    zipped = {wnid: tar for wnid, tar in tars.items() if tar.starts_with(GZIP)}
    return {**tars, **scratch.gunzip(place, zipped, on_listed)}


def _by_wnid(place: Path, tars: list[Tar], ignored: list[str]) -> dict[str, Tar]:
    found: dict[str, Tar] = {}
    for tar in tars:
        match = CLASS_TAR.fullmatch(tar.name)
        if not match:
            ignored.append(tar.name)
        elif match[1] in found:
            raise DataError(f"{place} holds class {match[1]} twice: {found[match[1]].name} and {tar.name}")
        else:
            found[match[1]] = tar
    if not found:
        raise DataUsageError(
            f"{place} holds no archive named by its class, such as n01440764.tar. "
            "If it is something else, say so by --kind"
        )
    return dict(sorted(found.items()))


def _list_one(root: Path, tar: Tar) -> tuple[list[Found], list[str]]:
    """(the images of a class archive by name, the names of the rest)."""
    file, images, others = name_of(root, tar.path), [], []
    for member in members(tar):
        if is_image(member.name):
            images.append(Found(member.name.rpartition("/")[2], file, member.size, member.offset))
        else:
            others.append(f"{tar.name}/{member.name}")
    if not images:
        raise DataError(f"the class archive {tar.name} has no image (.jpg, .jpeg or .png)")
    return sorted(images), others
