"""Failures of attempts: which worker it was, whether another attempt may help, and which samples were at hand."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ray.exceptions import RayActorError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import (  # no public names for them
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)

from data_shards.errors import DataError, DataProcessError
from raytrain.errors import ResumeLater, RunError
from raytrain.runlog import event, newest_steps, pid_file
from raytrain.stopping import STOP_FILE

ATTEMPT_FAILED = (TrainingFailedError, RayActorError)
"""What an attempt's failure arrives as: the second where the controller's own process died."""

MOST_FAILURES_WITHOUT_PROGRESS = 3


class Failures:
    """Those of one run's attempts, in a row. `samples_of` writes down the samples of a step, and says where."""

    def __init__(self, run: Path, samples_of: Callable[[int], str]) -> None:
        self.run, self.samples_of = run, samples_of
        self.count, self.last_step = 0, -1

    def after(self, error: TrainingFailedError | RayActorError) -> str:
        """What to say before the next attempt.

        Raises what ends the run: an error of ours, a stop that was asked for, the same step failing three times.
        """
        if isinstance(error, ControllerError):
            event(self.run, "no_place", cause=one_line(error.controller_failure))
            if (self.run / STOP_FILE).exists():
                raise ResumeLater(
                    "stopped while it waited for a place; the same command goes on from the newest checkpoint"
                ) from None
            return "no place for the workers yet: the cluster's are taken, or a host is gone; looking again"
        rank, cause = root_cause(error)
        if (self.run / STOP_FILE).exists() and not isinstance(cause, (RunError, DataError)):
            raise ResumeLater(
                f"stopped while the cluster went down ({one_line(cause)}); "
                "the same command goes on from the newest checkpoint"
            ) from None
        if isinstance(cause, (RunError, DataError)) and not isinstance(cause, DataProcessError):
            raise cause from None
        step = reached(self.run)
        self.count = self.count + 1 if step <= self.last_step else 1
        self.last_step = max(step, self.last_step)
        who = "the controller" if error is cause and is_gone(cause) else worker(self.run, rank)
        event(self.run, "worker_lost", step=step, worker=who, cause=one_line(cause), detail=str(cause))
        what = (
            f"{who} {'was lost' if is_gone(cause) else 'failed'}"  # of a lost peer, whoever told of it first
        )
        if self.count >= MOST_FAILURES_WITHOUT_PROGRESS:
            raise RunError(
                f"stopped: {self.count} failures in a row at step {step + 1}, the last: {what} ({one_line(cause)}). "
                f"{self.samples_of(step + 1)}. The last checkpoint is kept; see {self.run}/events.jsonl"
            ) from None
        return f"{what} after step {step} ({one_line(cause)}); restarting from the newest checkpoint"


def root_cause(error: TrainingFailedError | RayActorError) -> tuple[int | None, BaseException]:
    """The failure that started it, and its rank: a declared error of ours, else a death, else the first.

    What comes of a lost peer is never the cause where another failure is known.
    """
    if not isinstance(error, WorkerGroupError):
        return None, error
    failures: list[tuple[int | None, BaseException]] = [
        (rank, _itself(failure)) for rank, failure in error.worker_failures.items()
    ]
    ours = [one for one in failures if isinstance(one[1], (RunError, DataError))]
    gone = [one for one in failures if is_gone(one[1])]
    return [*ours, *gone, *failures, (None, error)][0]


def _itself(failure: BaseException) -> BaseException:
    """A death that Ray Train met when it asked the worker is wrapped once."""
    return failure.health_check_failure if isinstance(failure, WorkerHealthCheckFailedError) else failure


def is_gone(cause: BaseException) -> bool:
    """Whether a worker died, or has not answered for `raytrain.hang.HEALTH_SECONDS`."""
    return isinstance(cause, (RayActorError, WorkerHealthCheckTimeoutError))


def worker(run: Path, rank: int | None) -> str:
    """A worker by its rank, host and process id."""
    if rank is None:
        return "a worker"
    with suppress(OSError, ValueError):
        found = json.loads(pid_file(run, rank).read_text())
        return f"worker {rank} (process {found['pid']} on {found['host']})"
    return f"worker {rank}"


def reached(run: Path) -> int:
    """The last step that was logged."""
    rows = newest_steps(run, 1)
    return int(rows[-1]["step"]) if rows else 0


def one_line(error: BaseException) -> str:
    """An error's type and first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
