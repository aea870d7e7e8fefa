"""DeepSpeed's price: ZeRO-1 against the plain-torch twin, block by block in turn, on two gloo ranks."""

import itertools
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conditions import spread, table, tell
from sets import make_set

from data_shards.synth import SynthOptions

if TYPE_CHECKING:
    from torch import Tensor

    from raytrain.engine import Engine
    from raytrain.plan import RunPlan

RANKS, PAIRS, STEPS_PER_BLOCK, WARM_UP, SAVES = 2, 21, 2, 2, 7
RECIPES, PRECISIONS = ("smoke_swin_22k", "smoke_resnext_cbam_22k"), ("fp32", "bf16")
ENGINES = ("deepspeed", "torch")
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
            "ranks": RANKS, "pairs": PAIRS, "steps_per_block": STEPS_PER_BLOCK, "saves": SAVES, "zero_stage": 1,
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
    for recipe, precision in itertools.product(RECIPES, PRECISIONS):
        raw[f"{recipe} {precision}"] = measure_case(recipe, precision, shards, rank)
        if rank == 0:
            say(f"{recipe} {precision}")
    if rank == 0:
        (scratch / "raw.json").write_text(json.dumps(raw))
    dist.destroy_process_group()


def measure_case(recipe: str, precision: str, shards: str, rank: int) -> dict[str, Repeats]:
    """Repeats of a block of steps, of save and of load; those of both engines are neighbours in time."""
    import torch

    from raytrain.cli.options import make_plan

    plans = {
        name: make_plan(
            recipe, shards, fleet="local", workers=RANKS, settings=[f"precision={precision}"], init=None,
            engine=name, zero=1,
        ) for name in ENGINES
    }  # fmt: skip
    plan = plans["torch"]
    draw, size = torch.Generator().manual_seed(rank), plan.recipe.view.image_size
    images = torch.randn(plan.placement.micro_batch, 3, size, size, generator=draw)
    labels = torch.randint(plan.data.classes, (len(images),), generator=draw)
    batch = images, torch.nn.functional.one_hot(labels, plan.data.classes).float()
    engines = {name: make(plans[name]) for name in ENGINES}
    for engine in engines.values():
        steps(engine, batch, WARM_UP)
    states = {id(engine): engine.save() for engine in engines.values()}
    return {
        "block": in_turn(engines, PAIRS, lambda engine: steps(engine, batch, STEPS_PER_BLOCK)),
        "save": in_turn(engines, SAVES, lambda engine: engine.save()),
        "load": in_turn(engines, SAVES, lambda engine: engine.load(states[id(engine)])),
    }


def make(plan: "RunPlan") -> "Engine":
    """The plan's engine, as a worker makes it."""
    import torch

    from raytrain.engine import TorchEngine
    from raytrain.engine_deepspeed import DeepSpeedEngine
    from raytrain.models.build import build
    from raytrain.optim import make_optimizer

    module = build(plan.recipe.model, plan.data.classes, plan.recipe.view.image_size, seed=plan.recipe.seed)
    optimizer = make_optimizer(module, plan.recipe, plan.lr)
    if plan.placement.engine == "deepspeed":
        return DeepSpeedEngine(module, optimizer, plan)
    return TorchEngine(
        module, optimizer, device=torch.device("cpu"), accumulation=plan.placement.accumulation,
        clip_norm=plan.recipe.optimizer.clip_norm, bf16=plan.recipe.precision == "bf16",
    )  # fmt: skip


def steps(engine: "Engine", batch: Batch, count: int) -> None:
    """`count` optimizer steps on one batch."""
    for _ in range(count):
        engine.forward_backward(*batch)
        engine.step(1e-4)


def in_turn(engines: dict[str, "Engine"], repeats: int, action: Callable[["Engine"], Any]) -> Repeats:
    """Seconds of `action` on each engine, from one barrier to the next; who goes first alternates."""
    import torch.distributed as dist

    seconds: Repeats = {name: {"wall": [], "cpu": []} for name in engines}
    for repeat in range(repeats):
        for name in sorted(engines, reverse=bool(repeat % 2)):
            dist.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            action(engines[name])
            dist.barrier()
            seconds[name]["wall"].append(time.perf_counter() - wall)
            seconds[name]["cpu"].append(time.process_time() - cpu)
    return seconds


def summary(measured: dict[str, Repeats]) -> dict[str, Any]:
    """Seconds per step, save and load by engine and clock, and DeepSpeed's paired ratios by clock."""
    return {
        "step": {
            name: {
                clock: spread([block / STEPS_PER_BLOCK for block in blocks])
                for clock, blocks in clocks.items()
            }
            for name, clocks in measured["block"].items()
        },
        "deepspeed_over_torch": {
            clock: spread([ours / its for ours, its in zip(*pair, strict=True)])
            for clock in ("wall", "cpu")
            for pair in [[measured["block"][name][clock] for name in ENGINES]]
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
        [case, *(tell(told["step"][name]["wall"], 3) for name in ENGINES)]
        + [tell(told["deepspeed_over_torch"][clock]) for clock in ("wall", "cpu")]
        for case, told in cases.items()
    ]
    storing = [
        [case, *(f"{1000 * told[verb][name]['median']:.0f}" for verb in ("save", "load") for name in ENGINES)]
        for case, told in cases.items()
    ]
    header = [
        "recipe",
        "DeepSpeed, s/step",
        "torch (DDP), s/step",
        "DeepSpeed / torch, wall",
        "the same, CPU",
    ]
    return f"""## DeepSpeed ZeRO-1 against plain torch

{table(header, speed)}

{table(["milliseconds, median", "save, DeepSpeed", "save, torch", "load, DeepSpeed", "load, torch"], storing)}

How: {settings["ranks"]} gloo ranks with one thread each hold both engines at once and take turns:
{settings["pairs"]} pairs of blocks of {settings["steps_per_block"]} optimizer steps, who goes first alternating, on 32
images per rank that are in memory already. Each pair gives one ratio; medians and ranges are over pairs. CPU seconds
are the first rank's and do not count waiting, so a busy machine disturbs them less than the wall's.
`save` gathers the whole state on every rank and `load` puts it back, {settings["saves"]} times each, without the disk.

Not shown: GPUs, NCCL, and what ZeRO is for, models whose optimizer state does not fit one device. Where the line
below says that there are no bf16 instructions, bf16 is emulated: its seconds against fp32's say nothing of a GPU."""
