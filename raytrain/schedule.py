"""The learning rate as a pure function of the optimizer step: a linear warm-up, then one of four shapes. No torch."""

import math

from raytrain.plan import Lengths, RunPlan
from raytrain.recipe import Schedule


def learning_rate(plan: RunPlan, step: int) -> float:
    """The learning rate of step 0 .. steps - 1; a parameter group's own is this times its `lr_scale`."""
    return plan.lr * lr_factor(step, plan.lengths, plan.recipe.schedule)


def lr_factor(step: int, lengths: Lengths, schedule: Schedule) -> float:
    """What to multiply the peak learning rate by at `step` of 0 .. steps - 1.

    Exactly `warmup_start` at step 0 (with a warm-up), on a line towards 1 at step `warmup_steps`; a run that ends with
    its warm-up never turns down. Then
    - cosine, linear: down to exactly `end` at step steps - 1. microsoft/Swin-Transformer lr_scheduler.py (timm's
      CosineLRScheduler with warmup_prefix) is the same cosine, but for stopping one step short of `end`;
    - step: times `step_factor` every `lr_drop_every` steps, counted from the start of training
      (Jongchan/attention-module train_imagenet.py, adjust_learning_rate);
    - constant: 1.
    """
    warmup, last = lengths.warmup_steps, lengths.steps - 1
    if step < warmup:
        done = step / warmup
        return (1 - done) * schedule.warmup_start + done
    if schedule.shape == "constant":
        return 1.0
    if schedule.shape == "step":
        assert lengths.lr_drop_every is not None
        return schedule.step_factor ** (step // lengths.lr_drop_every)
    progress = (step - warmup) / max(1, last - warmup)
    height = 1 - progress if schedule.shape == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return height + (1 - height) * schedule.end
