"""The price of both engines, and of ZeRO 0, 1 and 2, against bare DDP, step by step in turn, on two gloo ranks."""

import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conditions import spread, table, tell
from sets import make_set

from data_shards.synth import SynthOptions

if TYPE_CHECKING:
    from torch import Tensor

    from raytrain.engine import Engine
    from raytrain.plan import RunPlan

RANKS, ROUNDS, WARM_UP, SAVES = 2, 20, 3, 5
CASES = {
    "smoke_swin_22k fp32": ("smoke_swin_22k", ["precision=fp32"]),
    "smoke_swin_22k bf16": ("smoke_swin_22k", ["precision=bf16"]),
    "smoke_resnext_cbam_22k fp32": ("smoke_resnext_cbam_22k", ["precision=fp32"]),
    "cbam_resnext50_1k_2018 fp32, 64 px": (
        "cbam_resnext50_1k_2018",
        ["precision=fp32", "view.image_size=64", "global_batch=16"],
    ),
}
BASE = "bare torch, DDP"
ENGINES = {
    "plain engine": ("torch", 0),
    "DeepSpeed, ZeRO 0": ("deepspeed", 0),
    "DeepSpeed, ZeRO 1": ("deepspeed", 1),
    "DeepSpeed, ZeRO 2": ("deepspeed", 2),
}
"""`raytrain train` takes the first ZeRO that fits, mostly 0."""

Batch = tuple["Tensor", "Tensor"]
Repeats = dict[str, dict[str, list[float]]]
"""By engine, then by clock: seconds on the wall, and of CPU on the first rank, all its threads."""


def measure(scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Every recipe in every precision, in one pair of processes."""
    import torch.multiprocessing

    shards = make_set(scratch, SynthOptions(classes=48, images=2, val_images=1, size=32))
    torch.multiprocessing.spawn(rank_main, args=(shards, scratch, say), nprocs=RANKS)
    raw = json.loads((scratch / "raw.json").read_text())
    return {
        "settings": {
            "ranks": RANKS, "rounds": ROUNDS, "saves": SAVES,
        },
        "raw": raw,
        "medians": {case: summary(repeats) for case, repeats in raw.items()},
    }  # fmt: skip


def rank_main(rank: int, shards: str, scratch: Path, say: Callable[[str], None]) -> None:
    """One rank: all cases; the first rank writes what it measured."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(RANKS),
        "DS_ACCELERATOR": "cpu",
    }
    import torch.distributed as dist

    from raytrain.ranks import use_threads

    warnings.simplefilter("ignore", FutureWarning)  # of DeepSpeed's and DDP's calls into torch
    use_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{scratch}/meet", rank=rank, world_size=RANKS)
    raw = {}
    for case, (recipe, changed) in CASES.items():
        raw[case] = measure_case(recipe, changed, shards, rank)
        if rank == 0:
            say(case)
    if rank == 0:
        (scratch / "raw.json").write_text(json.dumps(raw))
    dist.destroy_process_group()


def measure_case(recipe: str, changed: list[str], shards: str, rank: int) -> dict[str, Repeats]:
    """Repeats of a block of steps, of save and of load; those of all engines are neighbours in time."""
    import torch
    from contenders.ours import make

    from raytrain.cli.options import make_plan
    from raytrain.execution import laid_out

    plans = {
        name: make_plan(
            recipe, shards, fleet="local", workers=RANKS, settings=changed, init=None,
            engine=engine, zero=stage,
        ) for name, (engine, stage) in ENGINES.items()
    }  # fmt: skip
    plan = plans["plain engine"]
    draw, size = torch.Generator().manual_seed(rank), plan.recipe.view.image_size
    images = torch.randn(plan.placement.micro_batch, 3, size, size, generator=draw)
    images = laid_out(images, plan.recipe.execution)
    labels = torch.randint(plan.data.classes, (len(images),), generator=draw)
    batch = images, torch.nn.functional.one_hot(labels, plan.data.classes).float()
    engines = {name: make(plans[name], "cpu") for name in ENGINES}
    steps = {
        BASE: bare(plan, batch),
        **{name: partial(step, engine, batch) for name, engine in engines.items()},
    }
    in_turn(steps, WARM_UP)
    states = {name: engine.save() for name, engine in engines.items()}
    return {
        "step": in_turn(steps, ROUNDS),
        "save": in_turn({name: engine.save for name, engine in engines.items()}, SAVES),
        "load": in_turn(
            {name: partial(engine.load, states[name]) for name, engine in engines.items()}, SAVES
        ),
    }


def step(engine: "Engine", batch: Batch) -> None:
    """An optimizer step on one batch."""
    engine.forward_backward(*batch)
    engine.step(1e-4)


def bare(plan: "RunPlan", batch: Batch) -> Callable[[], None]:
    """A step as one writes it by hand, with torch's DDP, for the same network, optimizer and precision."""
    import torch

    from raytrain.execution import lay_out
    from raytrain.losses import soft_cross_entropy
    from raytrain.models.build import build
    from raytrain.optim import make_optimizer

    recipe = plan.recipe
    module = build(recipe.model, plan.data.classes, recipe.view.image_size, seed=recipe.seed)
    lay_out(module, recipe.execution)
    optimizer = make_optimizer(module, recipe, plan.lr)
    parallel = torch.nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)

    def one() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = soft_cross_entropy(parallel(batch[0]), batch[1])
        loss.backward()
        if recipe.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.optimizer.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    return one


def in_turn(actions: Mapping[str, Callable[[], object]], repeats: int) -> Repeats:
    """Seconds of each action, from one barrier to the next; the order alternates."""
    import torch.distributed as dist

    seconds: Repeats = {name: {"wall": [], "cpu": []} for name in actions}
    for repeat in range(repeats):
        for name in list(actions)[:: -1 if repeat % 2 else 1]:
            dist.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            actions[name]()
            dist.barrier()
            seconds[name]["wall"].append(time.perf_counter() - wall)
            seconds[name]["cpu"].append(time.process_time() - cpu)
    return seconds


def summary(measured: dict[str, Repeats]) -> dict[str, Any]:
    """Seconds per step, save and load by engine and clock, and the ratios to BASE's, round by round."""
    return {
        "step": {
            name: {clock: spread(seconds) for clock, seconds in clocks.items()}
            for name, clocks in measured["step"].items()
        },
        "over_base": {
            name: {
                clock: spread([its / plain for its, plain in zip(clocks[clock], base[clock], strict=True)])
                for clock in ("wall", "cpu")
            }
            for base in [measured["step"][BASE]]
            for name, clocks in measured["step"].items()
        },
        **{
            verb: {name: spread(clocks["wall"]) for name, clocks in measured[verb].items()}
            for verb in ("save", "load")
        },
    }


def page(result: dict[str, Any]) -> str:
    """The tables of steps, and of saves and loads."""
    cases, settings = result["medians"], result["settings"]
    speed = [
        [f"{case}: {name}", tell(told["step"][name]["wall"], 3)]
        + [tell(told["over_base"][name][clock]) for clock in ("wall", "cpu")]
        for case, told in cases.items()
        for name in (BASE, *ENGINES)
    ]
    storing = [
        [f"{case}: {name}"] + [f"{1000 * told[verb][name]['median']:.0f}" for verb in ("save", "load")]
        for case, told in cases.items()
        for name in ENGINES
    ]
    return f"""## Both engines and DDP on two workers

{table(["recipe and engine", "a step, s", f"over {BASE}", "the same, CPU"], speed)}

{table(["recipe and engine", "save, ms", "load, ms"], storing)}

How: {settings["ranks"]} gloo ranks with one thread each hold all of them at once and take turns: {settings["rounds"]}
rounds of one optimizer step, the order alternating, on images that are in memory already. The bare loop is forward,
backward with DDP, clipping and update. Ratios are taken round by round; medians (lowest to highest). CPU seconds
are the first rank's and do not count waiting, so a busy machine disturbs them less than the wall's.
`save` gathers the whole state on every rank and `load` puts it back, {settings["saves"]} times each, without the disk.

Not shown: GPUs, NCCL, and what ZeRO is for, models whose optimizer state does not fit one device. Where the line
below says that there are no bf16 instructions, bf16 is emulated: its seconds against fp32's say nothing of a GPU."""
