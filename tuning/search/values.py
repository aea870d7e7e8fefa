"""What passes between a sweep's engine and whoever trains: a rung to run, and what came of it."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from pydantic import Field

from data_shards.shardset import Value
from tuning.dimension import Settings


class RungJob(Value):
    """A trial's next stretch of training. It goes on from where the trial's run is, and ends by itself.

    changes      recipe paths and the values that this trial has there
    begun        how many training samples the trial had seen when its last rung ended; 0 at its first
    samples      how many it has seen when this rung ends; the whole run's, at the last rung
    folder       the trial's run, under the study's folder
    attempt      0, or how often this rung was tried before: a worker may die
    """

    trial: int
    rung: int
    changes: Settings
    begun: int = 0
    samples: int
    folder: str
    attempt: int = 0


class RungResult(Value):
    """How a rung ended. `diverged`: the numbers were not finite. `failed`: nothing is known of the trial's values.

    error        share of wrong answers on the evaluation split after `samples`; None where it was never evaluated
    values       further objectives by name (gmacs, images_per_second)
    seconds      of training, without waiting for a place
    """

    state: Literal["done", "diverged", "failed"]
    samples: int
    error: float | None
    values: dict[str, float] = Field(default_factory=dict)
    seconds: float
    problem: str = ""


class Executor(Protocol):
    """Where rungs run: in this process, as Ray Tune trials, or read from recorded curves."""

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        """Run all jobs, some at once. `done` is called here, in the caller's thread, as each of them ends.

        A rung's own failure is a result. Raises ResumeLater when interrupted; what was told as done stays done.
        """
        ...


def shown(job: RungJob) -> str:
    """What a rung tries, in a line for people: four digits of a value are enough."""
    changes = "  ".join(f"{path}={short(value)}" for path, value in job.changes.items())
    return f"trial {job.trial:3d}  to {job.samples} samples  {changes}".rstrip()


def short(value: object) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
