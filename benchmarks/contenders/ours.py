"""raytrain's engines, made and driven as the worker and the loop do, but for the data and for the logs."""

import os
from typing import TYPE_CHECKING, Literal

from contenders.contender import NETWORKS, Case, Contender, batch

if TYPE_CHECKING:
    from raytrain.engine import Engine
    from raytrain.plan import RunPlan


def open_contender(case: Case, *, compiled: bool, engine: Literal["torch", "deepspeed"]) -> Contender:
    """A step is the loop's: a seed, forward and backward, clip, the step's learning rate, update, read the loss.

    As there, every UPDATE_EVERY-th step measures how far it moved the weights.
    """
    import torch

    from raytrain.engine import UPDATE_EVERY, update_ratio, weights_of
    from raytrain.schedule import learning_rate

    plan = plan_of(case, compiled=compiled, engine=engine)
    if engine == "deepspeed":
        join_alone(case.device)
    trained = make(plan, case.device)
    images, targets = batch(case, plan.data.classes)
    done = 0

    def step() -> float:
        nonlocal done
        torch.manual_seed(done)
        loss = trained.forward_backward(images, targets)
        before = weights_of(trained.module) if done % UPDATE_EVERY == 0 else None
        trained.step(learning_rate(plan, done))
        if before is not None:
            update_ratio(before, trained.module)
        done += 1
        return float(loss)

    return Contender(step, cudnn_benchmark=False)


def plan_of(case: Case, *, compiled: bool, engine: Literal["torch", "deepspeed"]) -> "RunPlan":
    """The recipe's plan for this network, on one device that takes the whole batch at once."""
    from cluster.fleet import Fleet
    from raytrain.models.named import named
    from raytrain.plan import resolve
    from raytrain.recipes import recipe
    from raytrain.recipes.assumed import assumed_data

    base = recipe(NETWORKS[case.network].recipe)
    changed = base.model_copy(
        update={
            "model": named(case.network),
            "view": base.view.model_copy(update={"image_size": case.side}),
            "global_batch": case.batch,
            "execution": base.execution.model_copy(update={"compile": compiled}),
        }
    )
    fleet = Fleet(name="one device", gpu=case.device == "cuda", memory_gib=1e6)
    return resolve(changed, fleet, assumed_data(base.made_for), engine=engine)


def make(plan: "RunPlan", device: str) -> "Engine":
    """The plan's engine, as a worker makes it."""
    import torch

    from raytrain.engine import TorchEngine
    from raytrain.execution import lay_out, prepare
    from raytrain.models.build import build
    from raytrain.optim import make_optimizer

    recipe = plan.recipe
    module = build(recipe.model, plan.data.classes, recipe.view.image_size, seed=recipe.seed).to(device)
    optimizer = make_optimizer(module, recipe, plan.lr)
    prepare(module, recipe.execution)
    if plan.placement.engine == "deepspeed":
        from raytrain.engine_deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(module, optimizer, plan)
    lay_out(module, recipe.execution)
    return TorchEngine(
        module, optimizer, device=torch.device(device), accumulation=plan.placement.accumulation,
        clip_norm=recipe.optimizer.clip_norm, bf16=recipe.precision == "bf16",
    )  # fmt: skip


def join_alone(device: str) -> None:
    """A process group of one, which DeepSpeed wants."""
    import torch.distributed as dist

    if dist.is_initialized():
        return
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= {"DS_ACCELERATOR": "cpu"} if device == "cpu" else {}
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo", store=dist.HashStore(), rank=0, world_size=1
    )
