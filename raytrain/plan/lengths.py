"""Epochs to optimizer steps, exactly."""

import math
from fractions import Fraction

from raytrain.plan.facts import DataFacts
from raytrain.plan.values import Lengths
from raytrain.recipe import Recipe


def lengths_of(recipe: Recipe, data: DataFacts) -> tuple[Lengths, dict[str, str]]:
    """The durations, and the rule of each. A batch may straddle two epochs: no sample is dropped, steps round up."""

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
    epoch = f"{data.train_samples:,} images / {recipe.global_batch:,}"
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
