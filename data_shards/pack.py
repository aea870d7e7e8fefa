"""Pack: folders or archives of images become a shard set, byte for byte the same however it goes.

The images are shuffled once, then cut into shards; each shard is one job and ends with a record beside its
index. A run that finds records continues behind them. The manifest comes last, then the notes are removed.
"""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field, PositiveInt

from data_shards.budget import check_share, excess
from data_shards.errors import DataError, DataUsageError
from data_shards.packing_notes import (
    QUARANTINE,
    Plan,
    claim,
    finished,
    finished_shards,
    refuse_other_tools,
    remove_notes,
)
from data_shards.pool import OnDone, cores, run_jobs
from data_shards.repair import repair
from data_shards.resize import Resize
from data_shards.shard_writer import Restarts, ShardJob, ShardRecord, put, write_shard
from data_shards.shardset import MANIFEST, Choices, Packing, ShardSet, Split, Value
from data_shards.sources import Inputs, Source, read_source
from data_shards.store import Store, open_store
from data_shards.tools import Tools, here


class PackOptions(Choices):
    """What decides the bytes of a set (`workers` and `max_bad` do not)."""

    name: str
    seed: int = Field(0, ge=0)
    samples_per_shard: PositiveInt = 1000
    val_fraction: float = Field(0.1, ge=0, lt=1)

    def packing(self, source: str) -> Packing:
        """What the manifest says of them."""
        return Packing(**self.model_dump(exclude={"name"}), source=source)


class PackResult(Value):
    """What packing did. `resumed` counts the images of shards that an earlier run had finished.

    `mended` counts those of a complete set's shards that were damaged and written again.
    """

    shardset: ShardSet
    quarantined: int
    resumed: int
    ignored: tuple[str, ...]
    complete_before: bool = False
    mended: int = 0
    restarts: Restarts | None = None


def pack(
    src: Path | Inputs,
    out: str,
    options: PackOptions,
    workers: int | None,
    max_bad: float,
    on_shard: OnDone,
    on_listed: OnDone = lambda *_: None,
    address: str | None = None,
) -> PackResult:
    """Pack the images of `src` into a shard set at `out`; `on_shard(images, of)` is told of each shard.

    A file that is no picture is left out and listed in quarantine.jsonl. More of them in a split or a class than
    `max_bad` allows (budget.py) is a DataError and no manifest is written. Each worker holds one shard in memory.
    Workers are processes here or, with `address`, tasks of that Ray cluster; None is as many as there are cores.
    `on_listed(archives, of)` is told before packing begins.
    """
    inputs = src if isinstance(src, Inputs) else Inputs(paths=(src,))
    check_share(max_bad)
    _refuse_inside(inputs, out)
    source = read_source(inputs, options, on_listed)
    plan, store = Plan(name=options.name, packing=options.packing(source.digest)), open_store(out)
    complete = finished(store, plan)
    tools = here(restart_markers=bool(options.restart_markers))
    jobs, run = list(_jobs(out, source, plan, tools)), partial(_run, workers=workers, address=address)
    if complete is not None:
        mended = repair(store, complete, jobs, run, on_shard)
        remove_notes(store)
        bad = len(store.read(QUARANTINE).splitlines())
        return PackResult(
            shardset=complete,
            quarantined=bad,
            resumed=0,
            ignored=source.ignored,
            complete_before=True,
            mended=mended,
        )
    claim(store, plan)
    records = finished_shards(store)
    refuse_other_tools(store, records, tools)
    resumed = sum(len(job.items) for job in jobs if job.name in records)
    images = _class_counts(source)
    _write_shards(
        jobs, records, run, partial(_refuse_excess, images=images, max_bad=max_bad), on_shard, store
    )
    shardset = _declare(store, plan, source, jobs, records, images)
    bad = sum(len(record.quarantined) for record in records.values())
    return PackResult(
        shardset=shardset,
        quarantined=bad,
        resumed=resumed,
        ignored=source.ignored,
        restarts=_restarts(records.values()) if options.restart_markers else None,
    )


def _restarts(records: Iterable[ShardRecord]) -> Restarts:
    """What restart markers cost over all shards."""
    costs = [record.restarts for record in records if record.restarts is not None]
    return Restarts(added=sum(cost.added for cost in costs), left=sum(cost.left for cost in costs))


def _refuse_inside(inputs: Inputs, out: str) -> None:
    place = Path(out.removeprefix("file://")).resolve()
    for root in inputs.paths:
        if root.is_dir() and place.is_relative_to(root.resolve()) and not out.startswith("s3://"):
            raise DataUsageError(f"--out {out} lies inside the source {root}: it would become a class of it")


def shuffled(count: int, seed: int, split: int) -> list[int]:
    """A permutation of range(count). By the raw words of Philox, whose stream numpy promises to keep."""
    words = np.random.Philox(key=np.array([seed, split], np.uint64)).random_raw(count)
    order: list[int] = np.argsort(words, kind="stable").tolist()
    return order


def _jobs(out: str, source: Source, plan: Plan, tools: Tools) -> Iterator[ShardJob]:
    cut = plan.packing.samples_per_shard
    place = out if "://" in out else os.path.abspath(out)  # a task of a cluster stands in another folder
    for number, (split, items) in enumerate(source.splits.items()):
        order = shuffled(len(items), plan.packing.seed, number)
        for shard, start in enumerate(range(0, len(items), cut)):
            yield ShardJob(
                root=source.root,
                out=place,
                resize=Resize.asked(plan.packing),
                restart_markers=bool(plan.packing.restart_markers),
                split=split,
                name=f"{split}-{shard:05d}",
                classes=source.classes,
                tools=tools,
                items=[items[position] for position in order[start : start + cut]],
            )


def _write_shards(
    jobs: list[ShardJob],
    records: dict[str, ShardRecord],
    run: Callable[[list[ShardJob]], Generator[ShardRecord, None, None]],
    refuse: Callable[..., None],
    on_shard: OnDone,
    store: Store,
) -> None:
    """Write the shards that have no record yet, into `records`. DataError where `refuse` finds too many bad files."""
    sizes = {job.name: len(job.items) for job in jobs}
    images = sum(sizes.values())
    on_shard(sum(sizes[name] for name in records), images)
    missing = [job for job in jobs if job.name not in records]
    with closing(run(missing)) as written:
        refuse(jobs, records, store)
        for record in written:
            records[record.shard.name] = record
            on_shard(sizes[record.shard.name], images)
            if record.quarantined:
                refuse(jobs, records, store)


def _run(
    jobs: list[ShardJob], workers: int | None, address: str | None
) -> Generator[ShardRecord, None, None]:
    if address is None:
        return run_jobs(write_shard, jobs, min(workers or cores(), len(jobs) or 1), "webdataset")
    from data_shards.pool_ray import run_tasks  # here, because it imports ray

    return run_tasks(write_shard, jobs, workers, address)


def _class_counts(source: Source) -> dict[str, dict[str, int]]:
    """Images by split and class, the bad ones among them."""
    counts = {}
    for split, items in source.splits.items():
        labels = Counter(item.label for item in items)
        counts[split] = {wnid: labels[label] for label, wnid in enumerate(source.classes)}
    return counts


def _refuse_excess(
    jobs: list[ShardJob],
    records: dict[str, ShardRecord],
    store: Store,
    *,
    images: Mapping[str, Mapping[str, int]],
    max_bad: float,
) -> None:
    bad = [line for record in records.values() for line in record.quarantined]
    for split in {line.split for line in bad}:
        mine = [line for line in bad if line.split == split]
        over = excess(split, (line.wnid for line in mine), images[split], max_bad)
        if over is None:
            continue
        _write_quarantine(store, jobs, records)
        example = next(line for line in mine if over.wnid in ("", line.wnid))
        raise DataError(
            f"{over}. {example.file} is one ({example.reason}), and {store.url}/{QUARANTINE} lists those found so far. "
            f"If they may be left out, run the same command with a higher --max-bad than {max_bad:g}: it continues"
        )


def _write_quarantine(store: Store, jobs: list[ShardJob], records: dict[str, ShardRecord]) -> None:
    found = [line for job in jobs if job.name in records for line in records[job.name].quarantined]
    put(store, QUARANTINE, "".join(f"{line.model_dump_json()}\n" for line in found).encode())


def _declare(
    store: Store,
    plan: Plan,
    source: Source,
    jobs: list[ShardJob],
    records: dict[str, ShardRecord],
    images: Mapping[str, Mapping[str, int]],
) -> ShardSet:
    """Write the manifest: from here on the set is complete."""
    _write_quarantine(store, jobs, records)
    splits = {}
    for split in source.splits:
        counts = Counter(images[split])
        mine = [records[job.name] for job in jobs if job.split == split]
        counts.subtract(line.wnid for record in mine for line in record.quarantined)
        splits[split] = Split(
            shards=tuple(record.shard for record in mine if record.shard.samples),
            class_counts=tuple(counts[wnid] for wnid in source.classes),
        )
    if 0 in splits["train"].class_counts:
        empty = source.classes[splits["train"].class_counts.index(0)]
        raise DataError(
            f"no file of class {empty} is a picture: see {store.url}/{QUARANTINE}, or remove the class"
        )
    tools = dict(sorted(tool for record in records.values() for tool in record.tools.items()))
    shardset = ShardSet(
        name=plan.name, classes=source.classes, splits=splits, packing=plan.packing, tools=tools
    )
    put(store, MANIFEST, shardset.model_dump_json(indent=1).encode())
    remove_notes(store)
    return shardset
