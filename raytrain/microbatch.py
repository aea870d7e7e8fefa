"""The largest micro-batch that fits, found by trying sizes on the device before training begins.

The plan's micro-batch is an estimate. With `Placement.micro_batch_auto` it is only where the search may end: the
global batch stays, accumulation takes up the difference, and every size sees the same global batches in the same order.
(Where layers look across a batch, as BatchNorm does, its size is still part of what is computed.)
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from raytrain.errors import RunError
from raytrain.execution import lay_out, prepare
from raytrain.losses import soft_cross_entropy
from raytrain.models.build import build
from raytrain.plan import RunPlan
from raytrain.plan.fit import micro_batches
from raytrain.plan.memory import memory
from raytrain.ranks import Ranks
from raytrain.runlog import EVENTS, RunLog

FREE_SHARE = 0.05  # of a GPU's memory, left for fragments: a guess
EVENT = "micro_batch"

Fits = Callable[[int], bool]


def settle(plan: RunPlan, ranks: Ranks, log: RunLog, trial: Callable[[RunPlan, Ranks], Fits]) -> RunPlan:
    """The plan with the micro-batch to train with: its own, or the largest that fits on every rank, logged as an event.

    A run that goes on with as many workers on the same device, computed alike, keeps the size it found, to repeat
    the same sums.
    Raises RunError where even the smallest does not fit.
    """
    if not plan.placement.micro_batch_auto:
        return plan
    here = {
        "workers": ranks.world,
        "device": device_name(ranks.device),
        "engine": plan.placement.engine,
        "zero_stage": plan.placement.zero_stage,
        "execution": plan.recipe.execution.model_dump(mode="json"),
    }
    found = ranks.from_first(_found_before(log, here))
    if found is None:
        sizes = micro_batches(plan.recipe, ranks.world)
        tried: dict[int, bool] = {}
        fits = trial(plan, ranks)

        def on_all(size: int) -> bool:
            tried[size] = bool(ranks.mean(torch.tensor(float(fits(size)), device=ranks.device)) == 1)
            return tried[size]

        found = largest(sizes, on_all)
        if found is None:
            raise RunError(
                f"out of memory even at micro-batch {sizes[0]} on {here['device']}: use a smaller model or "
                "--set view.image_size=..., or on several workers --zero 2 (of --engine deepspeed), which splits "
                "gradients and optimizer"
            )
        log.event(EVENT, size=found, planned=plan.placement.micro_batch, **here, tried=tried)
    accumulation = plan.recipe.global_batch // ranks.world // found
    placement = plan.placement.model_copy(update={"micro_batch": found, "accumulation": accumulation})
    return plan.model_copy(update={"placement": placement})


def largest(sizes: Sequence[int], fits: Fits) -> int | None:
    """The largest of ascending `sizes` that fits, by bisection: what is smaller than a fitting one fits too."""
    low, high = 0, len(sizes)  # sizes[:low] fit, sizes[high:] do not
    while low < high:
        middle = (low + high) // 2
        if fits(sizes[middle]):
            low = middle + 1
        else:
            high = middle
    return sizes[low - 1] if low else None


def _found_before(log: RunLog, here: dict[str, object]) -> int | None:
    """What an earlier start of this run found in the same place."""
    rows = [row for row in log.rows(EVENTS) if row["event"] == EVENT and here.items() <= row.items()]
    return rows[-1]["size"] if rows else None


def on_device(plan: RunPlan, ranks: Ranks) -> Fits:
    """Tries with a network like the one to be trained, which is dropped with the result."""
    recipe = plan.recipe
    module = build(recipe.model, plan.data.classes, recipe.view.image_size, seed=recipe.seed).to(ranks.device)
    quick = recipe.execution.model_copy(update={"compile": False})  # it would take minutes for each size
    prepare(module, quick)
    if plan.placement.zero_stage == 0:
        lay_out(module, quick)
    return lambda size: try_out(module, plan, ranks.device, size)


def try_out(module: nn.Module, plan: RunPlan, device: torch.device, size: int) -> bool:
    """Whether two micro-batches of this size pass forward and backward beside all that the engine will hold.

    Two, for from the second on the gradients lie beside the activations. No collective: ranks may differ.
    """
    try:
        two_passes(module, plan, device, size)
        fits = True
    except torch.OutOfMemoryError:
        fits = False
    module.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return fits


def two_passes(module: nn.Module, plan: RunPlan, device: torch.device, size: int) -> None:
    """Raises torch.OutOfMemoryError where they do not fit."""
    recipe, side, classes = plan.recipe, plan.recipe.largest_image, plan.data.classes
    held = torch.empty(reserved(plan, device), dtype=torch.uint8, device=device)
    images = torch.zeros(size, 3, side, side, device=device)
    targets = torch.full((size, classes), 1 / classes, device=device)
    for _ in range(2):
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = module(images)
        soft_cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
    del held


def reserved(plan: RunPlan, device: torch.device) -> int:
    """Bytes that the engine will hold beside weights, gradients and activations, and FREE_SHARE.

    By the plan's rules: the optimizer's, the teacher's weights, and what the gradients travel in. The trial's own
    weights and gradients are whole, as a worker's are but at ZeRO 2 and 3, and the weights' average is another network.
    """
    held, _ = memory(plan.recipe, plan.placement, plan.estimates.parameters, plan.teacher)
    free = FREE_SHARE * torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    return held.optimizer + held.average + held.teacher + held.reduction + int(free)


def device_name(device: torch.device) -> str:
    """Which device a size was found on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
