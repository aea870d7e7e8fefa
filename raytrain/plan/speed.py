"""Time and money: FLOPs over what the workers sustain, which is measured, assumed (and told so) or not known."""

from typing import NamedTuple

from cluster.fleet import Fleet
from raytrain.models.arithmetic import forward_macs
from raytrain.models.spec import ModelSpec
from raytrain.plan.facts import DataFacts
from raytrain.plan.published import OTHER_GPU, nearest_speed
from raytrain.plan.values import Lengths, Teacher
from raytrain.recipe import Recipe

TRAINING = 3
"""Forward passes that a training step costs: one forward, twice that backward (Kaplan et al. 2020, section 2.1).

Not torch's FlopCounterMode, whose backward counts grouped convolutions as if they had no groups: + 57 % for ResNeXt50
(tests/raytrain/test_arithmetic.py).
"""


NAMES = ("tflops", "mfu", "images_per_second", "hours", "worker_hours", "cost")
"""Fields of Estimates."""


class Sustained(NamedTuple):
    """What a worker sustains, TFLOP/s; its share of the peak where that is known; and how both are known."""

    tflops: float | None
    mfu: float | None
    because: str


class Time(NamedTuple):
    """NAMES and their values, and the rules by path."""

    values: dict[str, float | None]
    because: dict[str, str]


def train_gflops(recipe: Recipe, classes: int, teacher: Teacher | None) -> float:
    """FLOPs of an image of the view's size in training, a teacher's forward pass with it."""
    side = recipe.view.image_size
    own = TRAINING * forward_macs(recipe.model, classes, side)
    taught = forward_macs(teacher.model, teacher.classes, side) if teacher is not None else 0
    return 2 * (own + taught) / 1e9


def sustained(spec: ModelSpec, macs: int, fleet: Fleet, *, compiled: bool) -> Sustained:
    """Measured on the fleet, or assumed of its peak from what was measured elsewhere, or neither."""
    peak, measured = fleet.peak_tflops, fleet.sustained_tflops
    if measured is not None:
        return Sustained(
            measured, measured / peak if peak else None, f"measured: sustained_tflops of fleet '{fleet.name}'"
        )
    if peak is None:
        unknown = f"unknown: fleet '{fleet.name}' gives no sustained_tflops (measured), nor peak_tflops to guess from"
        return Sustained(None, None, unknown)
    like = nearest_speed(spec, macs, peak, compiled=compiled)
    because = (
        f"ASSUMED, not measured: {like.model} at {like.image_size} px trained at {like.images_per_second:.4g} images/s "
        f"on an {like.gpu} of {like.peak_tflops:g} TFLOP/s{', compiled' if like.compiled else ''} ({like.source}). "
        f"Other GPUs and networks may miss it by a factor of two and more: {OTHER_GPU.model} made "
        f"{OTHER_GPU.mfu:.0%} on V100s ({OTHER_GPU.source})"
    )
    return Sustained(like.mfu * peak, like.mfu, because)


def time(recipe: Recipe, fleet: Fleet, data: DataFacts, lengths: Lengths, teacher: Teacher | None) -> Time:
    """How fast, how long and for how much. Raises UsageError where the network takes no image of a stage's size."""
    forwards = TRAINING * _macs_of_steps(recipe, lengths, recipe.model, data.classes)
    if teacher is not None:
        forwards += _macs_of_steps(recipe, lengths, teacher.model, teacher.classes)
    macs = forward_macs(recipe.model, data.classes, recipe.view.image_size)
    speed = sustained(recipe.model, macs, fleet, compiled=recipe.execution.compile)
    values: dict[str, float | None] = dict.fromkeys(NAMES)
    if speed.tflops is None:
        because = dict.fromkeys(NAMES, speed.because) | {"cost": "unknown: needs hours and a node price"}
        return _time(values, because)
    images = lengths.steps * recipe.global_batch
    seconds = 2 * recipe.global_batch * forwards / (speed.tflops * 1e12 * fleet.workers)
    hours, price = seconds / 3600, fleet.node_price_per_hour
    values |= {
        "tflops": speed.tflops,
        "mfu": speed.mfu,
        "images_per_second": images / seconds,
        "hours": hours,
        "worker_hours": hours * fleet.workers,
        "cost": None if price is None else hours * fleet.nodes * price,
    }
    flops = "(3 x forward + teacher)" if teacher is not None else "3 x forward"
    sizes = " of their sizes" if lengths.sizes else ""
    because = {
        **_speed_because(speed, fleet),
        "images_per_second": f"{fleet.workers} workers x TFLOP/s / FLOPs an image",
        "hours": f"{flops} x {images:,} images{sizes} / sustained TFLOP/s; evaluation and checkpoints not counted",
        "worker_hours": f"hours x {fleet.workers} workers",
        "cost": f"unknown: fleet '{fleet.name}' gives no node_price_per_hour"
        if price is None
        else f"hours x {fleet.nodes} node{'s' if fleet.nodes > 1 else ''} x {price:g} an hour",
    }
    return _time(values, because)


def _time(values: dict[str, float | None], because: dict[str, str]) -> Time:
    return Time(values, {f"estimates.{name}": rule for name, rule in because.items()})


def _speed_because(speed: Sustained, fleet: Fleet) -> dict[str, str]:
    """The rules of what a worker sustains and of its share of the peak: one is given, the other follows."""
    peak = f"fleet '{fleet.name}' peak_tflops {fleet.peak_tflops:g}" if fleet.peak_tflops else ""
    if fleet.sustained_tflops is None:
        return {"mfu": speed.because, "tflops": f"{speed.mfu:.1%} of {peak}"}
    share = (
        f"measured {speed.tflops:g} of {peak}"
        if peak
        else f"unknown: fleet '{fleet.name}' gives no peak_tflops"
    )
    return {"mfu": share, "tflops": speed.because}


def _macs_of_steps(recipe: Recipe, lengths: Lengths, model: ModelSpec, classes: int) -> int:
    """Multiply-adds of one image of each step. Raises UsageError where the network takes no image of a stage's size."""
    begin, total = 0, 0
    for end, side in (*lengths.sizes, (lengths.steps, recipe.view.image_size)):
        total += (end - begin) * forward_macs(model, classes, side)
        begin = end
    return total
