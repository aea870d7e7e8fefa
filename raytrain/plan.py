"""RunPlan: what will happen here. Every number is derived once, in the open, with the rule it came from.

`resolve(recipe, fleet, data)` is pure arithmetic: no torch, no Ray, no clock. The plan is printed, hashed,
stored as `<run>/plan.json` and handed to the workers, who take no number from anywhere else.
"""

import hashlib
import json
import math
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from cluster.fleet import Fleet
from data_shards.mix import Data
from data_shards.shardset import Value
from raytrain.datafacts import DataFacts, data_because, data_facts
from raytrain.errors import UsageError
from raytrain.groups import layer_count
from raytrain.memory import fixed_bytes, image_bytes, micro_batch
from raytrain.models.arithmetic import forward_macs, parameters
from raytrain.models.spec import ModelSpec
from raytrain.recipe import Recipe


class Init(Value):
    """The checkpoint a fine-tune starts from, and the digest of its manifest.

    `source` is what was asked for: a checkpoint, or a run, whose newest checkpoint it was at the first start; or a
    file of weights. A file has no card: its digest is its sha256, and the classes of its head's rows are `class_list`
    (a known list, a text file or a shard set), with the digest of what that list was.
    """

    source: str

    checkpoint: str
    digest: str
    class_list: str = Field("", exclude_if=lambda name: not name)
    class_digest: str = Field("", exclude_if=lambda name: not name)


class Teacher(Value):
    """The checkpoint of ours that a run is distilled from, as in Init, and what it is."""

    source: str
    checkpoint: str
    digest: str
    model: ModelSpec
    classes: int
    image_size: int

    @property
    def bytes(self) -> int:
        """Its weights in fp32."""
        return 4 * parameters(self.model, self.classes, self.image_size)


class Placement(Value):
    """How the work lies on the machines. It may change when a run is continued; the identity may not.

    With `micro_batch_auto` the micro-batch is a first guess, and the workers find theirs (raytrain/microbatch.py).
    """

    fleet: str
    workers: int
    gpu: bool
    cpus_per_worker: int
    loader_processes: int
    strategy: str
    micro_batch: int
    micro_batch_auto: bool = False
    accumulation: int
    engine: Literal["deepspeed", "torch"]
    zero_stage: Literal[0, 1, 2]


class Lengths(Value):
    """Durations in optimizer steps. `lr_drop_every` is the step schedule's, None for the other shapes.

    `sizes`: (step, image size) of the progressive stages; the steps before the step have that size.
    """

    steps_per_epoch: int
    steps: int
    warmup_steps: int
    lr_drop_every: int | None = None
    evaluate_every: int
    checkpoint_every: int
    sizes: tuple[tuple[int, int], ...] = ()


class Estimates(Value):
    """What the run will need: bytes, gigabytes, hours, money. None where the fleet was never measured."""

    parameters: int
    forward_gmacs: float
    checkpoint_bytes: int
    worker_gib: float
    hours: float | None
    cost: float | None


class RunPlan(Value):
    """One run with every number resolved. `because[path]` is the rule behind the number at that path."""

    recipe: Recipe
    data: DataFacts
    init: Init | None
    teacher: Teacher | None = None
    lr: float
    lengths: Lengths
    placement: Placement
    estimates: Estimates
    because: dict[str, str]

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this the same run on any machines: recipe (but for how it is computed), data, start, lengths.

        What the recipe was made for says nothing of a run, which has its data.
        """
        tree = self.model_dump(mode="json", include={"recipe", "data", "init", "teacher", "lr", "lengths"})
        del tree["recipe"]["execution"], tree["recipe"]["made_for"]
        return tree

    @cached_property
    def hash(self) -> str:
        """The first 16 hex digits of the sha256 of the identity's canonical JSON."""
        canonical = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def resolve(
    recipe: Recipe,
    fleet: Fleet,
    data: Data,
    *,
    init: Init | None = None,
    teacher: Teacher | None = None,
    engine: Literal["deepspeed", "torch"] = "deepspeed",
    zero_stage: Literal[1, 2] = 1,
    auto_micro_batch: bool = False,
) -> RunPlan:
    """Derive the whole run. Raises UsageError where the recipe does not fit the fleet or the data."""
    if recipe.optimizer.layer_decay != 1:
        layer_count(recipe.model)  # raises where there is no order of layers
    if auto_micro_batch and not fleet.gpu:
        raise UsageError(
            f"--auto-micro-batch tries sizes until a GPU is out of memory, and fleet '{fleet.name}' has CPUs, where "
            "the system would kill the process instead. Without it the plan's estimate is used"
        )
    facts = data_facts(recipe, data)
    lengths, lengths_because = _lengths(recipe, facts)
    count = parameters(recipe.model, facts.classes, recipe.view.image_size)
    per_image = image_bytes(recipe)
    fixed = fixed_bytes(recipe, count, fleet.workers if engine == "deepspeed" else None)
    if teacher is not None:
        _check_teacher(teacher, recipe)
        fixed += teacher.bytes
    micro, micro_because = micro_batch(recipe, fleet, fixed, per_image)
    estimates, estimates_because = _estimates(
        recipe, fleet, facts, lengths, fixed + micro * per_image, count, teacher
    )
    lr = recipe.optimizer.lr * recipe.global_batch / recipe.optimizer.lr_batch
    accumulation = recipe.global_batch // fleet.workers // micro
    return RunPlan(
        recipe=recipe,
        data=facts,
        init=init,
        teacher=teacher,
        lr=lr,
        lengths=lengths,
        placement=Placement(
            fleet=fleet.name,
            workers=fleet.workers,
            gpu=fleet.gpu,
            cpus_per_worker=fleet.cpus_per_worker,
            loader_processes=fleet.loader_processes,
            strategy=fleet.placement,
            micro_batch=micro,
            micro_batch_auto=auto_micro_batch,
            accumulation=accumulation,
            engine=engine,
            zero_stage=0 if engine == "torch" else zero_stage,
        ),
        estimates=estimates,
        because={
            "lr": (
                f"optimizer.lr {recipe.optimizer.lr:g} x global batch {recipe.global_batch} "
                f"/ {recipe.optimizer.lr_batch}"
            ),
            **data_because(recipe, facts, data),
            **lengths_because,
            "placement.micro_batch": f"a first guess, the workers try: {micro_because}"
            if auto_micro_batch
            else micro_because,
            "placement.accumulation": f"{recipe.global_batch} / ({fleet.workers} workers x {micro})",
            **estimates_because,
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


def _lengths(recipe: Recipe, data: DataFacts) -> tuple[Lengths, dict[str, str]]:
    """Epochs to steps. A batch may straddle two epochs, so no sample is dropped and steps round up."""

    def in_steps(epochs: float) -> Fraction:  # exact: a float product can round up to one step too many
        return Fraction(str(epochs)) * data.train_samples / recipe.global_batch

    steps = math.ceil(in_steps(recipe.epochs))
    schedule = recipe.schedule
    drops = schedule.shape == "step"
    lengths = Lengths(
        steps_per_epoch=math.ceil(in_steps(1)),
        steps=steps,
        warmup_steps=min(round(in_steps(schedule.warmup_epochs)), steps),
        lr_drop_every=max(1, round(in_steps(schedule.step_epochs))) if drops else None,
        evaluate_every=max(1, round(in_steps(recipe.evaluate_epochs))),
        checkpoint_every=max(1, round(in_steps(recipe.checkpoint_epochs))),
        sizes=tuple(
            (steps if stage.until == recipe.epochs else round(in_steps(stage.until)), stage.image_size)
            for stage in recipe.progressive
        ),
    )
    epoch = f"{data.train_samples} images / {recipe.global_batch}"
    return lengths, {
        "lengths.steps_per_epoch": f"{epoch}, rounded up",
        "lengths.steps": f"{_epochs(recipe.epochs)} x {epoch}, rounded up",
        "lengths.warmup_steps": f"{_epochs(schedule.warmup_epochs)} x {epoch}",
        "lengths.lr_drop_every": f"{_epochs(schedule.step_epochs)} x {epoch}"
        if drops
        else f"none in a {schedule.shape} schedule",
        "lengths.sizes": "the ends of the progressive stages"
        if lengths.sizes
        else "one size from start to end",
        "lengths.evaluate_every": f"every {_epochs(recipe.evaluate_epochs)}, and at the end",
        "lengths.checkpoint_every": f"every {_epochs(recipe.checkpoint_epochs)}, and at the end",
    }


def _epochs(count: float) -> str:
    return f"{count:g} epoch{'' if count == 1 else 's'}"


def _estimates(
    recipe: Recipe,
    fleet: Fleet,
    data: DataFacts,
    lengths: Lengths,
    worker_bytes: int,
    count: int,
    teacher: Teacher | None,
) -> tuple[Estimates, dict[str, str]]:
    """Size, time and money. Training costs three forward passes (Kaplan et al. 2020, section 2.1)."""
    macs = forward_macs(recipe.model, data.classes, recipe.view.image_size)
    forwards = 3 * _macs_of_steps(recipe, lengths, recipe.model, data.classes)
    if teacher is not None:
        forwards += _macs_of_steps(recipe, lengths, teacher.model, teacher.classes)
    moments = 2 if recipe.optimizer.name == "adamw" else 1
    average = 1 if recipe.ema_decay is not None else 0
    images = lengths.steps * recipe.global_batch
    hours = cost = None
    if fleet.sustained_tflops is not None:
        hours = 2 * recipe.global_batch * forwards / (fleet.sustained_tflops * 1e12 * fleet.workers) / 3600
        if fleet.node_price_per_hour is not None:
            cost = hours * fleet.nodes * fleet.node_price_per_hour
    estimates = Estimates(
        parameters=count,
        forward_gmacs=macs / 1e9,
        checkpoint_bytes=count * 4 * (1 + average + moments),
        worker_gib=worker_bytes / 2**30,
        hours=hours,
        cost=cost,
    )
    unknown = f"unknown: fleet '{fleet.name}' gives no sustained_tflops (measure it; no peak figure is used)"
    return estimates, {
        "estimates.parameters": f"counted for {data.classes} classes",
        "estimates.forward_gmacs": f"multiply-adds of one {recipe.view.image_size} px image",
        "estimates.checkpoint_bytes": (
            f"fp32 weights{' + their average' if average else ''} + {moments} optimizer moment(s)"
        ),
        "estimates.worker_gib": "weights, gradients, ZeRO share of the optimizer, activations"
        f"{', the teacher' if teacher else ''} (estimate)",
        "estimates.hours": unknown
        if hours is None
        else f"{'(3 x forward + teacher)' if teacher else '3 x forward'} x {images} images"
        f"{' of their sizes' if lengths.sizes else ''} / sustained TFLOP/s",
        "estimates.cost": "hours x nodes x price"
        if cost is not None
        else "unknown: needs hours and a node price",
    }


def _macs_of_steps(recipe: Recipe, lengths: Lengths, model: ModelSpec, classes: int) -> int:
    """Multiply-adds of one image of each step. Raises UsageError where the network takes no image of a stage's size."""
    begin, total = 0, 0
    for end, side in (*lengths.sizes, (lengths.steps, recipe.view.image_size)):
        total += (end - begin) * forward_macs(model, classes, side)
        begin = end
    return total


def differences(old: RunPlan, new: RunPlan) -> list[str]:
    """The fields in which two plans' identities differ, one line each: `path: old -> new`."""
    before, after = flatten(old.identity), flatten(new.identity)
    paths = sorted(before.keys() | after.keys())
    return [
        f"{path}: {before.get(path, '(none)')} -> {after.get(path, '(none)')}"
        for path in paths
        if before.get(path) != after.get(path)
    ]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The leaves of nested JSON by their dotted paths, as JSON texts."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value)
    return flat
