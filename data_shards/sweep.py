"""Sweep: what killed writers left unfinished, invisible and paid for, is aborted once nobody can be writing it."""

from data_shards.store import Store, Unfinished

HOUR = 3600.0
SAFE = 24 * HOUR
"""Seconds after which a write has no living writer. A packing worker holds a shard in memory and sends it at once, in
minutes; with every part of a 5 GB shard failing until its last try it would be 9 hours (botocore's 8 tries of 60 s
for each of 640 parts, 10 at a time)."""

PLACES = ("shards/", "index/")
"""Where packing and indexing write what is large. A root may be a whole bucket: the rest of it is not theirs."""


def sweep(
    store: Store, older_than: float, now: float, prefixes: tuple[str, ...] = ("",)
) -> tuple[tuple[Unfinished, ...], tuple[Unfinished, ...]]:
    """Abort what was begun more than `older_than` seconds before `now`: (what was aborted, what was left alone)."""
    found = [write for prefix in prefixes for write in store.unfinished(prefix)]
    old = tuple(write for write in found if now - write.begun > older_than)
    for write in old:
        store.abort(write)
    return old, tuple(write for write in found if write not in old)
