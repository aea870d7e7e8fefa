"""Which of the tars under a root belong to which split: by patterns, by timm's _info.json, or by their names."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from data_shards.errors import DataError, DataUsageError
from data_shards.store import NotFoundError, Store

INFO = "_info.json"
"""timm's list of splits: {"splits": {NAME: {"filenames": [...], "shard_lengths": [...]}}}"""

NAMED = re.compile(r"(?:^|[-_./])(train|minival|val|validation|test)(?=[-_./]|\d)")
SHORT = {"validation": "val"}
"""timm says validation; the recipes here evaluate on val."""


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """Keys of tars by split, those of no split, and the samples per tar where somebody wrote them down."""

    splits: dict[str, list[str]]
    left_out: list[str]
    lengths: dict[str, int] = field(default_factory=dict)


def assign(store: Store, patterns: dict[str, str]) -> Assigned:
    """Share out the tars under the store's root. Raises DataError where that cannot be done without a guess."""
    tars = list_tars(store)
    if not tars:
        raise DataError(
            f"no .tar lies under {store.url} (compressed ones cannot be read at any place: unpack them to .tar)"
        )
    if patterns:
        return _by_patterns(store, tars, patterns)
    try:
        info = store.read(INFO)
    except NotFoundError:
        return _by_names(store, tars)
    return _by_info(store, tars, info)


def split_told(tar: str) -> str | None:
    """The split that a tar's name tells: the last such word in it, or None."""
    found = NAMED.findall(tar)
    return SHORT.get(found[-1], found[-1]) if found else None


def read_patterns(arguments: list[str]) -> dict[str, str]:
    """`--split` NAME=PATTERN arguments by name. DataUsageError where one is none, or a name comes twice."""
    patterns: dict[str, str] = {}
    for argument in arguments:
        name, equals, pattern = argument.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not equals or not pattern or name in patterns:
            raise DataUsageError(
                f"--split {argument}: write NAME='PATTERN' once per split, as in --split train='imagenet-train-*.tar'"
            )
        patterns[name] = pattern
    return patterns


def list_tars(store: Store) -> list[str]:
    """The keys of all tars under the root, sorted."""
    return [key for key in store.list("") if key.endswith(".tar")]


def _by_patterns(store: Store, tars: list[str], patterns: dict[str, str]) -> Assigned:
    splits: dict[str, list[str]] = {}
    for name, pattern in patterns.items():
        splits[name] = [tar for tar in tars if fnmatchcase(tar, pattern)]
        if not splits[name]:
            raise DataUsageError(
                f"--split {name}={pattern}: none of {len(tars)} tars under {store.url} matches, {tars[0]} is one"
            )
    taken = Counter(tar for chosen in splits.values() for tar in chosen)
    if taken and taken.most_common(1)[0][1] > 1:
        odd = taken.most_common(1)[0][0]
        raise DataUsageError(f"{odd} matches more than one --split: make the patterns exclude each other")
    return Assigned(splits=splits, left_out=[tar for tar in tars if tar not in taken])


def _by_names(store: Store, tars: list[str]) -> Assigned:
    """By the split that each name tells; where no name tells one, all are train."""
    told = {tar: split for tar in tars if (split := split_told(tar))}
    if told and len(told) < len(tars):
        odd = next(tar for tar in tars if tar not in told)
        raise DataUsageError(
            f"the name of {store.url}/{odd} tells no split, others do: say which by --split NAME='PATTERN'"
        )
    splits: dict[str, list[str]] = {}
    for tar in tars:
        splits.setdefault(told.get(tar, "train"), []).append(tar)
    return Assigned(splits=splits, left_out=[])


def _by_info(store: Store, tars: list[str], raw: bytes) -> Assigned:
    splits: dict[str, list[str]] = {}
    lengths: dict[str, int] = {}
    try:
        for name, split in json.loads(raw)["splits"].items():
            names = [str(tar) for tar in split["filenames"]]
            splits[SHORT.get(name, name)] = names
            lengths |= zip(names, map(int, split["shard_lengths"]), strict=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{store.url}/{INFO} is not timm's list of splits ({type(error).__name__}: {error}). "
            "Say which tars are which by --split NAME='PATTERN'"
        ) from None
    listed = Counter(tar for names in splits.values() for tar in names)
    gone = sorted(set(listed) - set(tars))
    if gone or listed.total() > len(listed):
        what = f"{gone[0]}, which is not there" if gone else "a tar twice"
        raise DataError(f"{store.url}/{INFO} lists {what}. Get it, or say which tars to take by --split")
    return Assigned(splits=splits, left_out=[tar for tar in tars if tar not in listed], lengths=lengths)
