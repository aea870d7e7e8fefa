"""An adopting worker's job: one tar of somebody else's in, its index and a record of it out.

index/NAME.idx  index/NAME.keys  index/NAME.json     written in this order; the record means: done
"""

import hashlib
from dataclasses import dataclass

from pydantic import ValidationError

from data_shards.errors import DataError
from data_shards.index import RECORD, encode_index
from data_shards.shard_writer import Quarantined, put
from data_shards.shardset import Adoption, Shard, Value
from data_shards.store import NotFoundError, Store, open_store
from data_shards.tarindex import Rules, index_tar
from data_shards.tarwalk import TarFaultError


class Plan(Value):
    """What a tar is read by. `classes` is the digest of the class list."""

    name: str
    classes: str
    adoption: Adoption


class AdoptRecord(Value):
    """What came of a tar, read by which plan. Its presence beside index and keys means: done."""

    plan: Plan
    shard: Shard
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True, kw_only=True)
class AdoptJob:
    """One tar, the split it is of, and the name that its index gets."""

    url: str
    split: str
    name: str
    tar: str
    rules: Rules
    plan: Plan


def finished_record(store: Store, job: AdoptJob) -> AdoptRecord | None:
    """What an earlier run of the same plan made of the tar, if record, index, keys and tar fit together."""
    try:
        record = AdoptRecord.model_validate_json(store.read(f"index/{job.name}.json"))
        shard = record.shard
        sizes = (store.size(job.tar), store.size(shard.index_key), store.size(keys_key(shard)))
    except (NotFoundError, ValidationError):  # not there, or a note of something else
        return None
    whole = sizes == (shard.bytes, shard.samples * RECORD.itemsize, shard.samples * 8)
    return record if whole and record.plan == job.plan else None


def keys_key(shard: Shard) -> str:
    """Where the hashes of the shard's keys are kept until all shards are compared."""
    return f"index/{shard.name}.keys"


def adopt_tar(job: AdoptJob) -> AdoptRecord:
    """Index one tar: index, keys and record are stored in this order."""
    store = open_store(job.url)
    try:
        found = index_tar(store, job.tar, job.rules)
    except TarFaultError as fault:
        raise DataError(f"{store.url}/{job.tar}, {fault}") from None
    index = encode_index(found.records)
    shard = Shard(
        name=job.name,
        samples=len(found.records),
        bytes=found.bytes,
        sha256=found.sha256,
        index_sha256=hashlib.sha256(index).hexdigest(),
        tar="" if job.tar == f"shards/{job.name}.tar" else job.tar,
    )
    quarantined = tuple(
        Quarantined(
            split=job.split,
            wnid=job.rules.classes[dirt.label],
            file=f"{job.tar}: {dirt.name}",
            reason=dirt.reason,
        )
        for dirt in found.dirt
    )
    record = AdoptRecord(plan=job.plan, shard=shard, quarantined=quarantined)
    put(store, shard.index_key, index)
    put(store, keys_key(shard), found.keys.astype("<u8").tobytes())
    put(store, f"index/{job.name}.json", record.model_dump_json().encode())
    return record
