"""Sweep: what killed writers left unfinished, invisible and paid for, is aborted once nobody can be writing it.

A root may be a whole bucket, or a folder with other people's files: only what a set itself is made of is looked at.
"""

import re

from data_shards.store import Store, Unfinished

HOUR = 3600.0
SAFE = 24 * HOUR
"""Seconds after which a write has no living writer. A packing worker holds a shard in memory and sends it at once, in
minutes; with every part of a 5 GB shard failing until its last try it would be 9 hours (botocore's 8 tries of 60 s
for each of 640 parts, 10 at a time)."""

PLACES = ("shards/", "index/", "keys-", "packing.json", "quarantine.jsonl", "shardset.json", "verify.json")
"""What the keys of a set's own files begin with."""

OURS = re.compile(
    r"(shards|index)/.+|keys-[0-9a-f]{16}\.u64|(packing|shardset|verify)\.json|quarantine\.jsonl"
)


def unfinished(store: Store) -> tuple[Unfinished, ...]:
    """The writes of a set's own files that have not ended, in the order of PLACES. Raises DeniedError."""
    return tuple(write for place in PLACES for write in store.unfinished(place) if OURS.fullmatch(write.key))


def sweep(
    store: Store, older_than: float, now: float
) -> tuple[tuple[Unfinished, ...], tuple[Unfinished, ...]]:
    """Abort what was begun more than `older_than` seconds before `now`: (what was aborted, what was left alone)."""
    found = unfinished(store)
    old = tuple(write for write in found if now - write.begun > older_than)
    for write in old:
        store.abort(write)
    return old, tuple(write for write in found if write not in old)
