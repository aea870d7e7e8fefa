"""What fits: the lowest stage of ZeRO, a worker's largest micro-batch, and what the next larger one would need."""

from collections.abc import Sequence

from cluster.fleet import Fleet
from raytrain.errors import UsageError
from raytrain.plan.memory import SHARE, memory, parameter_count
from raytrain.plan.nearest import nothing_fits
from raytrain.plan.values import Larger, Memory, Placement, Stage, Teacher
from raytrain.recipe import Recipe


def micro_batches(recipe: Recipe, workers: int) -> list[int]:
    """The sizes that a worker's share of the global batch divides into, ascending: of whole pairs and repeats."""
    share = recipe.global_batch // workers
    return [n for n in range(1, share + 1) if share % n == 0 and n % recipe.regularization.unit == 0]


def fit(
    recipe: Recipe,
    fleet: Fleet,
    asked: Placement,
    stages: Sequence[Stage],
    classes: int,
    teacher: Teacher | None,
) -> tuple[Placement, Larger | None, dict[str, str]]:
    """`asked` with the first stage at which any micro-batch fits, the largest that does, the next one, and the rules.

    Raises UsageError where the global batch does not divide or nothing fits, with the nearest that does.
    """
    _check_division(recipe, asked.workers)
    count = parameter_count(recipe, classes)
    sizes = micro_batches(recipe, asked.workers)
    room = fleet.memory_gib * 2**30 * SHARE

    def held(placement: Placement, size: int) -> Memory:
        return memory(recipe, placement.model_copy(update={"micro_batch": size}), count, teacher)[0]

    placements = [asked.model_copy(update={"zero_stage": stage}) for stage in stages]
    placement = next((one for one in placements if held(one, sizes[0]).total <= room), None)
    if placement is None:
        raise UsageError(nothing_fits(recipe, fleet, asked, stages, classes, teacher))
    best = max(size for size in sizes if held(placement, size).total <= room)
    larger = next((size for size in sizes if size > best), None)
    found = Larger(micro_batch=larger, worker_gib=held(placement, larger).total / 2**30) if larger else None
    parity = {1: "divisor", 2: "even divisor"}.get(
        recipe.regularization.unit, f"divisor in {recipe.regularization.unit}s"
    )
    share = recipe.global_batch // placement.workers
    rules = {
        "placement.micro_batch": f"largest {parity} of {share} that fits {SHARE:.0%} of {fleet.memory_gib:g} GiB"
    }
    if len(stages) > 1:
        rules["placement.zero_stage"] = "the lowest at which a micro-batch fits"
    if found is not None:
        rules |= {
            "estimates.larger.micro_batch": f"the next {parity} of {share}",
            "estimates.larger.worker_gib": f"more than {room / 2**30:.4g} GiB, {SHARE:.0%} of {fleet.memory_gib:g}"
            + _with_recomputing(recipe, placement, count, teacher, found.micro_batch, room),
        }
    rules["placement.accumulation"] = f"{recipe.global_batch:,} / ({placement.workers} workers x {best})"
    chosen = {"micro_batch": best, "accumulation": share // best}
    return placement.model_copy(update=chosen), found, rules


def _with_recomputing(
    recipe: Recipe, placement: Placement, count: int, teacher: Teacher | None, size: int, room: float
) -> str:
    """Whether that size fits where activations are recomputed, if they are not already."""
    if recipe.execution.checkpointing or recipe.execution.compile:
        return ""
    lean = recipe.model_copy(
        update={"execution": recipe.execution.model_copy(update={"checkpointing": True})}
    )
    held = memory(lean, placement.model_copy(update={"micro_batch": size}), count, teacher)[0].total
    return f"; --set execution.checkpointing=true makes it {held / 2**30:.2f}" if held <= room else ""


def _check_division(recipe: Recipe, workers: int) -> None:
    """Raises UsageError where the global batch does not divide over the workers in whole pairs and repeats."""
    paired, repeats = recipe.regularization.paired, recipe.regularization.repeats
    unit = workers * recipe.regularization.unit
    if recipe.global_batch % unit == 0:
        return
    below = recipe.global_batch // unit * unit
    near = f"{below} or {below + unit}" if below else str(unit)
    raise UsageError(
        f"global batch {recipe.global_batch} does not divide over {workers} workers"
        f"{' in pairs, which mixup and cutmix need' if paired else ''}"
        f"{f', each sample {repeats} times' if repeats > 1 else ''}; "
        f"the nearest that do: --set global_batch={near}"
    )
