"""Shared keys: do two sets of a mix, or training and evaluation, have samples of one name? Told in seconds.

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


def check_keys(url: str, mix: Mix, eval_split: str | None) -> None:
    """DataUsageError where sets of the mix at `url` share keys, or train on keys of the first set's `eval_split`.

    The file may allow the former, never the latter; None leaves the latter out. DataError where a set was not verified
    yet. Takes about 6 s where two sets have 14.2 and 1.3 million samples.
    """
    parts = mix.training.parts
    if eval_split is not None:
        _check_held_out(url, parts, mix.first.model_copy(update={"split": eval_split}))
    if mix.shared_keys == "allowed":
        return
    keys = [read_keys(part) for part in parts]
    for (part, its), (other, others) in combinations(zip(parts, keys, strict=True), 2):
        if shared := _shared(part, its, others):
            raise DataUsageError(
                f"{url}: {shared[0]:,} samples of '{part.name}' have keys that '{other.name}' has too, such as "
                f"'{shared[1]}': an image of both would be drawn from both. Leave them out of "
                "one, or write `shared_keys: allowed` into the mix if that is meant"
            )


def _check_held_out(url: str, parts: tuple[Part, ...], held: Part) -> None:
    """DataUsageError where a part is the split that evaluation reads, or another set's with keys of it.

    Other splits of that set are not compared: train/cat/1.jpg and val/cat/1.jpg have one key, and are two images.
    """
    others = []
    for part in parts:
        if part.shardset.fingerprint != held.shardset.fingerprint:
            others.append(part)
        elif part.split == held.split:
            raise DataUsageError(
                f"{url}: split '{part.split}' of '{part.name}' is what evaluation reads: it cannot be trained on too"
            )
    if not others:
        return
    evaluated = read_keys(held)
    for part in others:
        if shared := _shared(part, read_keys(part), evaluated):
            raise DataUsageError(
                f"{url}: {shared[0]:,} samples of split '{part.split}' of '{part.name}' have keys that the evaluation "
                f"split '{held.split}' of '{held.name}' has too, such as '{shared[1]}': what is evaluated would be "
                "trained on. Leave them out, or put first a set whose evaluation split shares none; "
                "`shared_keys: allowed` is about training splits only"
            )


def _shared(part: Part, its: Keys, others: Keys) -> tuple[int, str] | None:
    """(how many keys are shared, the part's first of them), if any."""
    common, places, _ = np.intersect1d(its, others, assume_unique=True, return_indices=True)
    return (len(common), _key(part, int(places.min()))) if len(common) else None


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
