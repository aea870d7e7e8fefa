"""One layer's process: it makes its step, and takes so many as it is asked for."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Client
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_shards.loader import Batch
    from raytrain.plan import RunPlan
    from raytrain.ranks import Ranks

HELD = 4
"""Batches that are loaded once and then come again and again."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Asked:
    """What a layer trains; `loop` is whether raytrain's loop does it, or a bare one."""

    plan: "RunPlan"
    shards: str
    run: str
    loop: bool


def serve(address: str, asked: Asked, under_ray: bool) -> None:
    """Take as many steps as each number says that comes, and answer with their seconds; 0 is the end."""
    import torch
    from contenders.ours import join_alone

    from raytrain.ranks import Ranks, use_threads

    use_threads(1 if not asked.plan.placement.gpu else asked.plan.placement.cpus_per_worker)
    gpu = asked.plan.placement.gpu
    if asked.plan.placement.engine == "deepspeed" and not under_ray:
        join_alone("cuda" if gpu else "cpu")
    ranks = Ranks(rank=0, world=1, device=torch.device("cuda", 0) if gpu else torch.device("cpu"))
    Path(asked.run).mkdir(parents=True, exist_ok=True)
    step = loop_step(asked, ranks) if asked.loop else bare_step(asked, ranks)
    with Client(address, authkey=b"layers") as parent:
        while True:
            steps = parent.recv()
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(steps):
                step()
            if gpu:
                torch.cuda.synchronize()
            parent.send({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
            if not steps:
                break


def loop_step(asked: Asked, ranks: "Ranks") -> Step:
    """Raytrain's own, with all that a worker hands to its loop but for the loader."""
    from data_shards.mix import load_data
    from data_shards.store import open_store
    from raytrain.hang import HangWatch, stacks_file
    from raytrain.job import Job
    from raytrain.loop import train_step
    from raytrain.runlog import RunLog
    from raytrain.saving import Saver
    from raytrain.worker import assemble, nothing, start

    run, data = Path(asked.run), load_data(asked.shards)
    job, log = Job(plan=asked.plan, data_url=asked.shards, run=asked.run), RunLog(run)
    engine, state = start(job, data, ranks, log)
    log.start(state.step)
    saver = Saver(store=open_store(asked.run), plan=asked.plan, classes=data.classes, ranks=ranks, log=log)
    parts = assemble(job, data, ranks, log, engine, state, saver, nothing)
    parts = replace(parts, batches=held(asked), watched=HangWatch(stacks_file(run, 0)).step)

    def step() -> None:
        with parts.watched():
            train_step(parts)

    return step


def bare_step(asked: Asked, ranks: "Ranks") -> Step:
    """A loop as one writes it by hand, for the same images, network, optimizer and precision."""
    import torch

    from raytrain.execution import laid_out, lay_out, prepare
    from raytrain.losses import erase, mix, normalize, soft_cross_entropy
    from raytrain.models.build import build
    from raytrain.optim import make_optimizer, set_lr
    from raytrain.schedule import learning_rate

    plan, recipe, device = asked.plan, asked.plan.recipe, ranks.device
    module = build(recipe.model, plan.data.classes, recipe.view.image_size, seed=recipe.seed).to(device)
    optimizer = make_optimizer(module, recipe, plan.lr)
    prepare(module, recipe.execution)
    lay_out(module, recipe.execution)
    batches, done = held(asked), itertools.count()

    def step() -> float:
        losses = []
        for _ in range(plan.placement.accumulation):
            batch = next(batches)
            images = normalize(batch.images.to(device, non_blocking=True))
            images = erase(images, recipe.regularization, seed=recipe.seed, slots=batch.slots)
            images, targets = mix(
                images, batch.labels.to(device), classes=plan.data.classes, regularization=recipe.regularization,
                seed=recipe.seed, slots=batch.slots,
            )  # fmt: skip
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                loss = soft_cross_entropy(module(laid_out(images, recipe.execution)), targets)
            (loss / plan.placement.accumulation).backward()
            losses.append(loss.detach())
        if recipe.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.optimizer.clip_norm)
        set_lr(optimizer, learning_rate(plan, next(done)))
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack(losses).mean().item()

    return step


def held(asked: Asked) -> Iterator["Batch"]:
    """A few of the loader's batches, endlessly."""
    from data_shards.loader import train_batches
    from data_shards.shardset import load_shardset
    from data_shards.training import alone

    plan = asked.plan
    made = train_batches(
        training=alone(asked.shards, load_shardset(asked.shards), "train"), view=plan.recipe.view, seed=0,
        global_batch=plan.recipe.samples_per_step, micro_batch=plan.placement.micro_batch, rank=0, world=1,
        samples_seen=0, processes=1,
    )  # fmt: skip
    batches = list(itertools.islice(made, HELD))
    made.close()
    return itertools.cycle(batches)
