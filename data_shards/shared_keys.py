"""Shared keys: do two sets of a mix have samples of one name? Told before training, and in seconds.

Keys lie in the tars' headers, and reading 14 million takes as long as reading the tars. `data verify` does that anyway,
so it leaves the hash of every key beside the set, 8 bytes a sample, for a mix to compare:

    keys-FINGERPRINT.u64 = sha256 of the rest, then the hashes as <u8 in the order of the manifest's samples
"""

import hashlib
from itertools import combinations

import numpy as np

from data_shards.errors import DataError, DataUsageError
from data_shards.keys import Keys
from data_shards.mix import Mix
from data_shards.order import Rows
from data_shards.reader import read_key
from data_shards.shardset import ShardSet
from data_shards.store import NotFoundError, Store, open_store
from data_shards.training import Part

HEAD = hashlib.sha256().digest_size


def write_keys(store: Store, shardset: ShardSet, keys: Keys) -> None:
    """Leave the hashes of all keys of the set beside it."""
    raw = keys.astype("<u8").tobytes()
    store.write(_file(shardset), hashlib.sha256(raw).digest() + raw)


def check_keys(url: str, mix: Mix) -> None:
    """DataUsageError where two sets of the mix at `url` share keys, unless the file allows it.

    DataError where a set was not verified yet. Takes about 6 s where two sets have 14.2 and 1.3 million samples.
    """
    if mix.shared_keys == "allowed":
        return
    keys = [read_keys(part) for part in mix.training.parts]
    for (part, its), (other, others) in combinations(zip(mix.training.parts, keys, strict=True), 2):
        common, places, _ = np.intersect1d(its, others, assume_unique=True, return_indices=True)
        if len(common):
            raise DataUsageError(
                f"{url}: {len(common):,} samples of '{part.name}' have keys that '{other.name}' has too, such as "
                f"'{_key(part, int(places.min()))}': an image of both would be drawn from both. Leave them out of "
                "one, or write `shared_keys: allowed` into the mix if that is meant"
            )


def read_keys(part: Part) -> Keys:
    """The hashes of its split's keys, in the order of its samples. DataError where there are none, or damaged ones."""
    try:
        raw = open_store(part.url).read(_file(part.shardset))
    except NotFoundError:
        raise DataError(
            f"the keys of {part.url} are not known yet, and a mix compares those of its sets. "
            f"`raytrain data verify {part.url}` reads the set once and notes them"
        ) from None
    if hashlib.sha256(raw[HEAD:]).digest() != raw[:HEAD]:
        raise DataError(
            f"{part.url}/{_file(part.shardset)} is damaged. `raytrain data verify` writes it again"
        )
    first = 0
    for name, split in part.shardset.splits.items():
        if name == part.split:
            break
        first += split.samples
    return np.frombuffer(raw, "<u8", part.chosen.samples, HEAD + 8 * first)


def _file(shardset: ShardSet) -> str:
    return f"keys-{shardset.fingerprint[:16]}.u64"


def _key(part: Part, sample: int) -> str:
    (shard,), (row,) = Rows([shard.samples for shard in part.chosen.shards]).locate(np.array([sample]))
    return read_key(part.url, part.chosen, int(shard), int(row))
