"""Folders of classes of images, torchvision's ImageFolder layout.

SRC/{train,val}/<class>/*.jpg
SRC/<class>/*.jpg
"""

import os
from pathlib import Path

from data_shards.errors import DataError, DataUsageError
from data_shards.sources.base import Found, Listing, is_image, name_of


def list_folder(root: Path, ignored: list[str]) -> Listing:
    """The images under `root`, by split and class; none is opened. What is no image goes to `ignored`."""
    folders = {name: root / name for name in ("train", "val") if (root / name).is_dir()} or {"train": root}
    if "train" not in folders:
        raise DataUsageError(f"{root} has a val folder and no train folder: {root}/train is missing")
    return {split: list_classes(root, folder, ignored) for split, folder in folders.items()}


def list_classes(root: Path, folder: Path, ignored: list[str]) -> dict[str, list[Found]]:
    """The images of each class folder in `folder`, by name; files are named relative to `root`."""
    names = (entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return {name: list_images(root, folder / name, ignored) for name in sorted(names)}


def list_images(root: Path, folder: Path, ignored: list[str]) -> list[Found]:
    """The images that lie in `folder` itself, by name. DataError where there is none."""
    place, images = name_of(root, folder), []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if is_image(entry.name):
            images.append(Found(entry.name, f"{place}/{entry.name}", os.stat(entry).st_size))
        elif not entry.name.startswith("."):
            ignored.append(f"{place}/{entry.name}")
    if not images:
        raise DataError(
            f"the folder {folder} has no image (.jpg, .jpeg or .png). "
            "Remove the folder, or put its images there"
        )
    return images
