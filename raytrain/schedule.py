"""The learning rate as a pure function of the step: a linear warm-up, then a half cosine. No torch."""

import math

from raytrain.recipe import Schedule


def lr_factor(step: int, *, warmup_steps: int, steps: int, schedule: Schedule) -> float:
    """What to multiply the peak learning rate by at `step` of 0 .. steps - 1.

    Exactly `warmup_start` at step 0 (with a warm-up), 1 at step `warmup_steps`, `end` at step steps - 1. A run that
    ends with its warm-up never turns down. microsoft/Swin-Transformer lr_scheduler.py (timm's CosineLRScheduler
    with warmup_prefix) is the same curve, but for stopping one step short of `end`.
    """
    if step < warmup_steps:
        done = step / warmup_steps
        return (1 - done) * schedule.warmup_start + done
    progress = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    height = (1 + math.cos(math.pi * progress)) / 2
    return height + (1 - height) * schedule.end
