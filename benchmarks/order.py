"""The order at full size: what it costs a process to start and to go on, and what 1 to 1,024 workers read."""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from conditions import spread, table, tell

from data_shards.fetch import RANGE
from data_shards.order import Order
from data_shards.shardset import Packing, Shard, ShardSet, Split

SETS = {
    "ImageNet-1K, 1,281 shards x 1,000": (1_281, 1_000),
    "ImageNet-22K, 14,200 shards x 1,000": (14_200, 1_000),
    "ImageNet-22K, 1,420 shards x 10,000": (1_420, 10_000),
}
LARGE = "ImageNet-22K, 14,200 shards x 1,000"
REPEATS, BATCHES = 7, 200
GLOBAL_BATCH, PER_NODE = 8_192, 8
WORKERS = (1, 8, 16, 32, 64, 128, 256, 512, 1_024)
IMAGE_BYTES = 112_000
"""Of a stored image of ImageNet, on average: as in `data_shards/order.py`."""

FRESH = """
import json, re, sys, time
import numpy as np
from data_shards.order import Order
from data_shards.shardset import load_shardset
url, world = sys.argv[1], int(sys.argv[2])
began = time.perf_counter()
split = load_shardset(url).split("train")
manifest = time.perf_counter()
order = Order([shard.samples for shard in split.shards], seed=0)
seen = 37 * order.samples // 10 // 8192 * 8192  # a resume in the middle of the fourth epoch
order.locate(order.share(seen, 8192, world // 2, world))
end = time.perf_counter()
kib = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]  # ru_maxrss would be the parent's
print(json.dumps({"manifest_s": manifest - began, "order_s": end - manifest, "start_s": end - began,
                  "process_mib": int(kib) / 1024}))
"""


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Starts in fresh processes, then simulated workers in this one."""
    raw: dict[str, list[dict[str, float]]] = {name: [] for name in SETS}
    for number, (shards, samples) in enumerate(SETS.values()):
        write_manifest(scratch / str(number), shards, samples)
    for turn in range(-1, REPEATS):
        for number, name in enumerate(SETS):
            told = fresh(scratch / str(number), 64)
            if turn >= 0:
                raw[name].append(told)
        say(f"starts: round {turn + 1} of {REPEATS}")
    order = Order([SETS[LARGE][1]] * SETS[LARGE][0], seed=0)
    shards = np.concatenate([order.locate(slots)[0] for slots in pieces(order.samples)])
    fleets, folder = {}, scratch / str(list(SETS).index(LARGE))
    for workers in WORKERS:
        fleets[str(workers)] = {**fleet(order, shards, workers), **fresh(folder, workers)}
        say(f"{workers} workers")
    starts = {
        name: {key: spread([row[key] for row in rows]) for key in rows[0]} for name, rows in raw.items()
    }
    return {
        "settings": {
            "repeats": REPEATS,
            "global_batch": GLOBAL_BATCH,
            "per_node": PER_NODE,
            "batches": BATCHES,
        },
        "raw": {"starts": raw},
        "medians": {"starts": starts, "fleets": fleets},
    }


def fresh(folder: Path, workers: int) -> dict[str, float]:
    """What a new process tells of its start as the middle one of some workers."""
    command = [sys.executable, "-c", FRESH, str(folder), str(workers)]
    told: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return told


def write_manifest(folder: Path, shards: int, samples: int) -> None:
    """A shard set that is only its manifest, as long as a real one: a digest per file, 1,000 classes."""
    folder.mkdir()
    rows = tuple(
        Shard(name=f"train-{n:05d}", samples=samples, bytes=samples * IMAGE_BYTES, sha256=f"{n:064x}",
              index_sha256=f"{n:064x}")
        for n in range(shards)
    )  # fmt: skip
    classes = tuple(f"n{n:08d}" for n in range(1_000))
    split = Split(shards=rows, class_counts=(shards * samples // 1_000,) * 1_000)
    packing = Packing(seed=0, samples_per_shard=samples)
    made = ShardSet(name="paper", classes=classes, splits={"train": split}, packing=packing)
    (folder / "shardset.json").write_text(made.model_dump_json(indent=1))


def pieces(samples: int) -> list[Any]:
    """All slots of an epoch, 2**20 at a time."""
    return [np.arange(first, min(samples, first + 2**20)) for first in range(0, samples, 2**20)]


def fleet(order: Order, shards: Any, workers: int) -> dict[str, float]:
    """One rank's cost per batch, and what the node in the middle reads; `shards` is the epoch's shard per slot."""
    own = workers // 2
    rank = Order(order.counts, order.seed)
    rank.locate(rank.share(0, GLOBAL_BATCH, own, workers))
    times = []
    for batch in range(1, BATCHES + 1):
        began = time.perf_counter()
        rank.locate(rank.share(batch * GLOBAL_BATCH, GLOBAL_BATCH, own, workers))
        times.append(time.perf_counter() - began)
    nodes = max(1, workers // PER_NODE)
    block = order.shape.streams * order.shape.block
    epoch = range(0, order.samples // GLOBAL_BATCH * GLOBAL_BATCH, GLOBAL_BATCH)
    # a node's ranks follow each other, so together they take what one rank of as many nodes would
    mine = np.concatenate([order.share(first, GLOBAL_BATCH, nodes // 2, nodes) for first in epoch])
    part = GLOBAL_BATCH // nodes
    sliced = np.concatenate([np.arange(part) + first + nodes // 2 * part for first in epoch])
    return {
        "nodes": nodes,
        "order_us_median": statistics.median(times) * 1e6,
        "order_us_highest": max(times) * 1e6,
        "open_shards": len(np.unique(shards[mine[mine < block]])),
        "epoch_gb": len(np.unique(shards[mine])) * SETS[LARGE][1] * IMAGE_BYTES / 1e9,
        "sliced_epoch_gb": len(np.unique(shards[sliced])) * SETS[LARGE][1] * IMAGE_BYTES / 1e9,
    }


def gets(gigabytes: float) -> float:
    """S3 requests for shards of so many bytes: each by ranges, and its index and segment lengths by one each."""
    shard = SETS[LARGE][1] * IMAGE_BYTES
    return gigabytes * 1e9 / shard * (math.ceil(shard / RANGE) + 2)


def page(result: dict[str, Any]) -> str:
    """The two tables."""
    told, settings = result["medians"], result["settings"]
    starts = [
        [name, tell(row["start_s"]), tell(row["manifest_s"]), tell(row["order_s"], 3),
         tell(row["process_mib"], 0)]
        for name, row in told["starts"].items()
    ]  # fmt: skip
    fleets = [
        [workers, f"{row['nodes']}", f"{row['order_us_median']:.0f}", f"{row['order_us_highest'] / 1000:.0f}",
         f"{row['process_mib']:.0f}", f"{row['open_shards']:,}", f"{row['epoch_gb']:,.0f}",
         f"{row['sliced_epoch_gb']:,.0f}", f"{gets(row['epoch_gb']):,.0f}"]
        for workers, row in told["fleets"].items()
    ]  # fmt: skip
    started = [
        "set",
        "start or resume, s",
        "of it the manifest, s",
        "of it the order, s",
    ]
    simulated = [
        "workers",
        "nodes",
        "order per batch, us",
        "slowest, ms",
        "process, MiB",
        "shards open on a node",
    ]
    reads = [
        "GB a node reads per epoch",
        "the same if ranks took slices",
        "S3 GETs for what it reads, computed",
    ]
    return f"""## The order at full size

{table([*started, "process, MiB"], starts)}

{table([*simulated, *reads], fleets)}

How: first table, a fresh process per row and round, {settings["repeats"]} rounds after one unmeasured; a start reads
the manifest and finds the samples of rank 32 of 64 in a batch in the middle of the fourth epoch. The process has loaded
numpy and pydantic, not torch; its memory is its peak. Second table: ImageNet-22K in 14,200 shards, a global batch of
{settings["global_batch"]:,}, up to {settings["per_node"]} workers on a node; one simulated rank, {settings["batches"]}
batches after the first (the slowest makes a new block of permutations); shards open are those with samples in the same
block, read from the real order; a process is a fresh one, as above. Images count 112 kB. A slice is the usual division:
rank r of W takes the r-th part of each global batch. GETs are computed from what a node reads: 14 ranges
of 8 MiB a shard, its index and its segment lengths. `traffic` counts them at a server.

Not shown: the reads themselves (`loader`), and shards that several nodes share at the edges of an epoch's batches."""
