"""What a trial will cost in GPU-hours (worker-hours without GPUs), before it is run: the first of these that is known.

1. the plan's own figure, where the fleet's speed was measured
2. by the first trial of the study that ended: evaluations, checkpoints and starting included
3. the plan's own figure, where it assumes a speed from the fleet's peak
4. without GPUs: by a few steps here

2 and 4 go by multiply-adds of forward passes.
"""

from collections.abc import Callable
from pathlib import Path

from cluster.fleet import Fleet
from data_shards.store import open_store
from raytrain.errors import UsageError
from raytrain.plan import RunPlan
from raytrain.runlog import PLAN, read_plan
from tuning.method.reading import reading_of

SPEED = "speed.json"
STEPS = 3


class Costs:
    """Of the trials of one study. What was affordable stays so when a study goes on: nothing is timed twice.

    trials    where runs are
    base      the first trial's plan, on this data
    """

    def __init__(
        self,
        study: Path,
        trials: Path,
        base: RunPlan,
        data: str,
        fleet: Fleet,
        say: Callable[[str], None],
    ) -> None:
        self.study, self.trials, self.base, self.data, self.fleet = study, trials, base, data, fleet
        self.say = say
        self.ended: float | None = None

    def of(self, plan: RunPlan) -> float:
        """A trial's. Raises UsageError where there are GPUs and nothing says how fast they are."""
        planned = plan.estimates.worker_hours
        if planned is not None and self.fleet.sustained_tflops is not None:
            return planned
        if (speed := self._ended()) is not None:
            return work_of(plan) / speed
        if planned is not None:
            return planned
        if self.fleet.gpu:
            raise UsageError(
                f"fleet '{self.fleet.name}' does not say how fast it is, so nothing can be budgeted: write "
                "sustained_tflops (a worker's, measured in training) or peak_tflops (its data sheet's) into its file"
            )
        return work_of(plan) / self._timed()

    def _ended(self) -> float | None:
        """Multiply-adds per GPU-hour of the first run there which came to its end; None before one did."""
        for folder in sorted(self.trials.glob("*")) if self.ended is None else ():
            if (folder / PLAN).exists():
                plan = read_plan(folder)
                reading = reading_of(plan, folder)
                if reading.state == "done":
                    self.ended = work_of(plan) / reading.gpu_hours
                    break
        return self.ended

    def _timed(self) -> float:
        """The same of one worker here, measured once and kept beside the ledger."""
        from tuning.method.lessons import seconds_per_image

        if not (self.study / SPEED).exists():
            self.say(
                f"timing {STEPS + 1} steps of {self.base.recipe.name} here: fleet '{self.fleet.name}' says no speed"
            )
            seconds = seconds_per_image(self.base, self.data, STEPS)
            self.study.mkdir(parents=True, exist_ok=True)
            speed = self.base.estimates.forward_gmacs * 1e9 / seconds * 3600
            open_store(str(self.study)).write(SPEED, f"{speed:.6g}\n".encode())
        return float((self.study / SPEED).read_text())


def work_of(plan: RunPlan) -> float:
    """Multiply-adds of all forward passes of a training."""
    return plan.lengths.steps * plan.recipe.global_batch * plan.estimates.forward_gmacs * 1e9
