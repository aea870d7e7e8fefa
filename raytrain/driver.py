"""The driver: one job to its end on a Ray cluster, through lost workers and restarts.

Between attempts the newest checkpoint that verifies is looked up on the store, so a checkpoint counts as soon as it is
durable: Ray's controller need not have heard of it (it polls every two seconds and would lose the last interval, see
docs/LOG.md).
"""

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from cluster.connect import check_room, connected, hosts, joins, room
from cluster.groups import let_go
from data_shards.store import open_store
from data_shards.store.s3 import S3Store
from raytrain.attempt import Controllers, attempt
from raytrain.claim import check_claim, claim, run_lock
from raytrain.elastic import placed, watching
from raytrain.errors import ResumeLater
from raytrain.failures import ATTEMPT_FAILED, Failures, root_cause
from raytrain.hang import HEALTH_SECONDS
from raytrain.job import Job
from raytrain.lease import Lease, leased
from raytrain.manifest import newest, step_of
from raytrain.plan import RunPlan
from raytrain.preflight import before_run
from raytrain.remote import SHOWN, WORKERS, Mirror, driving
from raytrain.runlog import EVENTS, JOB, PLAN, event
from raytrain.stopping import STOP_FILE, stopping_politely
from raytrain.suspects import write_suspects

PLACE_SECONDS = 30
"""After so long without a place for all workers, what the cluster holds is looked at again."""


def run_job(
    job: Job, *, address: str | None = None, say: Callable[[str], None], callbacks: list[Any] | None = None
) -> None:
    """Run or continue a job to its last step.

    The last step is the plan's, or `job.until`. Raises RunError (damage, a foreign or busy run folder, the same step
    failing three times), ClusterError (no room), DataError, or ResumeLater when the run was asked to stop.
    """
    run, mirror = Path(job.run), Mirror(Path(job.run), job.remote)
    quiet_ray()
    placement = job.plan.placement
    with ExitStack() as stack:
        stack.enter_context(alone(job, partial(give_way, mirror), say))
        mirror.pull(PLAN, JOB, *SHOWN)
        check_claim(run, job, mirror.others())
        theirs, begun = joins(address), (run / PLAN).exists()
        stack.enter_context(connected(address, environment(job.plan)))
        if not begun:  # what is begun goes on with what there is
            check_room(placement.workers, placement.cpus_per_worker, placement.gpu)
        if theirs:
            before_run(job, begun, say)
        claim(job)
        mirror.forget_stop()
        stack.enter_context(driving(mirror))
        asked = stack.enter_context(stopping_politely(run, say))
        event(run, "started", workers=placement.workers, plan=job.plan.hash)
        failures, controllers = Failures(run, partial(write_suspects, job)), Controllers()
        while (resumed := going_on(job, say)) is not None:
            now = fitting(resumed, say)
            mirror.push(PLAN, JOB, EVENTS)
            let_go()
            try:
                with watching(run, job.plan, now.plan.placement.workers, lambda: fits(job.plan)) as watch:
                    attempt(now, controllers, callbacks or [])
                break
            except ATTEMPT_FAILED as error:
                mirror.pull(*SHOWN, WORKERS)
                elastic = watch.changed.is_set() and not asked.is_set()
                if elastic:
                    mirror.forget_stop()
                if elastic and isinstance(root_cause(error)[1], ResumeLater):
                    say("hosts came or went: stopped after a step, with a checkpoint")
                else:
                    say(failures.after(error))
        mirror.pull(*SHOWN)  # the last evaluation, to be told
        event(run, "finished", step=job.last)


def alone(job: Job, lost: Callable[[], None], say: Callable[[str], None]) -> AbstractContextManager[None]:
    """While it lasts, no other driver has the job's run; `lost` is called if one takes it. Raises RunError."""
    if job.remote:
        return leased(Lease(S3Store(job.remote)), lost, say)
    return run_lock(Path(job.run))


def give_way(mirror: Mirror) -> None:
    """Another driver has this run: end at once, as by a second Ctrl-C."""
    mirror.overtaken.set()
    (mirror.run / STOP_FILE).touch()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def going_on(job: Job, say: Callable[[str], None]) -> Job | None:
    """The job with the newest checkpoint that verifies, or None where it is complete."""
    run = Path(job.run)
    found, passed = newest(open_store(job.place))
    for line in passed:
        event(run, "damaged_checkpoint", problem=line)
        say(f"passed over a damaged checkpoint: {line}")
    if found is not None and found.manifest.step >= job.last:
        say(f"{job.place} is complete: step {found.manifest.step} of {job.last}")
        return None
    return job.model_copy(update={"resume": found.url if found else None})


def fits(plan: RunPlan) -> int:
    """How many of the plan's workers the cluster holds now."""
    return room(plan.placement.cpus_per_worker, plan.placement.gpu)


def fitting(job: Job, say: Callable[[str], None]) -> Job:
    """The job on as many of its workers as the cluster holds now. Raises ResumeLater where it holds none."""
    wanted, placement = job.plan.placement.workers, placed(job.plan, fits(job.plan))
    if placement is None:
        raise ResumeLater(
            f"the cluster holds none of {wanted} workers now, each of {job.plan.placement.cpus_per_worker} CPU"
            f"{' and a GPU' if job.plan.placement.gpu else ''}; when hosts are back the same command goes on"
        )
    workers = placement.workers
    after = f", going on after step {step_of(job.resume)}" if job.resume else ""
    fewer = ""
    if workers < wanted:
        there = hosts(placement.cpus_per_worker, placement.gpu)
        fewer = f" of {wanted}: the hosts that are left are {', '.join(there)}"
        event(Path(job.run), "fewer_workers", workers=workers, wanted=wanted, hosts=there)
    say(f"starting {workers} worker{'s' if workers > 1 else ''}{fewer}{after}")
    return job.model_copy(update={"plan": job.plan.model_copy(update={"placement": placement})})


def environment(plan: RunPlan) -> dict[str, str]:
    """What every process of the run finds in its environment."""
    cpu = {} if plan.placement.gpu else {"DS_ACCELERATOR": "cpu"}
    return {
        "OMP_NUM_THREADS": str(plan.placement.cpus_per_worker),
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # `watching` sees hosts that are drained
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(HEALTH_SECONDS),
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(PLACE_SECONDS),
        "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
        "WDS_SECURE": "1",
        **cpu,
    }


def quiet_ray() -> None:
    """Ray speaks only when something is wrong: the run tells its own story."""
    for name in ("ray", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
