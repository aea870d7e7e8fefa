"""From what SRC is to what there is to pack: the kind is told from the disk, or by --kind where it cannot be."""

import os
from pathlib import Path
from typing import Literal

from data_shards.class_lists import read_classes
from data_shards.errors import DataError, DataUsageError
from data_shards.pool import OnDone
from data_shards.shardset import Choices, Value
from data_shards.sources.base import Found, Listing, Source, digest_of, is_image, make_items, name_of
from data_shards.sources.classtars import CLASS_TAR, list_class_tars
from data_shards.sources.folder import list_classes, list_folder, list_images
from data_shards.sources.labels import by_class
from data_shards.sources.scratch import Scratch
from data_shards.sources.splits import hold_out, keep_classes
from data_shards.sources.tars import GZIP, members, tar_file
from data_shards.sources.webtars import list_webtars

Kind = Literal["folder", "class-tars", "webdataset"]
TARS = (".tar", ".tar.gz", ".tgz")


class Inputs(Value):
    """Where the images are. `val` is a second place, whose labels are in `val_labels` if it has no classes itself.

    `scratch` takes what gzipped archives unpack to; `classes` is a file with a class per line.
    """

    paths: tuple[Path, ...]
    kind: Kind | None = None
    val: Path | None = None
    val_labels: Path | None = None
    classes: Path | None = None
    scratch: Path | None = None


def read_source(inputs: Inputs, chosen: Choices, on_listed: OnDone) -> Source:
    """List what there is to pack; of images nothing is read. `on_listed(archives, of)` is told of each archive.

    Raises DataUsageError for what cannot be packed at all, and DataError for archives that are damaged or hostile,
    for classes without images and images without class.
    """
    reader = _Reader(inputs, on_listed)
    try:
        listing = reader.listing()
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from None
    classes = keep_classes(listing, reader.classes, chosen.min_per_class)
    splits = {split: make_items(listed, classes) for split, listed in listing.items()}
    splits = hold_out(splits, chosen, classes)
    return Source(
        root=reader.root,
        classes=classes,
        splits=splits,
        digest=digest_of(classes, splits),
        ignored=tuple(reader.ignored),
    )


class _Reader:
    """What all readers of one call share: the root that files are named by, the class list, what was ignored."""

    def __init__(self, inputs: Inputs, on_listed: OnDone) -> None:
        self.inputs, self.on_listed = inputs, on_listed
        first = inputs.paths[0].absolute()
        self.root = first if first.is_dir() else first.parent
        self.classes = read_classes(inputs.classes) if inputs.classes else None
        self.scratch = Scratch(root=inputs.scratch)
        self.ignored: list[str] = []

    def listing(self) -> Listing:
        """The images by split and class."""
        kind = self.inputs.kind or _kind(self.inputs.paths)
        places = [path.absolute() for path in self.inputs.paths]
        if kind == "webdataset":
            listing = list_webtars(self.root, _tars(places), self.classes, self.ignored, self.on_listed)
        elif len(places) > 1:
            raise DataUsageError(f"SRC is {len(places)} places: only WebDataset tars are packed together")
        elif kind == "class-tars":
            listing = {"train": self._class_tars(places[0])}
        else:
            listing = list_folder(places[0], self.ignored)
        if "train" not in listing:
            raise DataUsageError(
                f"{places[0]} holds no images to train on, only {', '.join(listing) or 'nothing'}"
            )
        if self.inputs.val_labels and not self.inputs.val:
            raise DataUsageError(
                f"--val-labels {self.inputs.val_labels} labels what --val holds: give --val too"
            )
        if self.inputs.val is not None:
            if "val" in listing:
                raise DataUsageError(f"--val {self.inputs.val}: {places[0]} has a val split already")
            listing["val"] = self._val(self.inputs.val.absolute())
        return listing

    def _class_tars(self, place: Path) -> dict[str, list[Found]]:
        return list_class_tars(self.root, place, self.scratch, self.ignored, self.on_listed)

    def _val(self, place: Path) -> dict[str, list[Found]]:
        """The images of --val, by class: by --val-labels, or by its own folders or class archives."""
        labels = self.inputs.val_labels
        if labels is not None:
            return by_class(self._flat(place), labels)
        if _kind((place,)) == "class-tars":
            return self._class_tars(place)
        if place.is_dir():
            return list_classes(self.root, place, self.ignored)
        raise DataUsageError(
            f"--val {place} does not say what its images show: give --val-labels, ImageNet's development kit or a .csv"
        )

    def _flat(self, place: Path) -> list[Found]:
        """Images that lie side by side, in a folder or a tar."""
        if place.is_dir():
            return list_images(self.root, place, self.ignored)
        found = []
        for member in members(tar_file(place)):
            if is_image(member.name):
                found.append(Found(member.name, name_of(self.root, place), member.size, member.offset))
            else:
                self.ignored.append(f"{place}/{member.name}")
        return found


def _kind(paths: tuple[Path, ...]) -> Kind:
    """What the paths are: a folder by the names of the files in it, an archive by its first member's."""
    for path in paths:
        if not path.exists():
            raise DataUsageError(f"there is no {path}: SRC is a folder of class folders, or archives")
    first = paths[0]
    if first.is_dir():
        return _kind_of_folder(first)
    if tar_file(first).starts_with(GZIP):
        return "class-tars"
    for member in members(tar_file(first)):
        return "class-tars" if CLASS_TAR.fullmatch(member.name) else "webdataset"
    raise DataUsageError(f"{first} is an empty archive")


def _kind_of_folder(folder: Path) -> Kind:
    entries = list(os.scandir(folder))
    tars = [entry.name for entry in entries if entry.name.endswith(TARS)]
    if any(CLASS_TAR.fullmatch(name) for name in tars):
        return "class-tars"
    folders = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if tars and folders and "train" not in folders:
        raise DataUsageError(
            f"{folder} holds folders and tars: say what it is by --kind folder or --kind webdataset"
        )
    return "webdataset" if tars and not folders else "folder"


def _tars(places: list[Path]) -> list[Path]:
    """The tars that are named, and those in the folders that are named."""
    tars = [
        tar
        for place in places
        for tar in (sorted(place.iterdir()) if place.is_dir() else [place])
        if not place.is_dir() or tar.name.endswith(TARS)
    ]
    zipped = [tar for tar in tars if tar_file(tar).starts_with(GZIP)]
    if zipped:
        raise DataUsageError(
            f"{zipped[0]} is gzipped, and images cannot be read from within: gunzip it first"
        )
    return tars
