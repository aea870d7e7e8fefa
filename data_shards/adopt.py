"""Adopt: an index, digests and a manifest beside somebody else's WebDataset tars, which are not touched.

Each tar is one job and ends with a record beside its index; a run that finds records continues behind them. The
manifest comes last, then the notes are removed. The bytes are the same whatever the workers or interruptions.

    index/NAME.json  index/NAME.keys     there while adopting only
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import numpy as np
from pydantic import Field

from data_shards.adopt_job import AdoptJob, AdoptRecord, Plan, adopt_tar, finished_record, keys_key
from data_shards.budget import check_share, excess
from data_shards.errors import DataError, DataUsageError
from data_shards.index import RECORD, TAR_BLOCK, decode_index
from data_shards.keys import duplicates
from data_shards.packing_notes import NOTE, QUARANTINE
from data_shards.pool import run_jobs
from data_shards.shard_writer import Quarantined, put
from data_shards.shardset import MANIFEST, Adoption, Shard, ShardSet, Split, Value, load_shardset
from data_shards.store import NotFoundError, Store, open_store
from data_shards.tarindex import Rules
from data_shards.tarsplits import assign


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


def adopt(
    url: str,
    classes: tuple[str, ...],
    options: AdoptOptions,
    workers: int,
    max_bad: float,
    on_shard: Callable[[int, int], None],
) -> AdoptResult:
    """Index the tars under `url`, each where it lies; `on_shard(shards, of)` is told of each.

    A picture that no decoder reads is left out and listed in quarantine.jsonl. More of them in a split or a class
    than `max_bad` allows (budget.py) is a DataError, as is the first sample that breaks a rule of tarindex.py.
    """
    check_share(max_bad)
    store = open_store(url)
    assigned = assign(store, options.splits)
    adoption = Adoption(
        label_field=options.label_field, splits=options.splits, left_out=tuple(assigned.left_out)
    )
    plan = Plan(name=options.name, classes=_digest(classes), adoption=adoption)
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
        AdoptJob(url=url, split=split, name=shard_name(tar), tar=tar, rules=rules, plan=plan)
        for split, tars in assigned.splits.items()
        for tar in tars
    ]
    _refuse_equal_names(jobs)
    records = {job.name: record for job in jobs if (record := finished_record(store, job)) is not None}
    resumed = sum(record.shard.samples for record in records.values())
    on_shard(len(records), len(jobs))
    missing = [job for job in jobs if job.name not in records]
    with closing(run_jobs(adopt_tar, missing, min(workers, len(missing) or 1))) as done:
        for record in done:
            records[record.shard.name] = record
            on_shard(1, len(jobs))
    _refuse_other_counts(jobs, records, assigned.lengths)
    splits = _splits(store, classes, jobs, records)
    bad = _quarantine(
        store, classes, splits, [line for job in jobs for line in records[job.name].quarantined], max_bad
    )
    shardset = _declare(store, plan, classes, splits)
    return AdoptResult(shardset=shardset, quarantined=bad, resumed=resumed, left_out=adoption.left_out)


def shard_name(tar: str) -> str:
    """A shard's name from its tar's key: our own lie in shards/, others keep their folder in the name."""
    return tar.removeprefix("shards/").removesuffix(".tar")


def _digest(classes: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(classes).encode()).hexdigest()


def _finished(store: Store, plan: Plan) -> ShardSet | None:
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
    there = Plan(name=found.name, classes=_digest(found.classes), adoption=found.packing)
    _same_plan(store, there, plan)
    return found


def _refuse_packing(store: Store) -> None:
    """Its notes lie where ours do, and the tars that are there are not all."""
    if NOTE in store.list(NOTE):
        raise DataUsageError(f"{store.url} is being packed by `raytrain data pack`: finish that first")


def _same_plan(store: Store, found: Plan, asked: Plan) -> None:
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


def _refuse_equal_names(jobs: list[AdoptJob]) -> None:
    first: dict[str, str] = {}
    for job in jobs:
        if job.name in first:
            raise DataUsageError(
                f"{first[job.name]} and {job.tar} would have the same index: leave one out by --split"
            )
        first[job.name] = job.tar


def _refuse_other_counts(
    jobs: list[AdoptJob], records: dict[str, AdoptRecord], lengths: dict[str, int]
) -> None:
    for job in jobs:
        record = records[job.name]
        found = record.shard.samples + len(record.quarantined)
        if lengths.get(job.tar, found) != found:
            raise DataError(
                f"{job.url}/{job.tar} holds {found:,} samples and its _info.json says {lengths[job.tar]:,}: "
                "one of them is of another version"
            )


def _splits(
    store: Store, classes: tuple[str, ...], jobs: list[AdoptJob], records: dict[str, AdoptRecord]
) -> dict[str, Split]:
    """The splits of the manifest. DataError for a key that comes twice in one."""
    splits = {}
    for name in dict.fromkeys(job.split for job in jobs):
        shards = tuple(records[job.name].shard for job in jobs if job.split == name)
        _refuse_duplicates(store, name, shards)
        counts = np.zeros(len(classes), np.int64)
        for shard in shards:
            labels = decode_index(store.read(shard.index_key))["label"]
            counts += np.bincount(labels, minlength=len(classes))
        splits[name] = Split(shards=shards, class_counts=tuple(counts.tolist()))
    return splits


def _quarantine(
    store: Store, classes: tuple[str, ...], splits: dict[str, Split], bad: list[Quarantined], max_bad: float
) -> int:
    """Write quarantine.jsonl and return its lines. DataError where there are too many, or nothing else."""
    put(store, QUARANTINE, "".join(f"{line.model_dump_json()}\n" for line in bad).encode())
    if not bad and not any(split.samples for split in splits.values()):
        raise DataError(f"the tars under {store.url} hold no sample at all")
    for name, split in splits.items():
        mine = [line for line in bad if line.split == name]
        images = Counter(dict(zip(classes, split.class_counts, strict=True)))
        images.update(line.wnid for line in mine)
        over = excess(name, (line.wnid for line in mine), images, max_bad)
        if over is not None:
            example = next(line for line in mine if over.wnid in ("", line.wnid))
            raise DataError(
                f"{over}. {example.file} is one ({example.reason}), and {store.url}/{QUARANTINE} lists all. If they "
                f"may be left out, run the same command with a higher --max-bad than {max_bad:g}: it continues"
            )
    return len(bad)


def _declare(store: Store, plan: Plan, classes: tuple[str, ...], splits: dict[str, Split]) -> ShardSet:
    """Write the manifest: from here on the set is complete."""
    shardset = ShardSet(name=plan.name, classes=classes, splits=splits, packing=plan.adoption)
    put(store, MANIFEST, shardset.model_dump_json(indent=1).encode())
    _remove_notes(store)
    return shardset


def _refuse_duplicates(store: Store, split: str, shards: tuple[Shard, ...]) -> None:
    keys = [np.frombuffer(store.read(keys_key(shard)), "<u8").astype(np.uint64) for shard in shards]
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
