"""A rung as a run: the plan of a trial, the start that ends at the rung, and what came of it, from its own files."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cluster.errors import ClusterError
from cluster.fleet import Fleet
from data_shards.errors import DataError
from data_shards.mix import load_data
from data_shards.shardset import Value
from raytrain.errors import DivergedError, ResumeLater, RunError
from raytrain.job import Job
from raytrain.plan import RunPlan
from raytrain.runlog import EVALUATIONS, METRICS, read_rows
from raytrain.settings import change
from tuning.dimension import Settings
from tuning.search.feasible import resolved
from tuning.search.values import RungJob, RungResult


class Training(Value):
    """What the trials of a study vary: a plan, on which machines, on which data; and the study's folder."""

    plan: RunPlan
    fleet: Fleet
    data_url: str
    study: str


def trial_plan(training: Training, changes: Settings) -> RunPlan:
    """The plan of the trial with these changes. Raises UsageError where a value is refused."""
    recipe = change(training.plan.recipe, changes)
    return resolved(recipe, training.plan, training.fleet, load_data(training.data_url))


def run_rung(training: Training, rung: RungJob, train: Callable[[Job], None]) -> RungResult:
    """Train to the rung's end with `train`, which goes on from the run's newest checkpoint.

    A failure is a result; raises ResumeLater alone, when `train` was asked to stop.
    """
    run = Path(training.study) / rung.folder
    run.mkdir(parents=True, exist_ok=True)
    try:
        plan = trial_plan(training, rung.changes)
        train(Job(plan=plan, data_url=training.data_url, run=str(run), until=steps(plan, rung.samples)))
        return rung_result(plan, run, rung, "done")
    except ResumeLater:
        raise
    except DivergedError as error:
        return rung_result(plan, run, rung, "diverged", str(error))
    except (RunError, DataError, ClusterError) as error:
        return failed(str(error))


def steps(plan: RunPlan, samples: int) -> int:
    """The step after which a run has seen so many samples."""
    return math.ceil(samples / plan.recipe.samples_per_step)


def rung_result(
    plan: RunPlan, run: Path, rung: RungJob, state: Literal["done", "diverged"], problem: str = ""
) -> RungResult:
    """What a run's logs say of a rung. Seconds are of steps and evaluations since the rung began."""
    begun, end = steps(plan, rung.begun), steps(plan, rung.samples)
    trained, evaluated = (
        [row for row in read_rows(run / name) if begun < row["step"] <= end]
        for name in (METRICS, EVALUATIONS)
    )
    return RungResult(
        state=state,
        samples=trained[-1]["samples"] if trained else rung.begun,
        error=1 - evaluated[-1]["top1"] if state == "done" else None,
        values={"gmacs": plan.estimates.forward_gmacs, "images_per_second": speed(trained)},
        seconds=sum(row["seconds"] for row in (*trained, *evaluated)),
        problem=problem,
    )


def speed(trained: list[dict[str, Any]]) -> float:
    """Images per second, the median of steps after the first tenth, which fills queues. 0 without steps."""
    steady = trained[len(trained) // 10 :]
    return float(statistics.median(row["images"] / row["seconds"] for row in steady)) if steady else 0.0


def failed(problem: str) -> RungResult:
    """A rung of which nothing is known."""
    return RungResult(state="failed", samples=0, error=None, seconds=0.0, problem=problem)
