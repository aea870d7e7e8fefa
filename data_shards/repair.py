"""Repair: damaged shards of a complete set are written again from its source, to the bytes that the manifest names."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from data_shards.errors import DataError
from data_shards.index import RECORD
from data_shards.pool import OnDone
from data_shards.shard_writer import ShardJob, ShardRecord
from data_shards.shardset import Shard, ShardSet
from data_shards.store import NotFoundError, Store
from data_shards.tools import differing
from data_shards.verify import VERIFICATION, Verification


def repair(
    store: Store,
    shardset: ShardSet,
    jobs: Sequence[ShardJob],
    run: Callable[[list[ShardJob]], Generator[ShardRecord, None, None]],
    on_shard: OnDone,
) -> int:
    """Write again what is missing, has another size, or stands in verify.json; returns how many images that were.

    DataError where the source gives other bytes now: it, or a tool (tools.py), is another one.
    """
    packed = {shard.name: shard for split in shardset.splits.values() for shard in split.shards}
    accused = _accused(store, shardset)
    wrong = [
        name for name, shard in packed.items() if accused & set(_sizes(shard)) or not _there(store, shard)
    ]
    todo = [job for job in jobs if job.name in wrong]
    if not todo:
        return 0
    images = sum(packed[name].samples for name in wrong)
    on_shard(0, images)
    with closing(run(todo)) as records:
        for record in records:
            if record.shard != packed[record.shard.name]:
                difference = differing(shardset.tools, record.tools)
                why = (
                    f"it was packed with {difference}, which is here. Install what packed it"
                    if difference
                    else "and no tool that the manifest names is another here: the source may have changed. Mend that"
                )
                raise DataError(
                    f"{store.url}/{record.shard.tar_key} cannot be mended: packing it again gives other bytes; {why}, "
                    "or pack the set anew, into another --out"
                )
            on_shard(record.shard.samples, images)
    store.delete(VERIFICATION)  # it spoke of what was there before
    return images


def _accused(store: Store, shardset: ShardSet) -> set[str]:
    """The files that the last verification of this very set found fault with."""
    try:
        last = Verification.model_validate_json(store.read(VERIFICATION))
    except (NotFoundError, ValueError):
        return set()
    return {fault.file for fault in last.faults} if last.fingerprint == shardset.fingerprint else set()


def _sizes(shard: Shard) -> dict[str, int]:
    """The size of each file of the shard."""
    sizes = {shard.tar_key: shard.bytes, shard.index_key: shard.samples * RECORD.itemsize}
    if shard.segments is not None:
        sizes[shard.segments_key] = shard.segments.bytes
    return sizes


def _there(store: Store, shard: Shard) -> bool:
    try:
        return all(store.size(key) == size for key, size in _sizes(shard).items())
    except NotFoundError:
        return False
