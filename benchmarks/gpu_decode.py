"""Decoding on a GPU against decoding on its CPU cores: images per second, CPU seconds, pixel difference.

Needs a CUDA device, so `make bench` leaves it out: `python benchmarks/run.py gpu_decode`.
It has not run to its end on one yet.
"""

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from conditions import spread, table, tell
from loader import describe, make_data
from paths.child import cpu_seconds, settle
from paths.path import BATCH, SIDE

from data_shards.loader import Batch, train_batches
from data_shards.restart import available
from data_shards.shardset import load_shardset
from data_shards.training import alone
from data_shards.view import View

PROCESSES, REPEATS, MEASURED = (1, 2, 4, 8), 7, 64
"""Loader processes, rounds, and the micro-batches of a round, after those that lie ready when it begins."""

WAYS = ("CPU", "GPU")


def measure(scratch: Path, say: Callable[[str], None], device: str = "cuda") -> dict[str, Any]:
    """Both ways with each number of processes, in turn. `device="cpu"` tries the benchmark itself out."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: nothing to measure")
    data = make_data(scratch)
    url = str(data.marked if available() else data.shards)
    raw: dict[str, list[dict[str, float]]] = {
        f"{way}, {processes}": [] for processes in PROCESSES for way in WAYS
    }
    for turn in range(-1, REPEATS):
        for row in list(raw)[:: -1 if turn % 2 else 1]:
            way, processes = row.split(", ")
            told = train(url, int(processes), torch.device(device), on_device=way == "GPU")
            if turn >= 0:
                raw[row].append(told)
        say(f"round {turn + 1} of {REPEATS}")
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return {
        "settings": {"repeats": REPEATS, "measured": MEASURED, "batch": BATCH, "device": name, **describe(data)},
        "raw": raw,
        "medians": {row: {key: spread([one[key] for one in told]) for key in told[0]} for row, told in raw.items()},
        "pixel_difference": difference(url, torch.device(device)),
    }  # fmt: skip


def batches_of(url: str, processes: int, decode_on: torch.device | None) -> Any:
    """Endless training batches of one rank."""
    return train_batches(
        training=alone(url, load_shardset(url), "train"), view=View(image_size=SIDE), seed=0, global_batch=BATCH,
        micro_batch=BATCH, rank=0, world=1, samples_seen=0, processes=processes, decode_on=decode_on,
    )  # fmt: skip


def train(url: str, processes: int, device: torch.device, *, on_device: bool) -> dict[str, float]:
    """Bring batches to the device. CPU seconds count the trainer's and the loader processes', quiet to quiet."""
    from data_shards.prefetch import AHEAD

    batches = batches_of(url, processes, device if on_device else None)
    bring(batches, processes * AHEAD, device)
    settle()
    began = cpu_seconds()
    bring(batches, processes * AHEAD, device)
    wall = time.perf_counter()
    bring(batches, MEASURED, device)
    wall = time.perf_counter() - wall
    settle()
    cpu = cpu_seconds() - began
    batches.close()
    made = (processes * AHEAD + MEASURED) * BATCH
    return {"images_per_second": MEASURED * BATCH / wall, "images_per_cpu_second": made / cpu}


def bring(batches: Any, count: int, device: torch.device) -> None:
    """So many batches onto the device, and wait until they are there."""
    for batch in islice(batches, count):
        batch.images.to(device, non_blocking=True)
    if device.type == "cuda":
        torch.cuda.synchronize()


def difference(url: str, device: torch.device) -> float:
    """Mean absolute difference of the two ways' pixels, of 255, over an epoch's batches."""
    ways: list[list[Batch]] = []
    for decode_on in (None, device):
        batches = batches_of(url, 1, decode_on)
        ways.append(list(islice(batches, load_shardset(url).split("train").samples // BATCH)))
        batches.close()
    return sum(
        (one.images.float() - other.images.cpu().float()).abs().mean().item()
        for one, other in zip(*ways, strict=True)
    ) / len(ways[0])


def page(result: dict[str, Any]) -> str:
    """The table of both ways."""
    settings = result["settings"]
    rows = [
        [row, tell(told["images_per_second"], 0), tell(told["images_per_cpu_second"], 0)]
        for row, told in result["medians"].items()
    ]
    return f"""## Decoding on a GPU

{table(["decoding on, loader processes", "images per second", "images per CPU second"], rows)}

Mean pixel difference between the two: {result["pixel_difference"]:.2f} of 255.

How: the {settings["images"]} photographs of the loader's table, to batches of {settings["batch"]} on one
{settings["device"]}; {settings["repeats"]} rounds of {settings["measured"]} batches, rows in turn after one unmeasured
round. CPU seconds are the trainer's and its loader processes'. The device does nothing else.

Not shown: a network that trains on the same device meanwhile, from which decoding takes time."""
