"""One trainer with 1 to 16 loader processes: images per second and per CPU second, memory, shards open."""

import multiprocessing
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from conditions import spread, table, tell
from paths.child import cpu_seconds, settle
from paths.path import BATCH, SIDE
from sets import CLASSES, PER_CLASS, WORKERS, draw_photographs

from data_shards.pack import PackOptions, pack
from data_shards.restart import available

PROCESSES, REPEATS = (1, 2, 4, 8, 16), 7
SHARDS = 16
MEASURED = 16
"""Micro-batches that are timed, after as many as lie ready when the clock is started."""

Told = dict[str, float]


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """A fresh trainer for every number of processes and round; the order of the numbers alternates."""
    draw_photographs(scratch / "images")
    options = PackOptions(
        name="bench",
        samples_per_shard=CLASSES * PER_CLASS // SHARDS,
        restart_markers=available() or None,
    )
    url = str(scratch / "shards")
    pack(scratch / "images", url, options, WORKERS, 0.0, lambda *_: None)
    raw: dict[str, list[Told]] = {str(processes): [] for processes in PROCESSES}
    for turn in range(REPEATS):
        for processes in PROCESSES[:: -1 if turn % 2 else 1]:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as trainer:
                raw[str(processes)].append(trainer.submit(train, url, processes).result())
        say(f"round {turn + 1} of {REPEATS}")
    return {
        "settings": {
            "repeats": REPEATS, "batch": BATCH, "images": CLASSES * PER_CLASS, "shards": SHARDS,
            "measured": MEASURED, "restart_markers": available(),
        },
        "raw": raw,
        "medians": {processes: summary(told, raw["1"]) for processes, told in raw.items()},
    }  # fmt: skip


def train(url: str, processes: int) -> Told:
    """Deliver batches to nobody, in this new process.

    CPU seconds run from a quiet machine to a quiet one, so as many batches are made as are taken. The wall's run from
    when what lay ready is used up.
    """
    from data_shards.loader import train_batches
    from data_shards.prefetch import AHEAD
    from data_shards.shardset import load_shardset
    from data_shards.training import alone
    from data_shards.view import View

    warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than cores: it is meant
    shardset = load_shardset(url)
    batches = train_batches(
        training=alone(url, shardset, "train"), view=View(image_size=SIDE), seed=0, global_batch=BATCH,
        micro_batch=BATCH, rank=0, world=1, samples_seen=0, processes=processes,
    )  # fmt: skip
    ready = processes * AHEAD
    take(batches, max(ready, CLASSES * PER_CLASS // BATCH))  # every process is there, and shards are open
    settle()
    began = cpu_seconds()
    take(batches, ready)
    wall = time.perf_counter()
    take(batches, MEASURED)
    wall = time.perf_counter() - wall
    settle()
    cpu = cpu_seconds() - began
    held = {**memory(family(os.getpid())), **shards_open(family(os.getpid()))}
    batches.close()
    return {
        "images_per_second": MEASURED * BATCH / wall,
        "images_per_cpu_second": (ready + MEASURED) * BATCH / cpu,
        **held,
    }


def take(batches: Iterator[Any], count: int) -> None:
    """Use up so many batches."""
    for _ in islice(batches, count):
        pass


def family(process: int) -> list[int]:
    """The process and all that come of it: the server they are forked from, and the loader's."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [process, *(member for child in children for member in family(child))]


def memory(processes: list[int]) -> Told:
    """MiB in use. A page that several processes map counts once (PSS); batches that wait are files that none maps."""
    rollups = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]

    def mib(field: str) -> float:
        return sum(int(re.search(rf"^{field}:\s*(\d+) kB", text, re.M)[1]) for text in rollups) / 1024

    files = [file for process in processes for file in Path(f"/proc/{process}/fd").iterdir()]
    batches = [file.stat() for file in files if file.exists() and "/dev/shm/" in os.readlink(file)]
    waiting = sum({batch.st_ino: batch.st_blocks * 512 for batch in batches}.values()) / 2**20
    return {"all_mib": mib("Pss") + waiting, "files_mib": mib("Pss_File"), "batches_mib": waiting}


def shards_open(processes: list[int]) -> Told:
    """Different shards that are mapped, and maps of them over all processes."""
    maps = [
        shard
        for process in processes
        for shard in set(re.findall(r"/(train-\d+)\.tar$", Path(f"/proc/{process}/maps").read_text(), re.M))
    ]
    return {"shards_open": len(set(maps)), "shard_maps": len(maps)}


def summary(told: list[Told], of_one: list[Told]) -> dict[str, Any]:
    """The spreads of all that was told, and of the efficiency beside one process's, round by round."""
    ratios = [
        row["images_per_cpu_second"] / one["images_per_cpu_second"]
        for row, one in zip(told, of_one, strict=True)
    ]
    return {**{key: spread([row[key] for row in told]) for key in told[0]}, "over_one": spread(ratios)}


def page(result: dict[str, Any]) -> str:
    """The table of processes."""
    settings, cores = result["settings"], result["conditions"]["cores"]
    rows = [
        [processes, tell(row["images_per_second"], 0), tell(row["images_per_cpu_second"], 0), tell(row["over_one"]),
         *(f"{row[key]['median']:.0f}" for key in ("all_mib", "files_mib", "batches_mib", "shards_open",
                                                    "shard_maps"))]
        for processes, row in result["medians"].items()
    ]  # fmt: skip
    header = [
        "loader processes", "images per second", "images per CPU second", "the same, over 1 process",
        "memory of all, MiB", "of it files", "of it batches", "shards open", "maps of them",
    ]  # fmt: skip
    markers = "with" if settings["restart_markers"] else "without"
    return f"""## Loader processes

{table(header, rows)}

How: the {settings["images"]} photographs of the tables above, {markers} restart markers, in {settings["shards"]}
shards, to batches of {settings["batch"]}; {settings["repeats"]} rounds, in which each number of processes has a trainer
of its own that starts anew and does nothing with its batches; the order alternates. CPU seconds are of all processes,
from quiet to quiet; images per second are those of {settings["measured"]} batches after what lay ready was used up.
Memory is the sum of the proportional set sizes (PSS) of the trainer, the server that the others are forked from, and
these, where a page of several processes counts once, and of the batches that lie ready in /dev/shm. Files are pages of
libraries and of mapped shards, which the system may drop. So small a set mixes all its shards at once: every process
has all of them open.

Not shown: more cores than {cores}. With more processes than cores, rows tell what one costs, not what it brings."""
