"""Which class each row of a head is: lists of WNIDs. Two of ImageNet's are shipped, users bring any other.

    imagenet_1k.txt     the 1,000 classes of ILSVRC 2012, sorted
    imagenet_22k.txt    the 21,841 classes of the fall 2011 release that have images, sorted, as folders are

Origin of both: timm 1.0.31 (Apache-2.0), timm/data/_info/imagenet_synsets.txt and imagenet22k_synsets.txt, unchanged.
All of the first are in the second but n04399382, the teddy bear.

Microsoft's 22K order (Swin's released weights) is computed, from the note in its data/imagenet22k_dataset.py: the last
two classes stand in the places of two of Google's 21,843 that have no images, 9205 and 15027. Against its
data/map22kto1k.txt this order names the right class in 999 of 1,000 rows, the sorted one in 718; the row that is left
is the teddy bear's, for which that file takes the row of a garment, n03013580.
"""

import hashlib
from pathlib import Path

from data_shards.errors import DataUsageError
from data_shards.shardset import load_shardset

HERE = Path(__file__).parent
KNOWN = {
    "imagenet-1k": "the 1,000 of ILSVRC 2012, sorted",
    "imagenet-22k": "the 21,841 of fall 2011, sorted, as folders are",
    "imagenet-22k-microsoft": "the 21,841 in the order of Swin's released weights",
}
MICROSOFT_PLACES = (9205, 15027)
MAX_CLASSES = 0xFFFF
"""The index stores a label in 16 bits."""


def class_list(place: str) -> tuple[str, ...]:
    """The WNIDs of a known list, of a text file (one per line), or of a shard set's labels.

    Raises DataUsageError for a list with a duplicate or an empty line, and where there is none.
    """
    match place:
        case "imagenet-1k":
            return read_classes(HERE / "imagenet_1k.txt")
        case "imagenet-22k":
            return read_classes(HERE / "imagenet_22k.txt")
        case "imagenet-22k-microsoft":
            return _microsoft(class_list("imagenet-22k"))
    if "://" in place or Path(place).is_dir():
        return load_shardset(place).classes
    if not Path(place).exists():
        raise DataUsageError(
            f"there is no class list '{place}': it is {', '.join(KNOWN)}, a text file with a WNID per line, "
            "or a shard set"
        )
    return read_classes(Path(place), "class list")


def read_classes(file: Path, what: str = "--classes") -> tuple[str, ...]:
    """The first word of each line; line i is the class of label i. DataUsageError if it is no such list."""
    try:
        lines = file.read_text("utf-8").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataUsageError(f"cannot read {what} {file}: {error}") from None
    lines_of: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = (line.split() or [""])[0]
        if not name or name in lines_of:
            told = f"names {name} again, as line {lines_of[name]}" if name else "is empty"
            raise DataUsageError(f"{what} {file}: line {number} {told}; each line is the class of one label")
        lines_of[name] = number
    if not 0 < len(lines_of) <= MAX_CLASSES:
        raise DataUsageError(f"{what} {file} names {len(lines_of):,} classes: 1 to {MAX_CLASSES:,} can be")
    return tuple(lines_of)


def of_length(count: int) -> tuple[str, ...]:
    """The names of the known lists with so many classes."""
    return tuple(name for name in KNOWN if len(class_list(name)) == count)


def called(classes: tuple[str, ...]) -> str:
    """What a list is, in words: a known one, a known one in another order, or its length."""
    for name in KNOWN:
        if class_list(name) == classes:
            return name
    for name in KNOWN:
        known = class_list(name)
        if set(known) == set(classes):
            same = sum(one == other for one, other in zip(known, classes, strict=True))
            return f"the classes of {name} in another order, {same:,} of {len(classes):,} in the same row"
    return f"{len(classes):,} classes"


def digest(classes: tuple[str, ...]) -> str:
    """The sha256 of the list, a line each."""
    return hashlib.sha256("".join(f"{wnid}\n" for wnid in classes).encode()).hexdigest()


def _microsoft(classes: tuple[str, ...]) -> tuple[str, ...]:
    order, last = list(classes[:-2]), classes[-2:]
    for place, wnid in zip(MICROSOFT_PLACES, last, strict=True):
        order.insert(place, wnid)
    return tuple(order)
