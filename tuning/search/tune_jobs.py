"""Rungs on a Ray cluster: Ray Tune runs them, first come first served, and one Tune trial is one rung.

Nobody kills a rung: where Tune stops a trial it kills the driver of a nested Ray Train run, whose placement group then
stays, and the next trial waits for its room for ever (ray#54305). A rung ends by itself; one that is to be interrupted
finds a `stop` file in its run, and ends after its step with a checkpoint.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from shutil import rmtree
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.util import placement_group_table
from ray.util.placement_group import PlacementGroup, PlacementGroupID, remove_placement_group

from cluster.connect import check_room, connected, room
from cluster.errors import ClusterUsageError
from raytrain.driver import environment, quiet_ray, run_job
from raytrain.errors import ResumeLater
from raytrain.job import Job
from raytrain.stopping import STOP_FILE, stopping_politely
from tuning.search.training import Training, failed, run_rung
from tuning.search.values import RungJob, RungResult, shown

DRIVER = {"memory": 1}  # a byte, since Tune refuses nothing: CPUs would be taken from the rung's own workers
RUNG = "rung"


@contextmanager
def tune_executor(
    training: Training, *, concurrency: int | None, address: str | None, say: Callable[[str], None]
) -> Iterator["TuneExecutor"]:
    """An executor on the cluster at `address`, or on one of its own.

    Raises ClusterError where no trial, or not `concurrency` of them, has room.
    """
    quiet_ray()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a rung that failed is told as a result
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the runs keep their own logs
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # it would kill rungs
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output ignores verbose=0
    # what Ray prints itself is no result: it goes where the progress goes
    with redirect_stdout(sys.stderr), connected(address, environment(training.plan)):
        # Ray took it, and would end a sweep between two rungs without a word
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield TuneExecutor(training, at_once(training, concurrency), say)


def at_once(training: Training, concurrency: int | None) -> int:
    """How many trials run side by side: as many as fit. More would start drivers that wait for ever."""
    placement = training.plan.placement
    check_room(placement.workers, placement.cpus_per_worker, placement.gpu)
    most = room(placement.cpus_per_worker, placement.gpu) // placement.workers
    if concurrency is not None and concurrency > most:
        raise ClusterUsageError(
            f"--concurrency {concurrency}: the cluster holds {most} trial(s) of {placement.workers} worker(s) at a time"
        )
    return concurrency or most


class TuneExecutor:
    """Executor on the connected cluster."""

    def __init__(self, training: Training, concurrency: int, say: Callable[[str], None]) -> None:
        self.training, self.concurrency, self.say = training, concurrency, say

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        """Run a Tune experiment of these jobs. Whatever ends it, no placement group of it is left."""
        study, before = Path(self.training.study), groups()
        stop = study / STOP_FILE
        stop.unlink(missing_ok=True)
        listener = Listener(study, done, self.say)
        try:
            with stopping_politely(study, self.say):
                tune.Tuner(
                    tune.with_resources(tune.with_parameters(tune_rung, training=self.training), DRIVER),
                    param_space={"job": tune.grid_search([job.model_dump(mode="json") for job in jobs])},
                    tune_config=tune.TuneConfig(
                        max_concurrent_trials=self.concurrency,
                        reuse_actors=True,  # a rung's driver is spared its start where another rung had one
                    ),
                    run_config=tune.RunConfig(
                        name=f"tune-{os.urandom(6).hex()}",
                        storage_path=str(study / "ray"),
                        verbose=0,
                        callbacks=[listener],
                    ),
                ).fit()
        finally:
            for group in groups() - before:
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
            rmtree(study / "ray", ignore_errors=True)  # Tune's own record: the ledger is the one that counts
        if stop.exists():
            stop.unlink()
            raise ResumeLater("the sweep was interrupted; the same command continues it")


def tune_rung(config: dict[str, Any], training: Training) -> None:
    """What Ray Tune calls, in a process of its own: one rung to its end. It reports nothing where it was stopped."""
    from ray.tune.integration.ray_train import TuneReportCallback

    quiet_ray()
    rung = RungJob.model_validate(config["job"])

    def train(job: Job) -> None:
        if (Path(training.study) / STOP_FILE).exists():
            raise ResumeLater("stopped before it began")
        run_job(job, say=nobody, callbacks=[TuneReportCallback()])

    try:
        tune.report({RUNG: run_rung(training, rung, train).model_dump(mode="json")})
    except ResumeLater:
        return


def nobody(_: str) -> None:
    """A rung's driver speaks to nobody: its events are in the run's folder."""


class Listener(TrialProgressCallback):  # type: ignore[misc]  # Ray is untyped
    """Hears of every rung, in the place of the callback of that kind that Tune would add. All is called by keyword."""

    def __init__(
        self, study: Path, done: Callable[[RungJob, RungResult], None], say: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.study, self.done, self.say = study, done, say
        self.running: dict[str, RungJob] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks, for a restore that nobody asks for."""
        return {}

    def on_step_begin(self, **_: Any) -> None:
        """Pass a wish to stop on to all runs: again and again, for one that is starting clears it."""
        if (self.study / STOP_FILE).exists():
            for job in self.running.values():
                (self.study / job.folder).mkdir(parents=True, exist_ok=True)
                (self.study / job.folder / STOP_FILE).touch()

    def on_trial_start(self, *, trial: Trial, **_: Any) -> None:
        """Say what it tries."""
        job = self.running[trial.trial_id] = RungJob.model_validate(trial.config["job"])
        self.say(shown(job))

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        """Say what an evaluation found."""
        if "top1" in result:
            job = self.running[trial.trial_id]
            self.say(f"trial {job.trial:3d}  step {result['step']:6d}  top-1 {result['top1']:6.1%}")

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        """Tell how it ended, unless it was stopped."""
        job = self.running.pop(trial.trial_id)
        if RUNG in (trial.last_result or {}):
            self.done(job, RungResult.model_validate(trial.last_result[RUNG]))

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        """Tell that its driver broke."""
        self.done(self.running.pop(trial.trial_id), failed("its driver process died"))


def groups() -> set[str]:
    """The placement groups of this job that exist: their ids end in the job's."""
    mine = ray.get_runtime_context().get_job_id()
    return {
        group["placement_group_id"]
        for group in placement_group_table().values()
        if group["state"] != "REMOVED" and group["placement_group_id"].endswith(mine)
    }
