"""What a trial will cost, from how fast others were: multiply-adds of forward passes per GPU-hour.

Where the fleet says its speed, that is it. Else the first trial that ended tells, evaluations, checkpoints and starting
included; before that, a few steps here.
"""

from pathlib import Path

from data_shards.store import open_store
from raytrain.plan import RunPlan
from raytrain.runlog import PLAN, read_plan
from tuning.method.reading import reading_of

SPEED = "speed.json"
STEPS = 3


def work_of(plan: RunPlan) -> float:
    """Multiply-adds of all forward passes of a training."""
    return plan.lengths.steps * plan.recipe.global_batch * plan.estimates.forward_gmacs * 1e9


def stated_speed(sustained_tflops: float) -> float:
    """A step costs three forward passes, a multiply-add two operations (as raytrain/plan.py counts)."""
    return sustained_tflops * 1e12 * 3600 / 6


def run_speed(trials: Path) -> float | None:
    """That of the first run there which came to its end; None before one did."""
    for folder in sorted(trials.glob("*")):
        if (folder / PLAN).exists():
            plan = read_plan(folder)
            reading = reading_of(plan, folder)
            if reading.state == "done":
                return work_of(plan) / reading.gpu_hours
    return None


def timed_speed(study: Path, plan: RunPlan, data: str) -> float:
    """Measured here on one worker, once, and kept: what was affordable stays so when a study goes on."""
    from tuning.method.lessons import seconds_per_image

    if not (study / SPEED).exists():
        speed = plan.estimates.forward_gmacs * 1e9 / seconds_per_image(plan, data, STEPS) * 3600
        study.mkdir(parents=True, exist_ok=True)
        open_store(str(study)).write(SPEED, f"{speed:.6g}\n".encode())
    return float((study / SPEED).read_text())
