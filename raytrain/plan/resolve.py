"""`resolve(recipe, fleet, data)`: the whole run, by pure arithmetic. No torch, no Ray, no clock."""

from cluster.fleet import Fleet
from data_shards.mix import Data
from raytrain.errors import UsageError
from raytrain.groups import layer_count
from raytrain.models.arithmetic import forward_macs, parameters, stage_sides
from raytrain.models.spec import SwinSpec
from raytrain.plan.facts import DataFacts, data_because, data_facts
from raytrain.plan.fit import fit
from raytrain.plan.interval import because, in_steps, interval_minutes
from raytrain.plan.lengths import lengths_of
from raytrain.plan.memory import memory, optimizer_moments
from raytrain.plan.speed import time, train_gflops
from raytrain.plan.stages import allowed_stages
from raytrain.plan.traffic import traffic_of
from raytrain.plan.values import (
    EngineName,
    Estimates,
    Init,
    Larger,
    Lengths,
    Placement,
    RunPlan,
    Stage,
    Teacher,
)
from raytrain.recipe import Recipe


def resolve(
    recipe: Recipe,
    fleet: Fleet,
    data: Data,
    *,
    url: str | None = None,
    init: Init | None = None,
    teacher: Teacher | None = None,
    engine: EngineName = "deepspeed",
    zero_stage: Stage | None = None,
    auto_micro_batch: bool = False,
) -> RunPlan:
    """Derive the whole run. `url` is where the data lies, no `zero_stage` the lowest that fits.

    Raises UsageError where the recipe does not fit.
    """
    if recipe.optimizer.layer_decay != 1:
        layer_count(recipe.model)  # raises where there is no order of layers
    if isinstance(recipe.model, SwinSpec):
        for number, stage in enumerate(recipe.progressive):
            stage_sides(recipe.model, stage.image_size, f"progressive.{number}.image_size")
    if auto_micro_batch and not fleet.gpu:
        raise UsageError(
            f"--auto-micro-batch tries sizes until a GPU is out of memory, and fleet '{fleet.name}' has CPUs, where "
            "the system would kill the process instead. Without it the plan's estimate is used"
        )
    facts = data_facts(recipe, data)
    lengths, lengths_because = lengths_of(recipe, facts)
    if teacher is not None:
        _check_teacher(teacher, recipe)
    asked = Placement(
        fleet=fleet.name,
        workers=fleet.workers,
        gpu=fleet.gpu,
        cpus_per_worker=fleet.cpus_per_worker,
        loader_processes=fleet.loader_processes,
        strategy=fleet.placement,
        micro_batch=1,
        micro_batch_auto=auto_micro_batch,
        accumulation=1,
        engine=engine,
        zero_stage=0,
    )
    stages = allowed_stages(engine, zero_stage)
    placement, larger, fit_because = fit(recipe, fleet, asked, stages, facts.classes, teacher)
    if auto_micro_batch:
        guess = f"a first guess, the workers try: {fit_because['placement.micro_batch']}"
        fit_because["placement.micro_batch"] = guess
    estimates, estimates_because = _estimates(recipe, fleet, facts, lengths, placement, larger, teacher)
    traffic, traffic_because = traffic_of(recipe, fleet, data, facts, url)
    optimizer = recipe.optimizer
    return RunPlan(
        recipe=recipe,
        data=facts,
        init=init,
        teacher=teacher,
        lr=optimizer.lr * recipe.global_batch / optimizer.lr_batch,
        lengths=lengths,
        placement=placement,
        estimates=estimates.model_copy(update={"traffic": traffic}),
        because={
            "lr": f"optimizer.lr {optimizer.lr:g} x global batch {recipe.global_batch:,} / {optimizer.lr_batch}",
            **data_because(recipe, facts, data),
            **lengths_because,
            **fit_because,
            **estimates_because,
            **traffic_because,
        },
    )


def _check_teacher(teacher: Teacher, recipe: Recipe) -> None:
    """Raises UsageError where the teacher cannot look at the images that are trained on."""
    for side in {recipe.view.image_size, *(stage.image_size for stage in recipe.progressive)}:
        if teacher.model.family == "vit" and side != teacher.image_size:
            raise UsageError(
                f"the teacher {teacher.checkpoint} is a ViT for {teacher.image_size} px, the recipe trains at {side} "
                f"px: --set view.image_size={teacher.image_size}, or another --teacher"
            )
        try:
            forward_macs(teacher.model, teacher.classes, side)
        except UsageError as error:
            raise UsageError(f"the teacher {teacher.checkpoint} cannot look at {side} px: {error}") from None


def _estimates(
    recipe: Recipe,
    fleet: Fleet,
    data: DataFacts,
    lengths: Lengths,
    placement: Placement,
    larger: Larger | None,
    teacher: Teacher | None,
) -> tuple[Estimates, dict[str, str]]:
    """Size, memory, time and money, but not the traffic."""
    side = recipe.view.image_size
    count = parameters(recipe.model, data.classes, side)
    held, memory_because = memory(recipe, placement, count, teacher)
    moments, average = optimizer_moments(recipe), recipe.ema_decay is not None
    took = time(recipe, fleet, data, lengths, teacher)
    saved = count * 4 * (1 + average + moments)
    minutes = interval_minutes(saved, fleet.workers)
    estimates = Estimates(
        parameters=count,
        forward_gmacs=forward_macs(recipe.model, data.classes, side) / 1e9,
        train_gflops=train_gflops(recipe, data.classes, teacher),
        checkpoint_bytes=saved,
        checkpoint_minutes=minutes,
        checkpoint_steps=in_steps(minutes, took.values["hours"], lengths),
        worker_gib=held.total / 2**30,
        memory=held,
        larger=larger,
        **took.values,
    )
    return estimates, {
        "estimates.parameters": f"counted for {data.classes:,} classes",
        "estimates.forward_gmacs": f"multiply-adds of one {side} px image",
        "estimates.train_gflops": "2 x (3 x forward + the teacher's)"
        if teacher
        else "2 x 3 x forward: the backward pass costs twice as much",
        "estimates.checkpoint_bytes": (
            f"fp32 weights{' + their average' if average else ''} + {moments} of the optimizer's moments"
        ),
        "estimates.checkpoint_minutes": because(fleet.workers),
        "estimates.checkpoint_steps": "that many minutes of the time estimated"
        if took.values["hours"] is not None
        else "unknown: the time is",
        "estimates.worker_gib": "the sum of these parts",
        **memory_because,
        **took.because,
    }
