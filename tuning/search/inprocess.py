"""Rungs in this process, one at a time: the worker with one rank and the plain engine, without Ray.

For tests and for sweeps on one machine. Not several at once: what a step draws comes from torch's one generator.
"""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from data_shards.store import open_store
from raytrain.claim import check_claim, claim, run_lock
from raytrain.errors import ResumeLater
from raytrain.job import Job
from raytrain.manifest import newest
from raytrain.ranks import alone
from raytrain.runlog import event
from raytrain.stopping import STOP_FILE, stopping_politely
from raytrain.worker import work
from tuning.search.training import Training, failed, run_rung
from tuning.search.values import RungJob, RungResult, shown


class InProcessExecutor:
    """Executor for a plan of one worker and the plain engine."""

    def __init__(self, training: Training, say: Callable[[str], None]) -> None:
        self.training, self.say = training, say

    def run(self, jobs: Sequence[RungJob], done: Callable[[RungJob, RungResult], None]) -> None:
        """Train one after the other. What Ray would call a lost worker is any exception that is not declared."""
        for job in jobs:
            self.say(shown(job))
            try:
                result = run_rung(self.training, job, self.train)
            except ResumeLater:
                raise ResumeLater("the study was interrupted; the same command continues it") from None
            except Exception as error:  # noqa: BLE001 -- a worker's death is a result
                result = failed(traceback.format_exception_only(error)[-1].strip())
            done(job, result)

    def train(self, job: Job) -> None:
        """What the driver does, without Ray: go on from the newest checkpoint that verifies, to the job's last step."""
        run = Path(job.run)
        with run_lock(run):
            check_claim(run, job)
            claim(job)
            (run / STOP_FILE).unlink(missing_ok=True)
            found, passed = newest(open_store(job.run))
            for line in passed:
                event(run, "damaged_checkpoint", problem=line)
            if found is not None and found.manifest.step >= job.last:
                return
            event(run, "started", workers=1, plan=job.plan.hash)
            with stopping_politely(run, self.say):
                work(job.model_copy(update={"resume": found.url if found else None}), alone())
            event(run, "finished", step=job.last)
