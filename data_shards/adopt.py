"""Adopt: an index, digests and a manifest beside somebody else's WebDataset tars, which are not touched.

Each tar is one job and ends with a record beside its index; a run that finds records continues behind them. The
manifest comes last, then the notes are removed. The bytes are the same whatever the workers or interruptions.

    index/NAME.json  index/NAME.keys     there while adopting only
"""

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from data_shards.errors import DataError, DataUsageError
from data_shards.index import RECORD, TAR_BLOCK, decode_index, encode_index
from data_shards.keys import duplicates
from data_shards.pack import NOTE, QUARANTINE
from data_shards.pool import run_jobs
from data_shards.shard_writer import Quarantined, put
from data_shards.shardset import MANIFEST, Adoption, Shard, ShardSet, Split, Value, load_shardset
from data_shards.store import NotFoundError, Store, open_store
from data_shards.tarindex import Rules, index_tar
from data_shards.tarsplits import assign
from data_shards.tarwalk import TarFaultError


class AdoptOptions(Value):
    """What decides the index (`workers` and `max_bad` do not). `splits` are patterns of tars, by split."""

    name: str
    label_field: str = ""
    splits: dict[str, str] = Field(default_factory=dict)


class AdoptResult(Value):
    """What adopting did. `resumed` counts the images of tars that an earlier run had finished."""

    shardset: ShardSet
    quarantined: int
    resumed: int
    left_out: tuple[str, ...]
    complete_before: bool = False


class _Plan(Value):
    """What a tar is read by. `classes` is the digest of the class list."""

    name: str
    classes: str
    adoption: Adoption


class _Record(Value):
    """What came of a tar, read by which plan. Its presence beside index and keys means: done."""

    plan: _Plan
    shard: Shard
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True, kw_only=True)
class _Job:
    url: str
    split: str
    name: str
    tar: str
    rules: Rules
    plan: _Plan


def adopt(
    url: str,
    classes: tuple[str, ...],
    options: AdoptOptions,
    workers: int,
    max_bad: float,
    on_shard: Callable[[int, int], None],
) -> AdoptResult:
    """Index the tars under `url`, each where it lies; `on_shard(shards, of)` is told of each.

    A picture that no decoder reads is left out and listed in quarantine.jsonl. More than `max_bad` (a fraction)
    of all, and more than one, is a DataError, as is the first sample that breaks a rule of tarindex.py.
    """
    store = open_store(url)
    assigned = assign(store, options.splits)
    adoption = Adoption(
        label_field=options.label_field, splits=options.splits, left_out=tuple(assigned.left_out)
    )
    plan = _Plan(name=options.name, classes=_digest(classes), adoption=adoption)
    finished = _finished(store, plan)
    if finished is not None:
        _remove_notes(store)
        bad = len(store.read(QUARANTINE).splitlines())
        return AdoptResult(
            shardset=finished, quarantined=bad, resumed=0, left_out=adoption.left_out, complete_before=True
        )
    _refuse_packing(store)
    rules = Rules(classes=classes, label_field=options.label_field)
    jobs = [
        _Job(url=url, split=split, name=shard_name(tar), tar=tar, rules=rules, plan=plan)
        for split, tars in assigned.splits.items()
        for tar in tars
    ]
    _refuse_equal_names(jobs)
    records = {job.name: record for job in jobs if (record := _record(store, job)) is not None}
    resumed = sum(record.shard.samples for record in records.values())
    on_shard(len(records), len(jobs))
    missing = [job for job in jobs if job.name not in records]
    with closing(run_jobs(_adopt_tar, missing, min(workers, len(missing) or 1))) as done:
        for record in done:
            records[record.shard.name] = record
            on_shard(1, len(jobs))
    _refuse_other_counts(jobs, records, assigned.lengths)
    lines = _quarantine(store, jobs, records, max_bad)
    shardset = _declare(store, plan, classes, jobs, records)
    return AdoptResult(shardset=shardset, quarantined=lines, resumed=resumed, left_out=adoption.left_out)


def shard_name(tar: str) -> str:
    """A shard's name from its tar's key: our own lie in shards/, others keep their folder in the name."""
    return tar.removeprefix("shards/").removesuffix(".tar")


def _digest(classes: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(classes).encode()).hexdigest()


def _finished(store: Store, plan: _Plan) -> ShardSet | None:
    """The set that is there, if it is the one that is asked for; DataUsageError if it is another one."""
    try:
        store.size(MANIFEST)
    except NotFoundError:
        return None
    found = load_shardset(store.url)
    if not isinstance(found.packing, Adoption):
        raise DataUsageError(
            f"{store.url} was packed by `raytrain data pack` and has its index: check it with `raytrain data verify`"
        )
    there = _Plan(name=found.name, classes=_digest(found.classes), adoption=found.packing)
    _same_plan(store, there, plan)
    return found


def _refuse_packing(store: Store) -> None:
    """Its notes lie where ours do, and the tars that are there are not all."""
    if NOTE in store.list(NOTE):
        raise DataUsageError(f"{store.url} is being packed by `raytrain data pack`: finish that first")


def _same_plan(store: Store, found: _Plan, asked: _Plan) -> None:
    there, here = found.model_dump(), asked.model_dump()
    there, here = ({**plan.pop("adoption"), **plan} for plan in (there, here))
    differences = [field for field in here if there[field] != here[field]]
    if differences:
        told = "; ".join(
            f"{field} {there[field]!s:.60} there, {here[field]!s:.60} now" for field in differences
        )
        raise DataUsageError(
            f"{store.url} was indexed otherwise: {told}. Remove {MANIFEST} there to index it again"
        )


def _refuse_equal_names(jobs: list[_Job]) -> None:
    first: dict[str, str] = {}
    for job in jobs:
        if job.name in first:
            raise DataUsageError(
                f"{first[job.name]} and {job.tar} would have the same index: leave one out by --split"
            )
        first[job.name] = job.tar


def _record(store: Store, job: _Job) -> _Record | None:
    """What an earlier run of the same plan made of the tar, if record, index, keys and tar fit together."""
    try:
        record = _Record.model_validate_json(store.read(f"index/{job.name}.json"))
        shard = record.shard
        sizes = (store.size(job.tar), store.size(shard.index_key), store.size(_keys_key(shard)))
    except NotFoundError:
        return None
    whole = sizes == (shard.bytes, shard.samples * RECORD.itemsize, shard.samples * 8)
    return record if whole and record.plan == job.plan else None


def _keys_key(shard: Shard) -> str:
    return f"index/{shard.name}.keys"


def _adopt_tar(job: _Job) -> _Record:
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
    record = _Record(plan=job.plan, shard=shard, quarantined=quarantined)
    put(store, shard.index_key, index)
    put(store, _keys_key(shard), found.keys.astype("<u8").tobytes())
    put(store, f"index/{job.name}.json", record.model_dump_json().encode())
    return record


def _refuse_other_counts(jobs: list[_Job], records: dict[str, _Record], lengths: dict[str, int]) -> None:
    for job in jobs:
        record = records[job.name]
        found = record.shard.samples + len(record.quarantined)
        if lengths.get(job.tar, found) != found:
            raise DataError(
                f"{job.url}/{job.tar} holds {found:,} samples and its _info.json says {lengths[job.tar]:,}: "
                "one of them is of another version"
            )


def _quarantine(store: Store, jobs: list[_Job], records: dict[str, _Record], max_bad: float) -> int:
    """Write quarantine.jsonl and return its lines. DataError above the limit."""
    bad = [line for job in jobs for line in records[job.name].quarantined]
    put(store, QUARANTINE, "".join(f"{line.model_dump_json()}\n" for line in bad).encode())
    total = len(bad) + sum(record.shard.samples for record in records.values())
    if not total:
        raise DataError(f"the {len(jobs):,} tars under {store.url} hold no sample at all")
    limit = max(1, int(max_bad * total))
    if len(bad) > limit:
        raise DataError(
            f"{len(bad):,} of {total:,} pictures cannot be decoded, {bad[0].file} among them ({bad[0].reason}); "
            f"the limit is {limit:,}. {store.url}/{QUARANTINE} lists them. If they may be left out, run the same "
            "command with a higher --max-bad (a fraction of all): it continues"
        )
    return len(bad)


def _declare(
    store: Store, plan: _Plan, classes: tuple[str, ...], jobs: list[_Job], records: dict[str, _Record]
) -> ShardSet:
    """Write the manifest: from here on the set is complete."""
    splits = {}
    for name in dict.fromkeys(job.split for job in jobs):
        shards = tuple(records[job.name].shard for job in jobs if job.split == name)
        _refuse_duplicates(store, name, shards)
        counts = np.zeros(len(classes), np.int64)
        for shard in shards:
            labels = decode_index(store.read(shard.index_key))["label"]
            counts += np.bincount(labels, minlength=len(classes))
        splits[name] = Split(shards=shards, class_counts=tuple(counts.tolist()))
    shardset = ShardSet(name=plan.name, classes=classes, splits=splits, packing=plan.adoption)
    put(store, MANIFEST, shardset.model_dump_json(indent=1).encode())
    _remove_notes(store)
    return shardset


def _refuse_duplicates(store: Store, split: str, shards: tuple[Shard, ...]) -> None:
    keys = [np.frombuffer(store.read(_keys_key(shard)), "<u8").astype(np.uint64) for shard in shards]
    for places in duplicates(keys):
        again, first = (
            f"{shards[number].tar_key}, byte {_start(store, shards[number], row):,}" for number, row in places
        )
        raise DataError(
            f"two samples of split {split} have the same key: {again} has that of {first}. Keys tell samples "
            "apart: leave one of the tars out by --split, or pack them anew"
        )


def _start(store: Store, shard: Shard, row: int) -> int:
    (record,) = decode_index(store.read(shard.index_key, row * RECORD.itemsize, RECORD.itemsize))
    return int(record["block"]) * TAR_BLOCK


def _remove_notes(store: Store) -> None:
    for key in store.list("index/"):
        if key.endswith((".json", ".keys")):
            store.delete(key)
