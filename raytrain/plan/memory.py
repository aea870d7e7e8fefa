"""What a worker's memory holds, part by part, and the rule of each.

Weights, gradients, optimizer state and average are exact but for ZeRO's padding, under 2 x workers numbers for each
parameter group: tests/raytrain/test_plan_memory.py holds them against the real engines. Left out are buffers
(BatchNorm's statistics, Swin's tables of positions) and counters of steps. Activations are an estimate.
"""

from collections.abc import Sequence

from raytrain.models.arithmetic import activation_bytes, parameters
from raytrain.plan.values import Memory, Placement, Stage, Teacher
from raytrain.recipe import Recipe

CHECKPOINTED = 0.5
"""The share of activations that checkpointing needs, at most: the blocks' inputs and the largest block's own.

Counted from the tensors that autograd keeps at 224 px: 0.21 for Swin-B, 0.31 for Swin-T, 0.43 for ResNeXt50.
"""

SHARE = 0.8
"""Of a worker's memory that a plan fills. The rest is for the process, workspaces and fragments: a guess."""

FP32 = 4

BUCKET = 50_000_000
"""Numbers that ZeRO reduces at a time (`reduce_bucket_size`). DeepSpeed's own choice is 500 million, in fp32 and, under
autocast, a second time for what travels in bf16: 4 GB of every GPU, for networks of 100 to 200 million parameters."""

BUCKET_BYTES = 25 * 2**20
"""Bytes of gradients that travel together without ZeRO (raytrain/gradients.py), as in torch's DDP (`bucket_cap_mb`)."""


def memory(
    recipe: Recipe, placement: Placement, count: int, teacher: Teacher | None = None
) -> tuple[Memory, dict[str, str]]:
    """What a worker holds at the start of a backward pass, of a network of `count` parameters, and the rules."""
    held = Memory(
        weights=FP32 * count,
        gradients=gradient_bytes(placement, count),
        reduction=reduction_bytes(recipe, placement, count),
        optimizer=optimizer_bytes(recipe, placement, count),
        average=FP32 * count if recipe.ema_decay is not None else 0,
        autocast=2 * count if recipe.precision == "bf16" else 0,
        teacher=teacher.bytes if teacher is not None else 0,
        activations=placement.micro_batch * image_bytes(recipe),
    )
    return held, _because(recipe, placement, held, count)


def smallest_memory(
    recipe: Recipe, placement: Placement, stages: Sequence[Stage], classes: int, teacher: Teacher | None
) -> int:
    """Bytes that a worker holds at the recipe's smallest micro-batch and the leanest of these stages of ZeRO.

    Where that is too much, nothing fits.
    """
    count, size = parameter_count(recipe, classes), recipe.regularization.unit
    smallest = [placement.model_copy(update={"micro_batch": size, "zero_stage": stage}) for stage in stages]
    return min(memory(recipe, one, count, teacher)[0].total for one in smallest)


def gradient_bytes(placement: Placement, count: int) -> int:
    """Of the gradients that are kept: whole in fp32, at ZeRO 2 and 3 a worker's share."""
    return FP32 * count // (placement.workers if placement.zero_stage >= 2 else 1)


def reduction_bytes(recipe: Recipe, placement: Placement, count: int) -> int:
    """Of what gradients travel in: ZeRO's buckets, one for each precision they are sent in; without ZeRO, one."""
    if not placement.zero_stage:
        return min(BUCKET_BYTES, FP32 * count) if placement.workers > 1 else 0
    return FP32 * min(BUCKET, count) * (2 if recipe.precision == "bf16" else 1)


def optimizer_bytes(recipe: Recipe, placement: Placement, count: int) -> int:
    """Of the moments; in ZeRO also its own copy of the weights, both split among the workers."""
    moments = optimizer_moments(recipe)
    if not placement.zero_stage:
        return FP32 * count * moments
    return FP32 * count * (moments + 1) // placement.workers


def optimizer_moments(recipe: Recipe) -> int:
    """Numbers that the optimizer keeps per parameter."""
    if recipe.optimizer.name == "adamw":
        return 2
    return 1 if recipe.optimizer.momentum else 0


def image_bytes(recipe: Recipe) -> int:
    """What autograd keeps of one image of the largest size."""
    kept = activation_bytes(recipe.model, recipe.largest_image, 2 if recipe.precision == "bf16" else 4)
    return int(kept * CHECKPOINTED) if recipe.execution.checkpointing else kept


def parameter_count(recipe: Recipe, classes: int) -> int:
    """Of the network that the recipe trains."""
    return parameters(recipe.model, classes, recipe.view.image_size)


def _because(recipe: Recipe, placement: Placement, held: Memory, count: int) -> dict[str, str]:
    moments = optimizer_moments(recipe)
    zero = placement.zero_stage > 0
    apart = f" / {placement.workers} workers" if placement.workers > 1 else ""
    own = " and ZeRO's own copy of the weights"
    buckets = f"{min(BUCKET, count):,} numbers of 4 bytes"
    if zero:
        reduction = f"ZeRO's bucket of {buckets}{', another for those sent in bf16' if held.autocast else ''}"
    else:
        reduction = (
            f"a bucket of at most {BUCKET_BYTES / 2**20:g} MiB" if held.reduction else "none: one worker"
        )
    rules = {
        "weights": "4 bytes a parameter: fp32, whole on every worker"
        + (" while they are used, which is always below 1e9 of them" if placement.zero_stage == 3 else ""),
        "gradients": "4 bytes a parameter"
        + (
            f"{apart}: ZeRO {placement.zero_stage} splits them"
            if placement.zero_stage >= 2
            else ": fp32, whole on every worker"
        ),
        "reduction": reduction,
        "optimizer": (
            f"{FP32 * (moments + zero)} bytes a parameter{apart if zero else ''}: {recipe.optimizer.name}'s "
            f"{moments} moment{'' if moments == 1 else 's'}"
            f"{own if zero else ', whole on every worker'}"
        ),
        "average": "4 bytes a parameter: fp32, whole on every worker"
        if held.average
        else "none: no ema_decay",
        "autocast": "2 bytes a parameter: the weights in bf16, kept for the backward pass"
        if held.autocast
        else "none in fp32",
        "teacher": "its weights, fp32" if held.teacher else "none: no --teacher",
        "activations": (
            f"{placement.micro_batch} images x {image_bytes(recipe) / 2**20:.1f} MiB at {recipe.largest_image} px"
            f"{', recomputed' if recipe.execution.checkpointing else ''}: an estimate, layer by layer"
        ),
    }
    return {f"estimates.memory.{part}": rule for part, rule in rules.items()}
