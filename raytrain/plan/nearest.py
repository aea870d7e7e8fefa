"""Where nothing fits: the nearest that does. Each way out is a change of one command line, computed like the plan."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cluster.fleet import Fleet
from raytrain.models.spec import ModelSpec, SwinSpec
from raytrain.plan.memory import SHARE, smallest_memory
from raytrain.plan.stages import allowed_stages
from raytrain.plan.values import Placement, Stage, Teacher
from raytrain.recipe import Recipe

STEP = 32
"""Pixels: the stride of most networks. Image sizes tried are multiples of it."""


class Way(NamedTuple):
    """What to write on the command line, and the run it makes, at one of these stages of ZeRO."""

    words: str
    recipe: Recipe
    placement: Placement
    stages: Sequence[Stage]


def nothing_fits(
    recipe: Recipe,
    fleet: Fleet,
    placement: Placement,
    stages: Sequence[Stage],
    classes: int,
    teacher: Teacher | None,
) -> str:
    """The message where even the smallest micro-batch is too large: what it needs, and what would fit."""

    def need(way: Way) -> float:
        """GiB that a worker has to have."""
        return smallest_memory(way.recipe, way.placement, way.stages, classes, teacher) / 2**30 / SHARE

    start = Way("", recipe, placement, stages)
    asked = need(start)
    found = [*nearest(start, fleet, lambda way: need(way) <= fleet.memory_gib)]
    rows = [*((way.words, need(way)) for way in found), ("a fleet of more memory_gib", asked)]
    width = max(len(words) for words, _ in rows)
    return (
        f"{recipe.name} needs about {asked:.2f} GiB per worker even at micro-batch {recipe.regularization.unit}, and "
        f"fleet '{fleet.name}' has {fleet.memory_gib:g} ({1 - SHARE:.0%} left free). "
        "What would fit, by the same estimate:\n"
        + "\n".join(f"  {words:<{width}}  {gib:6.2f} GiB" for words, gib in rows)
    )


def nearest(start: Way, fleet: Fleet, fits: Callable[[Way], bool]) -> Iterator[Way]:
    """The mildest way of each kind that fits; where none of one kind does, the mildest of all kinds together."""
    kinds = [list(kind(start, fleet)) for kind in (_recomputed, _halved, _split, _more_workers, _smaller)]
    alone = [way for ways in kinds for way in [next(filter(fits, ways), None)] if way is not None]
    if alone:
        yield from alone
        return
    together = start
    for kind in (_recomputed, _halved, _split):
        for way in kind(together, fleet):
            together = way
    for other in (together, *_more_workers(together, fleet), *_smaller(together, fleet)):
        if fits(other):
            yield other
            return


Changes = Mapping[str, object]


def _add(
    way: Way,
    words: str,
    *,
    recipe: Changes | None = None,
    placement: Changes | None = None,
    stages: Sequence[Stage] = (),
) -> Way:
    return Way(
        f"{way.words} {words}".strip(),
        way.recipe.model_copy(update=recipe or {}),
        way.placement.model_copy(update=placement or {}),
        stages or way.stages,
    )


def _recomputed(way: Way, _fleet: Fleet) -> Iterator[Way]:
    execution = way.recipe.execution
    if not execution.checkpointing and not execution.compile:
        changed = execution.model_copy(update={"checkpointing": True})
        yield _add(way, "--set execution.checkpointing=true", recipe={"execution": changed})


def _halved(way: Way, fleet: Fleet) -> Iterator[Way]:
    if way.recipe.precision == "fp32" and fleet.gpu:
        yield _add(way, "--set precision=bf16", recipe={"precision": "bf16"})


def _split(way: Way, _fleet: Fleet) -> Iterator[Way]:
    """With the stage of ZeRO that takes least: only who asked for one, or for the plain engine, has another."""
    free = allowed_stages("deepspeed")
    if way.placement.engine == "torch":
        if way.placement.workers > 1:
            yield _add(way, "--engine deepspeed", placement={"engine": "deepspeed"}, stages=free)
    elif way.stages != free:
        yield _add(way, "without --zero", stages=free)


def _more_workers(way: Way, fleet: Fleet) -> Iterator[Way]:
    """Among whom ZeRO splits more; those that the global batch divides over."""
    for workers in range(way.placement.workers + 1, way.recipe.global_batch + 1):
        if way.placement.engine == "torch":
            return
        if way.recipe.global_batch % (workers * way.recipe.regularization.unit) == 0:
            many = f"--workers {workers}" if fleet.nodes == 1 else f"with a fleet of {workers} workers"
            yield _add(way, many, placement={"workers": workers})


def _smaller(way: Way, _fleet: Fleet) -> Iterator[Way]:
    """Smaller pictures, to half the side, in a Swin with the window that tiles them. None where stages have sizes."""
    recipe = way.recipe
    if recipe.progressive:
        return
    for side in range(recipe.view.image_size - 1, recipe.view.image_size // 2 - 1, -1):
        words, model = f"--set view.image_size={side}", _tiled(recipe.model, side)
        if model is None:
            continue
        if isinstance(model, SwinSpec) and model != recipe.model:
            words += f" --set model.window={model.window}"
        changed = {"view": recipe.view.model_copy(update={"image_size": side}), "model": model}
        yield _add(way, words, recipe=changed)


def _tiled(spec: ModelSpec, side: int) -> ModelSpec | None:
    """The network for images of that side, or None where none of its kind takes them."""
    if isinstance(spec, SwinSpec):
        if side % (spec.stride * spec.window) == 0:
            return spec
        window, rest = divmod(side, spec.stride)
        return spec.model_copy(update={"window": window}) if rest == 0 and 2 <= window < spec.window else None
    unit = spec.patch if spec.family == "vit" else STEP
    return spec if side % unit == 0 else None
