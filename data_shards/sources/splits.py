"""Which classes are kept, and which images of train are held out: the same for every layout."""

import hashlib
import zlib

from data_shards.class_lists import MAX_CLASSES
from data_shards.errors import DataError, DataUsageError
from data_shards.shardset import Choices
from data_shards.sources.base import Item, Listing


def keep_classes(listing: Listing, classes: tuple[str, ...] | None, at_least: int | None) -> tuple[str, ...]:
    """The classes that remain, in the order of their labels: `classes`, or all sorted, of `at_least` train images.

    DataError for a class of `classes` that train has not, and for one of another split that train has not (unless it
    was left out on purpose).
    """
    train = listing.get("train", {})
    if classes is not None:
        unknown = [name for name in classes if name not in train]
        if unknown:
            raise DataError(
                f"--classes names {len(unknown)} classes that train has not: {', '.join(unknown[:5])}. Take them off "
                "the list, or give a source that has them"
            )
    else:
        for split, listed in listing.items():
            unknown = sorted(listed.keys() - train.keys())
            if unknown:
                raise DataError(
                    f"{split} has {len(unknown)} classes that train has not, {unknown[0]} among them"
                )
    kept = tuple(
        name for name in (classes or sorted(train)) if at_least is None or len(train[name]) >= at_least
    )
    if not 0 < len(kept) <= MAX_CLASSES:
        raise DataUsageError(
            f"the source has {len(train)} classes, {len(kept)} of them to be packed: 1 to {MAX_CLASSES} can be. "
            "A folder's layout is SRC/train/<class>/<image> or SRC/<class>/<image>"
        )
    return kept


def hold_out(
    splits: dict[str, list[Item]], chosen: Choices, classes: tuple[str, ...]
) -> dict[str, list[Item]]:
    """`splits` with val and minival cut from train as asked. DataError where a class has too few images."""
    if chosen.minival_seed is not None and not chosen.minival:
        raise DataUsageError("--minival-seed says how --minival N is chosen, and there is no --minival")
    if chosen.val_per_class:
        if "val" in splits:
            raise DataUsageError("--val-per-class cuts val from train, and there is a val already")
        splits = _cut(splits, "val", chosen.val_per_class, classes, None)
    elif "val" not in splits and chosen.val_fraction:
        splits = {**splits, **_cut_fraction(splits["train"], chosen.val_fraction)}
    if chosen.minival:
        splits = _cut(splits, "minival", chosen.minival, classes, chosen.minival_seed)
    return splits


def _cut(
    splits: dict[str, list[Item]], name: str, count: int, classes: tuple[str, ...], seed: int | None
) -> dict[str, list[Item]]:
    """Move `count` images of each class from train to `name`: the first ones, or by a hash of seed and key."""
    by_class: list[list[Item]] = [[] for _ in classes]
    for item in splits["train"]:
        by_class[item.label].append(item)
    held: set[str] = set()
    for wnid, items in zip(classes, by_class, strict=True):
        if len(items) <= count:
            raise DataError(
                f"class {wnid} has {len(items)} images to train on, and {count} are to go to {name}: ask for fewer, or "
                f"drop such classes by --min-per-class {count + 1}"
            )
        order = items if seed is None else sorted(items, key=lambda item: _hash(seed, item.key))
        held.update(item.key for item in order[:count])
    return {
        **splits,
        "train": [item for item in splits["train"] if item.key not in held],
        name: [item for item in splits["train"] if item.key in held],
    }


def _hash(seed: int | None, key: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=16).digest()


def _cut_fraction(items: list[Item], fraction: float) -> dict[str, list[Item]]:
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
