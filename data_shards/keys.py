"""Keys of samples: from names in a tar by webdataset's rule, and as 64-bit hashes.

8 bytes a sample tell whether one of 14 million comes twice. Two different keys of 14 million have the same hash
with a probability of 5 in a million (n**2 / 2**65).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]

Place = tuple[int, int]
"""(number of the shard, row in it)"""


def split_name(name: str) -> tuple[str, str]:
    """(key, extension): "a.b/c.seg.PNG" gives ("a.b/c", "seg.png").

    ("", "") for what is no part of a sample: without extension, hidden, or webdataset's own notes (__x__).
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if not stem or not dot or re.match(r"__[^/]*__($|/)", name):
        return "", ""
    return f"{folder}{slash}{stem}", extension.lower()


def hash_keys(keys: Iterable[str]) -> Keys:
    """One hash per key, in order."""
    return np.array([_hash(key) for key in keys], np.uint64)


def _hash(key: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big"
    )


def duplicates(shards: Sequence[Keys]) -> Iterator[tuple[Place, Place]]:
    """(a sample, an earlier one of the same key), for each that came before."""
    keys = np.concatenate([*shards, np.zeros(0, np.uint64)])
    ends = np.cumsum([len(shard) for shard in shards])
    order = np.argsort(keys, kind="stable")
    for again in np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1:
        yield _locate(ends, int(order[again])), _locate(ends, int(order[again - 1]))


def _locate(ends: npt.NDArray[np.int64], position: int) -> Place:
    """`ends` are the running sums of the shards' samples."""
    shard = int(np.searchsorted(ends, position, side="right"))
    return shard, position - (int(ends[shard - 1]) if shard else 0)
