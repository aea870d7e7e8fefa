"""What a worker's memory holds, by rules that are estimates: the plan's micro-batch is the largest that fits."""

from cluster.fleet import Fleet
from raytrain.errors import UsageError
from raytrain.models.arithmetic import activation_bytes
from raytrain.recipe import Recipe

CHECKPOINTED = 0.5
"""The share of activations that checkpointing needs, at most: the blocks' inputs and the largest block's own.

Counted from the tensors that autograd keeps at 224 px: 0.21 for Swin-B, 0.31 for Swin-T, 0.43 for ResNeXt50.
"""

MEMORY_SHARE = 0.8  # the rest is for the process, communication buffers and fragmentation: a guess


def image_bytes(recipe: Recipe) -> int:
    """What autograd keeps of one image of the largest size."""
    kept = activation_bytes(recipe.model, recipe.largest_image, 2 if recipe.precision == "bf16" else 4)
    return int(kept * CHECKPOINTED) if recipe.execution.checkpointing else kept


def fixed_bytes(recipe: Recipe, count: int, partitions: int | None) -> int:
    """Weights, their average and gradients, whole in fp32; optimizer state, split by ZeRO with a copy of the weights.

    The plain engine (`partitions` None) splits and copies nothing. bf16 autocast keeps 2-byte weights while it is on.
    """
    cached = 2 if recipe.precision == "bf16" else 0
    return count * (4 * 2 + cached) + optimizer_bytes(recipe, count, partitions)


def optimizer_bytes(recipe: Recipe, count: int, partitions: int | None) -> int:
    """The optimizer's share of `fixed_bytes`, and the weights' average."""
    moments = 2 if recipe.optimizer.name == "adamw" else 1
    average = count * 4 if recipe.ema_decay is not None else 0
    return average + (count * 4 * moments if partitions is None else count * 4 * (moments + 1) // partitions)


def micro_batches(recipe: Recipe, workers: int) -> list[int]:
    """The sizes that a worker's share of the global batch divides into, ascending: of whole pairs and repeats."""
    share = recipe.global_batch // workers
    return [n for n in range(1, share + 1) if share % n == 0 and n % recipe.regularization.unit == 0]


def micro_batch(recipe: Recipe, fleet: Fleet, fixed: int, per_image: int) -> tuple[int, str]:
    """The largest divisor of the worker's share whose activations fit the memory left by the weights."""
    paired, repeats = recipe.regularization.paired, recipe.regularization.repeats
    unit = fleet.workers * recipe.regularization.unit
    if recipe.global_batch % unit:
        below = recipe.global_batch // unit * unit
        near = f"{below} or {below + unit}" if below else str(unit)
        raise UsageError(
            f"global batch {recipe.global_batch} does not divide over {fleet.workers} workers"
            f"{' in pairs, which mixup and cutmix need' if paired else ''}"
            f"{f', each sample {repeats} times' if repeats > 1 else ''}; "
            f"the nearest that do: --set global_batch={near}"
        )
    sizes = micro_batches(recipe, fleet.workers)
    room = fleet.memory_gib * 2**30 * MEMORY_SHARE - fixed
    fitting = [n for n in sizes if n * per_image <= room]
    if not fitting:
        need = (fixed + sizes[0] * per_image) / 2**30 / MEMORY_SHARE
        raise UsageError(
            f"{recipe.name} needs about {need:.1f} GiB per worker even at micro-batch {sizes[0]}, "
            f"fleet '{fleet.name}' has {fleet.memory_gib:g}; use a smaller model or image, or more memory_gib"
        )
    parity = {1: "divisor", 2: "even divisor"}
    size = f"largest {parity.get(recipe.regularization.unit, f'divisor in {recipe.regularization.unit}s')}"
    why = f"{size} of {recipe.global_batch // fleet.workers} that fits {MEMORY_SHARE:.0%} of {fleet.memory_gib:g} GiB"
    return max(fitting), f"{why} (estimate {per_image / 2**20:.1f} MiB/image)"
